"""The interface of a study: Trial and Context (what is trained), Claim and Check (what must hold), Figure (what is seen), Preset and Study.

Nothing here imports JAX, so that listing studies and judging tables stays instant. `lab` runs what is declared here; a study only declares.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

from mesocosm.analysis.replicates import Instances, NotJudged, Replicates

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

    from mesocosm.learning.fit import Criterion, Fitted, Probe
    from mesocosm.learning.learner import Learner

PresetName = Literal["smoke", "quick", "cpu", "paper"]
Tables = Mapping[str, "pl.DataFrame"]


# --- what is trained ------------------------------------------------------------------------------------------------


@runtime_checkable
class Context(Protocol):
    """What a trial may ask of the bench. Everything heavy goes through it, so that the bench can time, resume, rehearse and pair it."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The replicates of this trial."""
        ...

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the trials this one comes after."""
        ...

    @property
    def evaluation_key(self) -> Any:
        """One key, the same for all seeds, trials and runs: where evaluation data come from."""
        ...

    def keys(self, stream: Literal["init", "data", "env", "eval"]) -> Any:
        """One key for each seed, from a stream that does not depend on the trial: arms are paired. Shape (seeds,)."""
        ...

    def fit(
        self,
        name: str,
        learner: Learner,
        steps: int,
        *,
        state: Any = None,
        start: int | None = None,
        probe: Probe | None = None,
        until: Criterion | None = None,
        nonfinite: Literal["stop", "freeze"] = "stop",
        per_seed: bool = False,
    ) -> Fitted:
        """Train every seed (`learning.fit`). Resumable; `per_seed` says that the learner's array leaves carry a leading seed axis."""
        ...

    def evaluate(self, function: Callable[..., Any], *per_seed: Any, shared: tuple[Any, ...] = ()) -> Any:
        """`function(*one seed's part of per_seed, *shared)` for each seed, jitted; NumPy arrays with a leading seed axis.

        Without `per_seed` it is evaluated once and stands for every seed. Results may be modules; they hold no typed keys.
        """
        ...

    def publish(self, name: str, model: Any) -> None:
        """Keep final parameters of every seed under a name declared in `Trial.models`."""
        ...

    def model(self, trial: str, name: str) -> Any:
        """A parent trial's published model, arrays with a leading seed axis."""
        ...

    def rows(self, axes: Mapping[str, Sequence[Any]] = MappingProxyType({}), **columns: Any) -> pl.DataFrame:
        """A table with a row for each seed and each combination of `axes` (`analysis.tables.long_table`)."""
        ...


@dataclass(frozen=True)
class Trial:
    """The unit of scheduling.

    Attributes:
        name: unique in its study; part of no random stream.
        run: a module-level function `(config, context) -> tables`.
        config: frozen dataclass, the only thing that `run` reads.
        precision: opened round the whole trial.
        after: names of trials whose models or tables this one needs.
        models: name -> module-level function `(config, key) -> eqx.Module` that builds the skeleton of a published model.
        seeds: number of replicates; None for the run's. 1 for identities and enumeration. A child has at most its parents' number and gets the first ones.
        over_seeds: all seeds in one program by `vmap`, or one after another inside it by `lax.map`.
        foreign: modules of others' parts that the config names; their code counts like ours.
        data: names of the data sets (`tasks.data_sets`) that it reads. Where one is not installed the trial and its children are skipped, with the line that
            installs it, and the rows that need them are not judged; the files' checksums are part of the trial's identity.
    """

    name: str
    run: Callable[[Any, Context], Tables]
    config: Any
    precision: Literal["float32", "float64"] = "float32"
    after: tuple[str, ...] = ()
    models: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    seeds: int | None = None
    over_seeds: Literal["vmap", "map"] = "vmap"
    foreign: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that make no file's name, and no replicates."""
        for name in (self.name, *self.models):
            check_name("trial or model", name)
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"trial {self.name} needs one or more seeds, not {self.seeds}")


