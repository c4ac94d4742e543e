"""What the bench tells whoever watches a run. Calls come from the host between compiled chunks, never from inside a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from mesocosm.lab.run.plan import Plan


@runtime_checkable
class Observer(Protocol):
    """Receives the events of a run, in order. Nothing it does changes a result."""

    def run_started(self, plan: Plan) -> None:
        """The run's directory is ours and says what will be run; the trials come next."""
        ...

    def trial_started(self, trial: str, index: int, total: int) -> None:
        """Trial number `index` (from 1) of `total` begins."""
        ...

    def note(self, message: str) -> None:
        """One line worth reading: why a trial is run again, where a run resumes."""
        ...

    def compiling(self, trial: str, fit: str) -> None:
        """A program is being compiled; the next event for this fit is `compiled`."""
        ...

    def compiled(self, trial: str, fit: str, seconds: float) -> None:
        """The program is ready; close to zero where an earlier arm had compiled it."""
        ...

    def progress(self, trial: str, fit: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """`step` of `steps` is done; metrics are means over seeds and over the last chunk."""
        ...

    def trial_finished(self, trial: str, seconds: float, cached: bool) -> None:
        """Finished now, or found finished (`cached`)."""
        ...

    def trial_failed(self, trial: str, message: str) -> None:
        """The trial raised; the others go on."""
        ...

    def trial_skipped(self, trial: str, reason: str) -> None:
        """Not run because a trial it needs failed, or data are not installed."""
        ...

    def judged(self, rows: Sequence[Any]) -> None:
        """The claims have been judged."""
        ...


class Several:
    """Tells several observers, one after another."""

    def __init__(self, *observers: Observer):
        self.observers = observers

    def run_started(self, plan: Plan) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.run_started(plan)

    def trial_started(self, trial: str, index: int, total: int) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.trial_started(trial, index, total)

    def note(self, message: str) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.note(message)

    def compiling(self, trial: str, fit: str) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.compiling(trial, fit)

    def compiled(self, trial: str, fit: str, seconds: float) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.compiled(trial, fit, seconds)

    def progress(self, trial: str, fit: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.progress(trial, fit, step, steps, metrics)

    def trial_finished(self, trial: str, seconds: float, cached: bool) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.trial_finished(trial, seconds, cached)

    def trial_failed(self, trial: str, message: str) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.trial_failed(trial, message)

    def trial_skipped(self, trial: str, reason: str) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.trial_skipped(trial, reason)

    def judged(self, rows: Sequence[Any]) -> None:
        """Tell all."""
        for observer in self.observers:
            observer.judged(rows)
