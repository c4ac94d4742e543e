"""The interface of a study: Trial, Context, Figure, Preset and Study; Claim and Check come from `claims`.

A study only declares; `lab` runs it. Nothing here imports JAX, so that listing studies and judging tables stays instant.
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
from mesocosm.claims.measures import rows_read, trials_read
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
    "figure",
]

Tables = Mapping[str, "pl.DataFrame"]


# --- what is trained ------------------------------------------------------------------------------------------------


@runtime_checkable
class Context(Protocol):
    """The services that a trial's function can use. All heavy work goes through it, so that `lab` can time, resume, dry-run and pair it."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The replicates of this trial."""
        ...

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the trials that this one depends on."""
        ...

    @property
    def evaluation_key(self) -> Any:
        """The key for evaluation data, the same for all seeds, trials and records; pilots, with seeds from 1000 upward, have another."""
        ...

    def keys(self, stream: Literal["init", "data", "env", "eval"]) -> Any:
        """One key for each seed, from a stream that does not depend on the trial: arms are paired. Shape (seeds,)."""
        ...

    def fit(self, name: str, learner: Learner, steps: int, **options: Unpack[FitOptions]) -> Fitted:
        """Train every seed (`learning.fit`). Resumable."""
        ...

    def evaluate(self, function: Callable[..., Any], *per_seed: Any, shared: tuple[Any, ...] = ()) -> Any:
        """`function(*one seed's part of per_seed, *shared)` for each seed, jitted; NumPy arrays with a leading seed axis.

        Without `per_seed` the function is evaluated once and the result is used for every seed. Results may be modules, but cannot contain typed keys.
        """
        ...

    def publish(self, name: str, model: Any) -> None:
        """Save the final parameters of every seed under a name declared in `Trial.models`."""
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
        name: unique in its study; does not affect any random stream.
        run: a module-level function `(config, context) -> tables`.
        config: frozen dataclass, the only input of `run` besides the context.
        precision: the floating-point precision of the whole trial.
        after: names of trials whose models or tables this one needs.
        models: name -> module-level function `(config, key) -> eqx.Module` that builds a published model, for its structure and shapes.
        seeds: number of replicates; None for the run's; 1 for identities and enumeration. A child has at most as many as its parents and gets the first ones.
        over_seeds: all seeds in one program by `vmap`, or one after another inside it by `lax.map`.
        user_parts: modules, or `module:name`, of the parts that the config names; their code counts towards the trial's identity like ours.
        data: names of the data sets (`tasks.data_sets`) that it reads. If one is not installed, the trial and its children are skipped, the install command
            is printed, and checks that need them are not judged. The files' checksums are part of the trial's identity.
        packages: package -> install command, for optional packages that it needs; treated like data, with their versions.
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
    packages: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject names that are not valid file names, and zero replicates."""
        for name in (self.name, *self.models):
            check_name("trial or model", name)
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"trial {self.name} needs one or more seeds, not {self.seeds}")


def check_name(what: str, name: str) -> None:
    """Reject a name that cannot be part of a file name.

    Raises:
        ValueError: the name has characters other than letters, digits and . _ - + = , or does not start with a letter or digit.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=,-]*", name) is None:
        raise ValueError(f"{name!r} cannot name a {what}: it becomes part of a file's name, so letters, digits and . _ - + = , only")


# --- what is seen ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A function from tables to an Altair chart; the same spec produces the interactive page and the picture."""

    name: str
    title: str
    caption: str
    draw: Callable[[View], alt.TopLevelMixin]


def figure(title: str) -> Callable[[Callable[[View], alt.TopLevelMixin]], Figure]:
    """Decorator that makes a function a `Figure`: its name is the function's with dashes, its caption the function's docstring."""
    return lambda draw: Figure(draw.__name__.replace("_", "-"), title, " ".join((draw.__doc__ or "").split()), draw)


# --- the study ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preset:
    """A named size of the study.

    Attributes:
        config: the study's frozen dataclass.
        seeds: number of replicates.
        minutes: the budget table: measured minutes per trial on two cores; empty if the preset has never been run.
    """

    config: Any
    seeds: int
    minutes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study of a paper: a package with the modules `config`, `trials`, `claims` and `figures`, each imported when first needed.

    The package's `__init__` holds `STUDY = Study(__name__, title=..., paper=...)`. `config` has `PRESETS`, `trials` has `trials(config)`, `claims` has
    `CLAIMS`, `figures` has `FIGURES`.

    Attributes:
        package: the package's name.
        title: of the paper.
        paper: authors, title, year, identifier.
        slots: fields of the config that accept a user's part, named as in `part_names` ("": none); with a user's part the paper's claims are not judged.
            In a study with slots, `trials` also has `check(config)`, which raises ValueError if such a part does not fit.
        page: the page that discusses its claims, cited by rows that do not hold. Our studies have `docs/studies/NAME.md`.
    """

    package: str
    title: str
    paper: str
    slots: tuple[str, ...] = ()
    page: str | None = None

    def __post_init__(self) -> None:
        """Set the documentation page of our own studies."""
        if self.page is None and self.package.startswith("mesocosm.studies."):
            object.__setattr__(self, "page", f"docs/studies/{self.name}.md")

    @property
    def name(self) -> str:
        """The name on the command line: the package's last part with dashes."""
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
        """Name -> declaration of the tables that claims read as objects; trials must write tables with these columns."""
        return {rows.table.name: rows.table for claim in self.claims for check in claim.checks for rows in rows_read(check)}

    def check_claims(self, preset: str, trials: Collection[str]) -> None:
        """Check that every check judged at a preset reads existing trials.

        Raises:
            ValueError: a check reads a trial that does not exist.
        """
        config = self.presets[preset].config
        for claim in self.claims:
            for check in claim.checks:
                if preset in check.judged_at and (missing := sorted(trials_read(check, config) - set(trials))):
                    near = difflib.get_close_matches(missing[0], trials, n=1)
                    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(trials)}"
                    raise ValueError(f"check {claim.id}.{check.name} reads trial {missing[0]!r}, which preset {preset} has not; {meant}")

    def user_parts(self, config: Any) -> dict[str, str]:
        """Slot -> the user's part, for the filled slots."""
        return {slot: getattr(config, slot) for slot in self.slots if getattr(config, slot)}

    def check(self, config: Any) -> None:
        """Test the parts in the config's slots before a run; reading a finished run does not import them.

        Raises:
            ValueError: a part does not fit.
        """
        if self.user_parts(config):
            self._module("trials").check(config)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")
