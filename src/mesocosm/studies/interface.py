"""The interface of a study: Trial and Context (what is trained), Figure (what is seen), Preset and Study; Claim and Check (what must hold) from `claims`.

Nothing here imports JAX, so that listing studies and judging tables stays instant. `lab` runs what is declared here; a study only declares.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Unpack, runtime_checkable

from mesocosm.claims.claim import Bootstrap, Check, Claim, Control, Every, Exact, Kind, Mean, Measurement, PresetName, Rate, Reference
from mesocosm.claims.measures import rows_read
from mesocosm.claims.region import Region, above, below, between
from mesocosm.claims.view import View

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

    from mesocosm.claims.tables import Table
    from mesocosm.learning.fit import Fitted
    from mesocosm.learning.fit_options import FitOptions
    from mesocosm.learning.learner import Learner

__all__ = [
    "Bootstrap",
    "Check",
    "Claim",
    "Context",
    "Control",
    "Every",
    "Exact",
    "Figure",
    "Kind",
    "Mean",
    "Measurement",
    "Preset",
    "PresetName",
    "Rate",
    "Reference",
    "Region",
    "Study",
    "Tables",
    "Trial",
    "View",
    "above",
    "below",
    "between",
    "check_name",
]

Tables = Mapping[str, "pl.DataFrame"]


# --- what is trained ------------------------------------------------------------------------------------------------


@runtime_checkable
class Context(Protocol):
    """What a trial may ask of the bench. Everything heavy goes through it, so that the bench can time, resume, dry-run and pair it."""

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

    def fit(self, name: str, learner: Learner, steps: int, **options: Unpack[FitOptions]) -> Fitted:
        """Train every seed (`learning.fit`). Resumable."""
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
        models: name -> module-level function `(config, key) -> eqx.Module` that builds a published model, for its structure and shapes.
        seeds: number of replicates; None for the run's. 1 for identities and enumeration. A child has at most its parents' number and gets the first ones.
        over_seeds: all seeds in one program by `vmap`, or one after another inside it by `lax.map`.
        user_parts: modules of others' parts that the config names; their code counts like ours.
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
    user_parts: tuple[str, ...] = ()
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
        page: where its claims are discussed; rows that do not hold refer to it. Ours have `docs/studies/NAME.md`.
    """

    package: str
    title: str
    paper: str
    slots: tuple[str, ...] = ()
    page: str | None = None

    def __post_init__(self) -> None:
        """Our own studies have a page in the documentation."""
        if self.page is None and self.package.startswith("mesocosm.studies."):
            object.__setattr__(self, "page", f"docs/studies/{self.name}.md")

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

    @property
    def tables(self) -> dict[str, type[Table]]:
        """Name -> declaration of the tables that claims read as objects; trials must write them so."""
        return {rows.table.name: rows.table for claim in self.claims for check in claim.checks for rows in rows_read(check)}

    def check_claims(self, preset: str, trials: Collection[str]) -> None:
        """Hold what is judged at a preset to the trials that there are.

        Raises:
            ValueError: a check reads a trial that does not exist.
        """
        config = self.presets[preset].config
        for claim in self.claims:
            for check in claim.checks:
                named = {name for rows in rows_read(check) if rows.trial for name in rows.trial.names(config)}
                if preset in check.judged_at and (missing := sorted(named - set(trials))):
                    near = difflib.get_close_matches(missing[0], trials, n=1)
                    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(trials)}"
                    raise ValueError(f"check {claim.id}.{check.name} reads trial {missing[0]!r}, which preset {preset} has not; {meant}")

    def user_parts(self, config: Any) -> dict[str, str]:
        """Slot -> the part in it, for the slots that are filled."""
        return {slot: getattr(config, slot) for slot in self.slots if getattr(config, slot)}

    def check(self, config: Any) -> None:
        """Try the parts in the config's slots, before a run; reading a run that was made with them imports none of them.

        Raises:
            ValueError: one does not fit.
        """
        if self.user_parts(config):
            self._module("trials").check(config)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")
