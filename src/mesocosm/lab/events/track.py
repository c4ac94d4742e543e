"""Training metrics, configs and verdicts beside the run's tables, in `RUN/track`, for those who watch their runs with TensorBoard, W&B or MLflow.

The mean over seeds is written while a trial trains; the curves of its seeds when it has finished, from its table `history`: so they are whole
although a run was interrupted, and a trial that had finished before anybody asked is written too. The tables stay the truth: a sink that fails is
reported once and left out, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

from mesocosm.claims.judge import CheckRow
from mesocosm.lab.events.observer import Observer, Several
from mesocosm.lab.events.progress import Silent
from mesocosm.lab.events.sinks import Curves, Sink, load
from mesocosm.lab.run.plan import Plan
from mesocosm.lab.store import atomic
from mesocosm.lab.store.configuration import plain
from mesocosm.lab.store.identity import digest
from mesocosm.lab.store.run_directory import TrialStore


@contextmanager
def tracked(names: Sequence[str], watching: Observer) -> Iterator[Observer]:
    """`watching`, and beside it a tracker for each of these sinks, which are closed at the end.

    Raises:
        UserError: a library is missing.
    """
    trackers = [Tracker(name, load(name), watching.note) for name in dict.fromkeys(names)]
    try:
        yield Several(watching, *trackers)
    finally:
        for tracker in trackers:
            tracker.close()


def guarded(event: Callable[..., None]) -> Callable[..., None]:
    """An event of a tracker whose failure is told once and ends the tracker, never the training."""

    @wraps(event)
    def told(self: Tracker, *arguments: Any, **named: Any) -> None:
        if self.broken:
            return
        try:
            event(self, *arguments, **named)
        except Exception as error:
            self.broken = True
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip(": ")
            self.report(f"--track {self.name} failed and is left out from here on; the training goes on ({reason})")
            with suppress(Exception):
                self._close_mean()

    return told


class Tracker(Silent):
    """Writes what happens in a run to one sink."""

    def __init__(self, name: str, make: Callable[[Path, str], Sink], report: Callable[[str], None]):
        self.name, self.make, self.report = name, make, report
        self.broken = False
        self.mean: Curves | None = None

    @guarded
    def run_started(self, plan: Plan) -> None:
        """Open the sink in the run's folder; `written.json` there says of each trial whose curves it holds and whether they are whole."""
        folder = plan.path / "track" / self.name
        self.sink = self.make(folder, plan.study.name)
        self.plan, self.configs = plan, {trial.name: plain(trial.config) for trial in plan.trials}
        self.index = folder / "written.json"
        self.written: dict[str, Any] = atomic.read_json(self.index) if self.index.exists() else {}

    @guarded
    def trial_started(self, trial: str, index: int, total: int) -> None:
        """Go on with the curves of this very trial, or begin anew."""
        if self.written.get(trial) != self._entry(trial, whole=False):
            self.sink.forget(f"trials/{trial}")
            self._note(trial, whole=False)

    @guarded
    def progress(self, trial: str, fit: str, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """The mean over seeds."""
        if self.mean is None:
            self.mean = self.sink.open(f"trials/{trial}", "mean", self.configs[trial])
        self.mean.log(fit, step, metrics)

    @guarded
    def trial_finished(self, trial: str, seconds: float | int, cached: bool) -> None:
        """Every seed by itself."""
        self._close_mean()
        whole = self._entry(trial, whole=True)
        if cached and self.written.get(trial) == whole:
            return
        if cached:
            self.sink.forget(f"trials/{trial}")
        self._write_seeds(trial)
        self._note(trial, whole=True)

    @guarded
    def trial_failed(self, trial: str, message: str) -> None:
        """What was seen stays, until the trial is tried again."""
        self._close_mean()
        self.written.pop(trial, None)
        atomic.write_json(self.index, self.written)

    @guarded
    def judged(self, rows: Sequence[CheckRow]) -> None:
        """The verdicts, with the config of the whole run."""
        self.sink.forget("verdicts")
        with closing(self.sink.open("verdicts", self.plan.preset, plain(self.plan.config))) as curves:
            curves.conclude(rows)

    @guarded
    def close(self) -> None:
        """Nothing follows; an interrupted trial is taken up again by the same command."""
        self._close_mean()

    def _write_seeds(self, trial: str) -> None:
        history = TrialStore(self.plan.path, trial).tables().get("history")
        if history is None:  # it trains nothing
            return
        for (seed,), rows in history.group_by("seed", maintain_order=True):
            with closing(self.sink.open(f"trials/{trial}", f"seed-{seed}", self.configs[trial])) as curves:
                for row in rows.iter_rows(named=True):
                    metrics = {name: value for name, value in row.items() if name not in ("fit", "seed", "step") and value is not None}
                    curves.log(row["fit"], row["step"], metrics)

    def _close_mean(self) -> None:
        if self.mean is not None:
            self.mean.close()
            self.mean = None

    def _entry(self, trial: str, *, whole: bool) -> dict[str, Any]:
        return {"identity": digest(self.plan.identities[trial]), "whole": whole}

    def _note(self, trial: str, *, whole: bool) -> None:
        self.written[trial] = self._entry(trial, whole=whole)
        atomic.write_json(self.index, self.written)