def check_name(what: str, name: str) -> None:
    """Refuse a name that is part of a file's name and may not be.

    Raises:
        ValueError: anything but letters, digits and . _ - + = , or a first character that is neither letter nor digit.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=,-]*", name) is None:
        raise ValueError(f"{name!r} cannot name a {what}: it becomes part of a file's name, so letters, digits and . _ - + = , only")


# --- what must hold -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """The values for which a check holds: low < value < high, either end open to infinity."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse an empty region and ends that are no numbers."""
        if self.low is None and self.high is None:
            raise ValueError("a region needs at least one end")
        for end in (self.low, self.high):
            if end is not None and not math.isfinite(end):
                raise ValueError(f"a region's end is a finite number, not {end}; leave out the open end")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"the region's low end {self.low:g} is not below its high end {self.high:g}")

    @property
    def direction(self) -> Literal["<", ">", "in"]:
        """How the region reads in a table."""
        if self.low is None:
            return "<"
        return ">" if self.high is None else "in"

    @property
    def threshold(self) -> float | list[float]:
        """The number behind the direction, or both ends."""
        ends = [end for end in (self.low, self.high) if end is not None]
        return ends if len(ends) == 2 else ends[0]

    def contains(self, low: float, high: float) -> bool:
        """Whether the whole interval lies inside."""
        return (self.low is None or low > self.low) and (self.high is None or high < self.high)

    def excludes(self, low: float, high: float) -> bool:
        """Whether the whole interval lies outside."""
        return (self.low is not None and high <= self.low) or (self.high is not None and low >= self.high)


def below(high: float) -> Region:
    """Values smaller than `high`."""
    return Region(high=high)


def above(low: float) -> Region:
    """Values larger than `low`."""
    return Region(low=low)


def between(low: float, high: float) -> Region:
    """Values inside an open interval."""
    return Region(low, high)


@dataclass(frozen=True)
class Exact:
    """An identity: the largest error over at least 100 random instances or over all of a finite set. No interval.

    Errors are absolute values; the control, a named mutant, must reach 100 tolerances.
    """

    of: str
    unit: str | None = None


@dataclass(frozen=True)
class Every:
    """An inequality that must hold for all of a finite set, or for at least 100 random instances. No interval.

    Values are signed; the estimate is the one nearest to the region's edge, or furthest outside. Holds iff all lie inside the region, else fails. The
    control must break the statement in the same sense: its estimate, the worst of its instances, lies outside. (Removing the mechanism need not turn the
    inequality round everywhere, only make it false.)
    """

    of: str
    unit: str | None = None


@dataclass(frozen=True)
class Mean:
    """The mean of one number a replicate, with a 95 % t interval whose standard deviation is floored at the evaluation error."""

    of: str
    unit: str | None = None


@dataclass(frozen=True)
class Rate:
    """The fraction of replicates that meet a success criterion (values 0 or 1), with the Clopper-Pearson interval."""

    of: str
    unit: str | None = None


@dataclass(frozen=True)
class Bootstrap:
    """A statistic over 20 or more replicates with a BCa bootstrap interval."""

    of: str
    unit: str | None = None
    statistic: Literal["median", "interquartile mean"] = "median"


Kind = Exact | Every | Mean | Rate | Bootstrap
Measurement = Callable[["View"], Replicates | Instances]


@dataclass(frozen=True)
class Control:
    """The same measurement where it must lie outside the region: the named mechanism removed, a positive control, or a named mutant."""

    name: str
    measure: Measurement


@dataclass(frozen=True)
class Reference:
    """A number to compare with, in the check's own metric and unit, and where it comes from."""

    value: float
    origin: Literal["paper", "authors' code", "derived", "ours"]

    def __post_init__(self) -> None:
        """Refuse what no table can hold."""
        if not math.isfinite(self.value):
            raise ValueError(f"a reference is a finite number, not {self.value}")


