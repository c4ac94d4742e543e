"""Searches over fields of a study's config on pilot seeds. Every arm is trained alike, and all arms are saved as one table.

search.json     what was asked
search.csv      one row for each configuration and seed: settings, `seed`, outcomes (`claims.pilots`)
arms/NUMBER/    the run directory of each configuration

The table is written again after every arm, from the arms' own runs, and what is proposed next depends on them alone: the same command resumes a search, trains
no finished arm again, and gives the table of an uninterrupted one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from mesocosm.claims.pilots import FILE, MAKER, SEED
from mesocosm.claims.tables import Table
from mesocosm.lab.catalogue import suggestion
from mesocosm.lab.errors import UserError
from mesocosm.lab.events.event import Event
from mesocosm.lab.run.interrupt import STALLED_SECONDS
from mesocosm.lab.run.plan import topological
from mesocosm.lab.run.proposals import Dimension, Method, proposals, with_values
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store import atomic
from mesocosm.lab.store.configuration import flat, plain
from mesocosm.lab.store.identity import digest
from mesocosm.lab.store.requirements import missing
from mesocosm.lab.store.run_directory import Run, locked
from mesocosm.learning.streams import FIRST_PILOT_SEED
from mesocosm.studies.interface import Claim, Figure, Study, Trial

if TYPE_CHECKING:
    from mesocosm.lab.run.cluster import Cluster

ASKED = "search.json"
FAILURE = "outcome"


@dataclass(frozen=True)
class Search:
    """What is asked.

    Attributes:
        study, preset, config, seeds: as of a run; the seeds are pilots'.
        over: what to search over.
        by: table and column of the number that compares configurations.
        trial: the trial whose number it is; None if only one has that table.
        where: column -> value, as text, of the rows that hold the number.
        method: how configurations are proposed.
        arms: how many; 0 for all of a grid.
        maximize: whether a larger number is better.

    Raises:
        UserError: a seed is a record's, or the study has no such trial.
    """

    study: Study
    preset: str
    config: Any
    seeds: tuple[int, ...]
    over: tuple[Dimension, ...]
    by: tuple[str, str]
    trial: str | None = None
    where: tuple[tuple[str, str], ...] = ()
    method: Method = "grid"
    arms: int = 0
    maximize: bool = False

    def __post_init__(self) -> None:
        """Reject what cannot be answered, before anything is trained."""
        if not self.seeds or min(self.seeds) < FIRST_PILOT_SEED:
            raise UserError(
                f"a search uses pilot seeds, {FIRST_PILOT_SEED} and above, so that the record meets none of them; not {min(self.seeds, default=None)}"
            )
        trials = self.study.trials(self.config)
        names = [trial.name for trial in trials]
        if self.trial is not None and self.trial not in names:
            raise UserError(f"--on {self.trial}: study {self.study.name} has no such trial{suggestion(self.trial, names)}")
        for trial in self.part.trials(self.config):
            if (lacking := missing(trial)) is not None:
                raise UserError(f"trial {trial.name}: {lacking}")

    @property
    def part(self) -> Part:
        """The part of the study that the number needs."""
        return Part(**{field.name: getattr(self.study, field.name) for field in fields(Study)}, whole=self.study, last=self.trial)

    @property
    def question(self) -> dict[str, Any]:
        """All that decides which configurations are trained, as JSON. Only TPE looks at the numbers: a grid may be read again by another one."""
        told = {"study": self.study.name, "preset": self.preset, "config": self.config, "seeds": self.seeds, "over": self.over, "trial": self.trial}
        return plain(told | {"method": self.method, "arms": self.arms} | (self.number if self.method == "tpe" else {}))

    @property
    def number(self) -> dict[str, Any]:
        """What compares configurations, as JSON."""
        return plain({"by": self.by, "where": self.where, "maximize": self.maximize})

    @property
    def folder(self) -> Path:
        """The default directory."""
        return Path("runs") / f"search-{self.study.name}-{self.preset}-{digest(self.question)[:6]}"


@dataclass(frozen=True)
class Part(Study):
    """A study without claims and figures, and with no more trials than one of them needs.

    Attributes:
        whole: the study.
        last: the trial that is wanted; None for all.
    """

    whole: Study = None  # type: ignore[assignment]
    last: str | None = None

    @property
    def claims(self) -> Sequence[Claim]:
        """None: pilots are not judged."""
        return ()

    @property
    def figures(self) -> Sequence[Figure]:
        """None."""
        return ()

    @property
    def tables(self) -> dict[str, type[Table]]:
        """The declared tables of the whole study."""
        return self.whole.tables

    def trials(self, config: Any) -> list[Trial]:
        """The wanted trial and all that it comes after."""
        trials = topological(self.whole.trials(config))
        wanted = {self.last}
        for trial in reversed(trials):
            if trial.name in wanted:
                wanted.update(trial.after)
        return [trial for trial in trials if self.last is None or trial.name in wanted]


@dataclass(frozen=True)
class Arm:
    """What came of one configuration.

    Attributes:
        values: field -> value.
        trial: the trial that was measured.
        numbers: seed -> its number; empty if the training failed.
        failure: why it failed.
        steps: trial and fit -> steps of training, the budget.
    """

    values: Mapping[str, Any]
    trial: str | None
    numbers: Mapping[int, float]
    failure: str | None
    steps: Mapping[str, int]

    @property
    def mean(self) -> float | None:
        """The mean over seeds."""
        return float(np.mean(list(self.numbers.values()))) if self.numbers else None


@runtime_checkable
class Watcher(Protocol):
    """What shows a search."""

    def begin(self, arm: int, arms: int, words: str) -> None:
        """Arm number `arm` (from 1) of `arms` begins."""
        ...

    def __call__(self, event: Event) -> None:
        """An event of its run."""
        ...

    def end(self, words: str) -> None:
        """It has ended."""
        ...


def search(
    asked: Search,
    out: Path | None,
    watcher: Watcher,
    *,
    command: str = "",
    end: Callable[[str], None] | None = None,
    stalled_seconds: float = STALLED_SECONDS,
    cluster: Cluster | None = None,
) -> tuple[Path, list[Arm]]:
    """Train every configuration and write the table.

    Args:
        asked: the question.
        out: the search's directory; None for one under `runs/`.
        watcher: told of every arm and of the events of its run.
        command: the command line, for the record.
        end, stalled_seconds, cluster: as in `runner.execute`.

    Returns:
        The path of the table, and the arms in the order in which they were proposed; a configuration that was proposed twice is one arm.

    Raises:
        UserError: Optuna is not installed, the directory holds another search, the number cannot be read, or an arm's budget differs from the first's.
        KeyboardInterrupt: the search was asked to stop; the same call resumes it.
    """
    proposed = proposals(asked.method, asked.over, asked.arms)
    path = Path(os.path.abspath(out or asked.folder))
    _check_directory(path, asked)
    with locked(path):
        atomic.write_json(path / ASKED, asked.question | asked.number | {"command": command})
        arms: list[Arm] = []
        for number in range(1, proposed.arms + 1):
            values = proposed.ask()
            arm = next((arm for arm in arms if arm.values == values), None)
            watcher.begin(number, proposed.arms, words(values))
            if arm is None:
                options: dict[str, Any] = {"observer": watcher, "command": command, "end": end, "stalled_seconds": stalled_seconds}
                options |= {"judged": False, "cluster": cluster}
                config, folder = with_values(asked.config, values), path / "arms" / f"{number:03}"
                arm = read(asked, values, execute(asked.part, asked.preset, config=config, seeds=asked.seeds, out=folder, **options))
                check_budget([*arms, arm])
                arms.append(arm)
                table = rows(asked, arms).write_csv()
                atomic.write_bytes(path / FILE, table.encode())
            score = arm.mean
            watcher.end(f"{words(values)}: {arm.failure or f'{asked.by[1]} {score:.4g}'}")
            proposed.tell(None if score is None else -score if asked.maximize else score)
    return path / FILE, arms


def _check_directory(path: Path, asked: Search) -> None:
    """Accept a new or empty directory, or one with the same search."""
    if not path.exists() or (path.is_dir() and not any(file.name != ".lock" for file in path.iterdir())):
        return
    try:
        known = dict(atomic.read_json(path / ASKED))
    except (OSError, ValueError, TypeError):
        raise UserError(f"{path} is not a search (it has no {ASKED}); choose another directory with --out") from None
    if other := [name for name, value in asked.question.items() if known.get(name) != value]:
        raise UserError(f"{path} holds another search, whose {', '.join(other)} differ; choose another directory with --out")


def words(values: Mapping[str, Any]) -> str:
    """A configuration in one line."""
    return ", ".join(f"{field}={f'{value:.4g}' if isinstance(value, float) else value}" for field, value in values.items())


# --- the number of an arm ---------------------------------------------------------------------------------------------


def read(asked: Search, values: Mapping[str, Any], run: Run) -> Arm:
    """Read the number of each seed from an arm's run.

    Raises:
        UserError: its trials ended, but no number can be read from what they wrote.
    """
    states = run.trials
    steps = {f"{trial}/{fit}": done["steps"] for trial, state in states.items() for fit, done in state.get("fits", {}).items()}
    broken = {trial: state.get("error") or state["state"] for trial, state in states.items() if state["state"] != "finished"}
    wanted = asked.trial if asked.trial is not None else next(iter(broken), None)
    if wanted in broken:
        failed = next((trial for trial in broken if states[trial]["state"] == "failed"), wanted)
        return Arm(values, asked.trial, {}, broken[failed], steps)
    table = chosen_rows(asked, run)
    numbers = dict(zip(table[SEED].to_list(), table[asked.by[1]].cast(pl.Float64).to_list(), strict=True))
    return Arm(values, table["trial"][0], numbers, None, steps)


def chosen_rows(asked: Search, run: Run) -> pl.DataFrame:
    """The rows of the table with the number, one for each seed.

    Raises:
        UserError: there is no such table, column or row, or a seed has several rows.
    """
    name, column = asked.by
    if name not in run.tables:
        raise UserError(f"--by {name}.{column}: no trial wrote the table {name!r}{suggestion(name, run.tables)}")
    table = run.tables[name]
    if column not in table.columns or not table[column].dtype.is_numeric():
        numeric = [other for other in table.columns if table[other].dtype.is_numeric() and other != SEED]
        raise UserError(f"--by {name}.{column}: the table has no such column of numbers; it has {', '.join(numeric)}")
    for axis, value in [*((("trial", asked.trial),) if asked.trial else ()), *asked.where]:
        if axis not in table.columns:
            raise UserError(f"--on {axis}={value}: the table {name!r} has no column {axis!r}{suggestion(axis, table.columns)}")
        found = table.filter(pl.col(axis).cast(pl.String) == value)
        if found.is_empty():
            raise UserError(f"--on {axis}={value}: the table {name!r} has {axis} {', '.join(map(str, table[axis].unique(maintain_order=True)[:8]))}")
        table = found
    if table["trial"].n_unique() > 1:
        raise UserError(f"the table {name!r} has rows of several trials; name one with --on: {', '.join(table['trial'].unique(maintain_order=True))}")
    if table[SEED].is_duplicated().any():
        first = table.filter(pl.col(SEED) == table[SEED][0])
        axes = [axis for axis in first.columns if axis != column and first[axis].n_unique() > 1 and not first[axis].dtype.is_float()]
        raise UserError(f"the table {name!r} has {first.height} rows for each seed; choose one with --on COLUMN=VALUE, of {', '.join(axes) or 'no column'}")
    return table


def check_budget(arms: Sequence[Arm]) -> None:
    """Require that all arms whose training did not fail were trained for equally many steps.

    Raises:
        UserError: the budgets differ.
    """
    trained = [arm for arm in arms if arm.failure is None]
    if trained and trained[-1].steps != trained[0].steps:
        first, last = trained[0].steps, trained[-1].steps
        fit = next(name for name in {**first, **last} if first.get(name) != last.get(name))
        told = f"{words(trained[-1].values)} trains {fit} for {last.get(fit, 0)} steps, and {words(trained[0].values)} for {first.get(fit, 0)}"
        raise UserError(f"a search compares configurations of equal budget: {told}; search each number of steps by itself, with --config")


# --- the table --------------------------------------------------------------------------------------------------------


def rows(asked: Search, arms: Sequence[Arm]) -> pl.DataFrame:
    """The table: settings, `seed`, the number, and why a training failed. Settings are the fields that differ from the preset's, in any arm."""
    usual = flat(plain(asked.study.presets[asked.preset].config))
    base = {field: value for field, value in flat(plain(asked.config)).items() if usual.get(field) != value}
    fixed = {field: value for field, value in base.items() if field not in arms[0].values}
    names = column_names([*fixed, *arms[0].values], reserved={"trial", MAKER, "preset", SEED, FAILURE, asked.by[1]})
    trial = next((arm.trial for arm in arms if arm.trial is not None), None)
    made = {"trial": trial, MAKER: f"mesocosm search ({asked.method})", "preset": asked.preset}
    table = []
    for arm in arms:
        settings = {names[field]: json.dumps(value) if isinstance(value, list) else value for field, value in {**fixed, **arm.values}.items()}
        for seed in arm.numbers or asked.seeds:
            table.append({**made, **settings, SEED: seed, asked.by[1]: arm.numbers.get(seed), FAILURE: arm.failure})
    return pl.DataFrame(table, infer_schema_length=None)


def column_names(fields: Sequence[str], reserved: set[str]) -> dict[str, str]:
    """Field -> its column: the last word of its name, or the whole name where the word is taken."""
    last = [field.rpartition(".")[2] for field in fields]
    return {field: word if last.count(word) == 1 and word not in reserved else f"config.{field}" for field, word in zip(fields, last, strict=True)}
