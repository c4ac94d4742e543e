"""Writes training metrics, configs and verdicts to `RUN/track` for TensorBoard, W&B or MLflow.

The mean over seeds is written while a trial trains. The curves of each seed are written from the table `history` when the trial has finished, so they are
complete even after an interruption, and trials that finished in an earlier, untracked run have them too. A sink that fails is reported once and turned
off; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesocosm.claims.judge import CheckRow
from mesocosm.lab.errors import error_line
from mesocosm.lab.events.event import Event, Judged, Note, Observer, Progress, RunStarted, TrialFailed, TrialFinished, TrialStarted, tee
from mesocosm.lab.events.sinks import Curves, Sink, load
from mesocosm.lab.store import atomic
from mesocosm.lab.store.configuration import plain
from mesocosm.lab.store.identity import digest
from mesocosm.lab.store.run_directory import TrialStore

if TYPE_CHECKING:
    from mesocosm.lab.run.plan import Plan


@contextmanager
def tracked(names: Sequence[str], watching: Observer) -> Iterator[Observer]:
    """`watching` plus a tracker for each of these sinks; the trackers are closed at the end.

    Raises:
        UserError: a library is missing.
    """
    trackers = [Tracker(name, load(name), lambda message: watching(Note(message))) for name in dict.fromkeys(names)]
    try:
        yield tee(watching, *trackers)
    finally:
        for tracker in trackers:
            tracker.close()


class Tracker:
    """Writes a run's events to one sink. A failure is reported once and ends the tracker, never the training."""

    def __init__(self, name: str, make: Callable[[Path, str], Sink], report: Callable[[str], None]):
        self.name, self.make, self.report = name, make, report
        self.broken = False
        self.mean: Curves | None = None

    def __call__(self, event: Event) -> None:
        """Write the event if sinks record its kind."""
        self._guarded(lambda: self._write(event))

    def close(self) -> None:
        """Close the open curves."""
        self._guarded(self._close_mean)

    def _guarded(self, write: Callable[[], None]) -> None:
        if self.broken:
            return
        try:
            write()
        except Exception as error:
            self.broken = True
            self.report(f"--track {self.name} failed and is turned off; training continues ({error_line(error)})")
            with suppress(Exception):
                self._close_mean()

    def _write(self, event: Event) -> None:
        match event:
            case RunStarted(plan):
                self._open(plan)
            case TrialStarted(trial):
                if self.written.get(trial) != self._entry(trial, whole=False):
                    self.sink.forget(f"trials/{trial}")
                    self._note(trial, whole=False)
            case Progress(trial, fit, step, _, metrics):
                if self.mean is None:
                    self.mean = self.sink.open(f"trials/{trial}", "mean", self.configs[trial])
                self.mean.log(fit, step, metrics)
            case TrialFinished(trial, _, cached):
                self._finish(trial, cached)
            case TrialFailed(trial):
                self._close_mean()
                self.written.pop(trial, None)  # its curves stay until the trial is run again
                atomic.write_json(self.index, self.written)
            case Judged(rows):
                self._conclude(rows)

    def _open(self, plan: Plan) -> None:
        """Open the sink in the run's folder; `written.json` there lists the trials whose curves it holds and whether they are complete."""
        folder = plan.path / "track" / self.name
        self.sink = self.make(folder, plan.study.name)
        self.plan, self.configs = plan, {trial.name: plain(trial.config) for trial in plan.trials}
        self.index = folder / "written.json"
        self.written: dict[str, Any] = atomic.read_json(self.index) if self.index.exists() else {}

    def _finish(self, trial: str, cached: bool) -> None:
        """Write each seed's curves."""
        self._close_mean()
        if cached and self.written.get(trial) == self._entry(trial, whole=True):
            return
        if cached:
            self.sink.forget(f"trials/{trial}")
        self._write_seeds(trial)
        self._note(trial, whole=True)

    def _conclude(self, rows: Sequence[CheckRow]) -> None:
        """Write the verdicts and the run's config."""
        self.sink.forget("verdicts")
        with closing(self.sink.open("verdicts", self.plan.preset, plain(self.plan.config))) as curves:
            curves.conclude(rows)

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
