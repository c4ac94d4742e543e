"""What the bench tells whoever watches a run. Calls come from the host between compiled chunks, never from inside a program."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Observer(Protocol):
    """Receives the events of a run, in order. Nothing it does changes a result."""

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
        """Not run because a trial it needs failed."""
        ...

    def judged(self, rows: Sequence[Any]) -> None:
        """The claims have been judged."""
        ...
