"""Implements `studies.interface.Context` for a running trial, on top of that trial's store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

import equinox as eqx
import jax
import numpy as np
import polars as pl
from jax.tree_util import Partial

from mesocosm.analysis.tables import long_table
from mesocosm.lab.events.event import Compiled, Compiling, Note, Observer, Progress
from mesocosm.lab.run.interrupt import Interrupt
from mesocosm.lab.store import atomic
from mesocosm.lab.store.checkpoint import SECONDS_BETWEEN_SAVES, FileCheckpoint
from mesocosm.lab.store.configuration import plain
from mesocosm.lab.store.parameters import abstract_model, check_model, save_model
from mesocosm.lab.store.run_directory import TrialStore, published_model
from mesocosm.learning.fit import Fitted, NonFinite, fit
from mesocosm.learning.fit_options import FitOptions
from mesocosm.learning.learner import Learner
from mesocosm.learning.program import for_each_seed
from mesocosm.learning.streams import Stream, evaluation_key, stream_keys
from mesocosm.studies.interface import Trial, check_name


class TrialContext:
    """The context passed to a trial's function in a real run.

    Attributes:
        seeds: the replicates.
        parents: the trials that this one depends on.
        fits: name -> steps, seconds and any seeds that diverged, for the status file.
        models: name -> checksum of the published model.
        histories: training metrics, one table per fit.
    """

    def __init__(
        self,
        run: Path,
        trial: Trial,
        seeds: tuple[int, ...],
        identity: str,
        parents: Mapping[str, Trial],
        observer: Observer,
        interrupt: Interrupt,
        save_seconds: float = SECONDS_BETWEEN_SAVES,
        saved: Callable[[Path], None] = lambda file: None,
    ):
        self.saved = saved
        self.run, self.trial, self.seeds, self.identity, self.save_seconds = run, trial, seeds, identity, save_seconds
        self._parents, self.observer, self.interrupt = parents, observer, interrupt
        self.parents = tuple(parents)
        self.evaluation_key = evaluation_key(seeds)
        self.store = TrialStore(run, trial.name)
        self.fits: dict[str, dict[str, Any]] = {}
        self.models: dict[str, str] = {}
        self.histories: list[pl.DataFrame] = []

    def keys(self, stream: Stream) -> Any:
        """One key for each seed."""
        return stream_keys(self.seeds, stream)

    def fit(self, name: str, learner: Learner, steps: int, **options: Unpack[FitOptions]) -> Fitted:
        """Train every seed; resumes where an earlier run of the same trial stopped."""
        check_fit(self.trial, name, self.fits)
        file = self.store.folder / "checkpoints" / f"{name}.safetensors"
        checkpoint = FileCheckpoint(file, self.identity, self._note, self.save_seconds, self.saved)
        began = time.perf_counter()
        try:
            fitted = fit(
                learner,
                steps,
                self.seeds,
                name=name,
                over_seeds=self.trial.over_seeds,
                watcher=_FitWatcher(self.observer, self.trial.name, name, self.interrupt),
                checkpoint=checkpoint,
                **options,
            )
        except NonFinite as error:
            raise NonFinite(f"trial {self.trial.name}, {error}") from None
        self.fits[name] = {"steps": steps, "seconds": time.perf_counter() - began, "compile_seconds": fitted.compile_seconds}
        self._report_diverged(name, fitted)
        self.histories.append(_history(name, fitted, self.trial.precision))
        return fitted

    def _note(self, message: str) -> None:
        self.observer(Note(message))

    def _report_diverged(self, name: str, fitted: Fitted) -> None:
        """Record seeds that `nonfinite="freeze"` stopped in the status file and report them to the observer; they are not failures."""
        stopped = {seed: int(steps) for seed, steps, diverged in zip(self.seeds, fitted.steps, fitted.diverged, strict=True) if diverged}
        if stopped:
            self.fits[name]["diverged"] = list(stopped)
            told = ", ".join(f"seed {seed} after {steps} steps" for seed, steps in stopped.items())
            self._note(f"trial {self.trial.name}, {name}: no longer finite, frozen at its last finite state: {told}")

    def evaluate(self, function: Callable[..., Any], *per_seed: Any, shared: tuple[Any, ...] = ()) -> Any:
        """Evaluate the seeds one after another inside one program; without per-seed arguments, evaluate once and use the result for every seed."""
        if self.interrupt.asked():
            raise KeyboardInterrupt
        self.interrupt.at(f"trial {self.trial.name}, an evaluation")
        if per_seed:
            return _to_numpy(for_each_seed(function, per_seed, shared))
        once = for_each_seed(Partial(without_seeds, function), (np.zeros(1, np.float32),), shared)
        return _to_numpy(jax.tree.map(lambda leaf: np.repeat(leaf, len(self.seeds), axis=0) if eqx.is_array(leaf) else leaf, once))

    def publish(self, name: str, model: Any) -> None:
        """Write the parameters of every seed, and the config that rebuilds the module.

        Raises:
            ValueError: the trial does not declare this name, or declares a different module under it.
        """
        abstract = declared_model(self.trial, name)
        check_model(f"{name!r}, which trial {self.trial.name} publishes,", model, abstract, len(self.seeds))
        path = self.store.models / f"{name}.safetensors"
        metadata = {"trial": self.trial.name, "identity": self.identity, "seeds": list(self.seeds), "config": plain(self.trial.config)}
        save_model(path, model, metadata)
        self.models[name] = atomic.checksum(path)

    def model(self, trial: str, name: str | None = None) -> Any:
        """A parent's published model of this trial's seeds.

        Raises:
            ValueError: the trial is not a parent, or it is a float64 parent of a float32 trial, whose numbers would be truncated.
        """
        return published_model(self.run, parent_of(self.trial, self._parents, trial), name, seed=list(self.seeds))

    def rows(self, axes: Mapping[str, Sequence[Any]] = MappingProxyType({}), **columns: Any) -> pl.DataFrame:
        """One row for each seed and combination of `axes`."""
        return long_table({"seed": self.seeds, **axes}, **columns)

    def history(self) -> pl.DataFrame:
        """Training metrics of all fits, one row for each fit, seed and window."""
        return pl.concat(self.histories, how="diagonal_relaxed")


def check_fit(trial: Trial, name: str, earlier: Collection[str]) -> None:
    """Reject a fit name that cannot name its checkpoint.

    Raises:
        ValueError: the name is not a valid file name, or an earlier fit has it.
    """
    check_name("fit", name)
    if name in earlier:
        raise ValueError(f"trial {trial.name} fits {name!r} twice; names of fits must be unique")


def declared_model(trial: Trial, name: str) -> Any:
    """The abstract module of one seed (shapes and dtypes only), as the trial declares it.

    Raises:
        ValueError: the trial declares no such model.
    """
    if name not in trial.models:
        raise ValueError(f"trial {trial.name} declares models {sorted(trial.models)}, not {name!r}")
    return abstract_model(trial.models[name], trial.config, trial.precision)


def parent_of(trial: Trial, parents: Mapping[str, Trial], name: str) -> Trial:
    """The parent whose model a trial may read.

    Raises:
        ValueError: the trial is not a parent, or it is a float64 parent of a float32 trial.
    """
    if name not in parents:
        raise ValueError(f"trial {trial.name} reads trial {name!r} and must name it in `after`")
    if parents[name].precision == "float64" and trial.precision == "float32":
        raise ValueError(f"trial {trial.name} is float32 and reads a model of {name!r}, which is float64: its numbers would be truncated")
    return parents[name]


def _history(name: str, fitted: Fitted, precision: str) -> pl.DataFrame:
    """Drops the rows after a seed has stopped (NaN). Stores means in the trial's precision, which halves most run directories."""
    axes = {"fit": [name], "seed": fitted.seeds, "step": fitted.history_steps.tolist()}
    ran = np.isfinite(next(iter(fitted.history.values()))) if fitted.history else np.ones((len(fitted.seeds), len(fitted.history_steps)), bool)
    columns = {metric: np.where(np.isfinite(values), values, 0.0).astype(precision)[None] for metric, values in fitted.history.items()}
    return long_table(axes, **columns).filter(ran.reshape(-1))


def without_seeds(function: Callable[..., Any], _: Any, *shared: Any) -> Any:
    """Call `function` on the shared arguments only, for an evaluation without per-seed arguments."""
    return function(*shared)


def _to_numpy(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf) if eqx.is_array(leaf) else leaf, tree)


class _FitWatcher:
    """Adds the trial's and fit's name to each event."""

    def __init__(self, observer: Observer, trial: str, fit_name: str, interrupt: Interrupt):
        self.observer, self.trial, self.fit_name, self.interrupt = observer, trial, fit_name, interrupt
        self.stopping = interrupt.asked

    def compiling(self) -> None:
        self.interrupt.at(f"trial {self.trial}, compiling {self.fit_name}")
        self.observer(Compiling(self.trial, self.fit_name))

    def compiled(self, seconds: float) -> None:
        self.observer(Compiled(self.trial, self.fit_name, seconds))

    def progress(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self.interrupt.at(f"trial {self.trial}, {self.fit_name}, step {step} of {steps}")
        self.observer(Progress(self.trial, self.fit_name, step, steps, metrics))