@dataclass(frozen=True)
class Check:
    """One measurement against one region.

    Attributes:
        name: short; the id in the table is `study/claim.name`.
        kind: how values become an interval, and what the value is.
        inside: the region, fixed before the record is run.
        measure: reads tables through a View.
        control: the measurement that must lie outside the region.
        judged_at: presets at which this can honestly be judged.
        replicate: what is drawn anew for each value.
        reference: the paper's number, if it gave one.
        searched: how many configurations were tried on pilot seeds before the region was set.
    """

    name: str
    kind: Kind
    inside: Region
    measure: Measurement
    control: Control
    judged_at: frozenset[str] | set[str]
    replicate: str = "initialisation and data stream"
    reference: Reference | None = None
    searched: int = 0

    def __post_init__(self) -> None:
        """Refuse a preset that no study has, and an identity without a tolerance."""
        unknown = sorted(set(self.judged_at) - set(get_args(PresetName)))
        if unknown or not self.judged_at:
            raise ValueError(f"check {self.name} is judged at {', '.join(unknown) or 'no preset'}; the presets are {', '.join(get_args(PresetName))}")
        if isinstance(self.kind, Exact) and (self.inside.low is not None or self.inside.high is None or self.inside.high <= 0):
            raise ValueError(f"check {self.name} is exact: its region is below(tolerance) with a positive tolerance")


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper and where it stands there. It holds iff all its checks hold and fails iff any fails.

    `unjudged` gives the reason where this bench cannot judge the claim at all; such a claim has no checks.
    """

    id: str
    statement: str
    source: str
    checks: Sequence[Check] = ()
    unjudged: str | None = None

    def __post_init__(self) -> None:
        """A claim is either checked or says why not; its checks have names of their own."""
        if bool(self.checks) == bool(self.unjudged):
            raise ValueError(f"claim {self.id} needs either checks or the reason why it is not judged")
        names = [check.name for check in self.checks]
        if len(set(names)) < len(names):
            raise ValueError(f"claim {self.id} has two checks of the same name among {', '.join(names)}")


class View:
    """What a measurement and a figure may read: the config, the preset and the tables of a run; it remembers which tables were read."""

    def __init__(self, config: Any, preset: str, tables: Mapping[str, pl.DataFrame]):
        self.config = config
        self.preset = preset
        self._tables = tables
        self.read: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether a finished trial wrote such a table."""
        return name in self._tables

    def table(self, name: str, **where: Any) -> pl.DataFrame:
        """All trials' tables of this name under each other, with the trial's name in the column `trial`; only rows in which the columns `where` have
        these values.

        Raises:
            NotJudged: no finished trial wrote such a table, or none has such rows.
        """
        if name not in self._tables:
            raise NotJudged(f"no finished trial wrote the table {name!r}")
        self.read.add(name)
        table = self._tables[name]
        for column, value in where.items():
            if column not in table.columns:
                raise NotJudged(f"the table {name!r} has no column {column!r} (it has {', '.join(table.columns)})")
            table = table.filter(table[column] == value)
            if table.is_empty():
                raise NotJudged(f"the table {name!r} has no row with {column} = {value!r}")
        return table


# --- what is seen ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A function from tables to an Altair chart; the same spec gives the interactive page and the picture."""

    name: str
    title: str
    caption: str
    draw: Callable[[View], alt.TopLevelMixin]


# --- the study ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preset:
    """A named size of the study.

    Attributes:
        config: the study's frozen dataclass.
        seeds: number of replicates.
        minutes: measured minutes by trial on two cores, the budget table; empty where it was never run.
    """

    config: Any
    seeds: int
    minutes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A paper on the bench: a package with the modules `config`, `trials`, `claims` and `figures`, each imported when first needed.

    The package's `__init__` holds `STUDY = Study(__name__, title=..., paper=...)`. `config` has `PRESETS`, `trials` has `trials(config)`, `claims` has
    `CLAIMS`, `figures` has `FIGURES`.

    Attributes:
        package: the package's name.
        title: of the paper.
        paper: authors, title, year, identifier.
        slots: fields of the config that take somebody else's part, as `package.module:Class` ("": none); then nothing is said of the paper's claims.
            `trials` of a study with slots has also `check(config)`, which raises ValueError where such a part does not fit.
    """

    package: str
    title: str
    paper: str
    slots: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name at the command line: the package's last part with dashes."""
        return self.package.rpartition(".")[2].replace("_", "-")

    @property
    def presets(self) -> Mapping[str, Preset]:
        """Name -> preset, smallest first."""
        return self._module("config").PRESETS

    @property
    def claims(self) -> Sequence[Claim]:
        """The paper's claims, in its order."""
        return self._module("claims").CLAIMS

    @property
    def figures(self) -> Sequence[Figure]:
        """The study's figures, in the report's order."""
        return self._module("figures").FIGURES

    def trials(self, config: Any) -> list[Trial]:
        """The trials of a config, in any order."""
        return self._module("trials").trials(config)

    def foreign(self, config: Any) -> dict[str, str]:
        """Slot -> the part in it, for the slots that are filled."""
        return {slot: getattr(config, slot) for slot in self.slots if getattr(config, slot)}

    def check(self, config: Any) -> None:
        """Try the parts in the config's slots, before a run; reading a run that was made with them imports none of them.

        Raises:
            ValueError: one does not fit.
        """
        if self.foreign(config):
            self._module("trials").check(config)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")
