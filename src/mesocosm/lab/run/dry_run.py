"""The dry run: calls every trial's function with a context that trains nothing. It finds wrong shapes, names and types, lowers the real programs and
measures their memory, at any size and on any machine. `outline` is the quick part of it, which calls no trial.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

import jax
import numpy as np
import polars as pl
from jax.tree_util import Partial

from mesocosm.analysis.tables import long_table
from mesocosm.lab.errors import error_line
from mesocosm.lab.run.context import check_fit, declared_model, parent_of, without_seeds
from mesocosm.lab.run.plan import Plan
from mesocosm.lab.run.runner import checked
from mesocosm.lab.store.parameters import check_model
from mesocosm.lab.store.requirements import missing
from mesocosm.lab.store.run_directory import model_name
from mesocosm.learning.dry_run import dry_run_fit, placeholders
from mesocosm.learning.fit import Fitted
from mesocosm.learning.fit_options import FitOptions
from mesocosm.learning.learner import Learner
from mesocosm.learning.program import Evaluation, _evaluate
from mesocosm.learning.streams import Stream, evaluation_key, stream_keys
from mesocosm.studies.interface import Study, Trial


@dataclass(frozen=True)
class FitDryRun:
    """The dry run of a fit.

    Attributes:
        name: its name in the trial.
        steps: number of updates.
        memory_bytes: arguments, temporaries and results of the compiled program, all seeds on one device; None if it was not compiled.
    """

    name: str
    steps: int
    memory_bytes: int | None


@dataclass(frozen=True)
class TrialDryRun:
    """The dry run of a trial.

    Attributes:
        trial: its name.
        state: its state after earlier runs, as in `Plan.states`: "cached", "stale", "resumable", "failed", "skipped" or "new".
        why: why it is stale or failed.
        minutes: as in `Plan.minutes`; None if unknown.
        fits: the fits that it would train.
        problem: the missing data set or package, or the error that ended it, in one line. A function that computes with its measurements may fail on
            the placeholder numbers.
        evaluations: bytes of each evaluation, with the arguments and results of all seeds; empty if they were not compiled.
    """

    trial: str
    state: str
    why: str
    minutes: float | None
    fits: tuple[FitDryRun, ...] = ()
    problem: str | None = None
    evaluations: tuple[int, ...] = ()

    @property
    def memory_bytes(self) -> int | None:
        """The largest memory among the fits and evaluations; None if none was compiled. What a trial computes outside of them does not count."""
        fits = [fit.memory_bytes for fit in self.fits if fit.memory_bytes is not None]
        return max([*fits, *self.evaluations], default=None)


def dry_run(
    study: Study,
    preset: str = "quick",
    *,
    config: Any = None,
    seeds: tuple[int, ...] | None = None,
    out: Path | None = None,
    compile: bool = True,
    strict: bool = False,
) -> list[TrialDryRun]:
    """Go through every trial in order without training, and write nothing.

    Args:
        study, preset, config, seeds, out: as in `lab.run.runner.execute`.
        compile: also compile each distinct program to measure its memory (seconds to minutes each); lowering alone is quick.
        strict: raise a trial's error instead of recording it, for tests.

    Raises:
        UserError: as in `lab.run.runner.execute`.
    """
    return dry_run_plan(Plan.of(study, preset, config, seeds, out), compile=compile, strict=strict)


def outline(plan: Plan) -> list[TrialDryRun]:
    """What a run would do, without calling any trial: states, minutes and missing data sets."""
    states = plan.states()
    return [_outlined(plan, trial, states) for trial in plan.trials]


def _outlined(plan: Plan, trial: Trial, states: Mapping[str, tuple[str, str]]) -> TrialDryRun:
    return TrialDryRun(trial.name, *states[trial.name], plan.minutes.get(trial.name), problem=missing(trial))


def dry_run_plan(plan: Plan, *, compile: bool = True, strict: bool = False, observer: Callable[[str], None] = lambda trial: None) -> list[TrialDryRun]:
    """`dry_run` for an existing plan; the observer gets the name of each trial before it is called."""
    programs: dict[str, int] = {}  # text of a lowered program -> bytes: arms of equal shape are compiled once
    done, states = [], plan.states()
    for trial in plan.trials:
        observer(trial.name)
        done.append(rehearsed(plan, trial, states, programs if compile else None, strict=strict))
    return done


def rehearsed(plan: Plan, trial: Trial, states: Mapping[str, tuple[str, str]], programs: dict[str, int] | None, *, strict: bool = False) -> TrialDryRun:
    """The dry run of one trial of a plan in these states; `programs` as in `DryRunContext`, filled on the way."""
    found = _outlined(plan, trial, states)
    parents = {parent.name: parent for parent in plan.trials if parent.name in trial.after}
    context = DryRunContext(trial, plan.seeds_of(trial), parents, programs)
    problem = found.problem
    try:
        with jax.enable_x64(trial.precision == "float64"), np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # of placeholders
            if problem is None:
                checked(trial.run(trial.config, context), trial, context.models, plan.study.tables)
    except Exception as error:
        if strict:
            error.add_note(f"raised in the dry run of trial {trial.name}")
            raise
        problem = error_line(error)
    return replace(found, fits=tuple(context.fits.values()), problem=problem, evaluations=tuple(context.evaluations))


@dataclass
class DryRunContext:
    """The Context of a dry run. Its results have the right structure, shapes and dtypes; the numbers are placeholders.

    Attributes:
        trial: the trial whose function is called.
        seeds: its replicates.
        parents_by_name: the trials that it depends on.
        programs: bytes of the programs compiled so far, by their text; None to compile nothing.
        fits: the requested fits.
        models: the published models, without checksums.
        evaluations: bytes of the requested evaluations, if these are compiled.
    """

    trial: Trial
    seeds: tuple[int, ...]
    parents_by_name: Mapping[str, Trial]
    programs: dict[str, int] | None = None
    fits: dict[str, FitDryRun] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    evaluations: list[int] = field(default_factory=list)

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the trials that this one depends on."""
        return tuple(self.parents_by_name)

    @property
    def evaluation_key(self) -> Any:
        """The same key as in a real run."""
        return evaluation_key(self.seeds)

    def keys(self, stream: Stream) -> Any:
        """The same keys as in a real run."""
        return stream_keys(self.seeds, stream)

    def fit(self, name: str, learner: Learner, steps: int, **options: Unpack[FitOptions]) -> Fitted:
        """Lower the program, and compile it to measure its memory."""
        check_fit(self.trial, name, self.fits)
        fitted, lowered = dry_run_fit(learner, steps, self.seeds, name=name, over_seeds=self.trial.over_seeds, **options)
        self.fits[name] = FitDryRun(name, steps, None if self.programs is None else _memory(lowered, self.programs))
        return fitted

    def evaluate(self, function: Callable[..., Any], *per_seed: Any, shared: tuple[Any, ...] = ()) -> Any:
        """Trace the function, and compile it to measure its memory; returns placeholder numbers."""
        if not per_seed:
            function, per_seed = Partial(without_seeds, function), (np.zeros(len(self.seeds), np.float32),)
        evaluation = Evaluation(function, per_seed, shared)
        if self.programs is not None:
            self.evaluations.append(_memory_of_evaluation(evaluation, self.programs))
        return placeholders(evaluation.shapes())

    def publish(self, name: str, model: Any) -> None:
        """Check the model against the trial's declaration."""
        check_model(f"{name!r}, which trial {self.trial.name} publishes,", model, declared_model(self.trial, name), len(self.seeds))
        self.models[name] = ""

    def model(self, trial: str, name: str | None = None) -> Any:
        """The parent's declared module with placeholder parameters for each of this trial's seeds."""
        parent = parent_of(self.trial, self.parents_by_name, trial)
        one = declared_model(parent, model_name(parent, name))

        def stacked(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct((len(self.seeds), *leaf.shape), leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

        return placeholders(jax.tree.map(stacked, one))

    def rows(self, axes: Mapping[str, Sequence[Any]] = MappingProxyType({}), **columns: Any) -> pl.DataFrame:
        """Check the table's shapes and names; accepts NaN, which placeholder numbers can cause."""
        finite = {name: np.nan_to_num(column) if np.asarray(column).dtype.kind == "f" else column for name, column in columns.items()}
        return long_table({"seed": self.seeds, **axes}, **finite)


def _memory_of_evaluation(evaluation: Evaluation, programs: dict[str, int]) -> int:
    """Bytes of the program, which is called for one seed at a time, and of the arguments and results of all seeds beside it."""
    of_function, of_seeds, shared = (
        [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in arrays]
        for arrays in (evaluation.function_arrays, evaluation.seed_arrays, evaluation.shared_arrays)
    )
    of_one = [jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in of_seeds]
    lowered = _evaluate.lower(of_function, of_one, shared, trees=evaluation.trees)
    results = [leaf for leaf in jax.tree.leaves(evaluation.shapes()) if isinstance(leaf, jax.ShapeDtypeStruct)]
    return _memory(lowered, programs) + sum(leaf.size * leaf.dtype.itemsize for leaf in [*of_seeds, *results])


def _memory(lowered: Any, programs: dict[str, int]) -> int:
    """Bytes of arguments, temporaries and results; a donated argument and the result in its place count once."""
    text = lowered.as_text()
    if text not in programs:
        found = lowered.compile().memory_analysis()
        total = found.argument_size_in_bytes + found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
        programs[text] = int(total)
    return programs[text]
