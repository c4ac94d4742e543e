"""The events of a run. An observer is any function of one event; the host calls it between compiled chunks, never inside a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesocosm.lab.run.plan import Plan


@dataclass(frozen=True)
class RunStarted:
    """The run directory is locked and `run.json` is written; the trials come next."""

    plan: Plan


@dataclass(frozen=True)
class Note:
    """A line for the user, such as why a trial is run again or where a run resumes."""

    message: str


@dataclass(frozen=True)
class TrialStarted:
    """Trial number `index` (from 1) of `total` begins."""

    trial: str
    index: int
    total: int


@dataclass(frozen=True)
class Compiling:
    """A fit's program is being compiled; the fit's next event is `Compiled`."""

    trial: str
    fit: str


@dataclass(frozen=True)
class Compiled:
    """The program is ready; `seconds` is close to zero if an earlier trial compiled it."""

    trial: str
    fit: str
    seconds: float | int


@dataclass(frozen=True)
class Progress:
    """`step` of `steps` is done; metrics are means over seeds and over the last chunk."""

    trial: str
    fit: str
    step: int
    steps: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class TrialFinished:
    """The trial has finished now, or an earlier run finished it (`cached`)."""

    trial: str
    seconds: float | int
    cached: bool = False


@dataclass(frozen=True)
class TrialFailed:
    """The trial raised an exception; the other trials continue."""

    trial: str
    message: str


@dataclass(frozen=True)
class TrialSkipped:
    """The trial was not run: a trial that it needs failed, or its data are not installed."""

    trial: str
    reason: str


@dataclass(frozen=True)
class Judged:
    """The claims have been judged; `rows` are the `CheckRow`s."""

    rows: Sequence[Any]


Event = RunStarted | Note | TrialStarted | Compiling | Compiled | Progress | TrialFinished | TrialFailed | TrialSkipped | Judged
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing."""


def tee(*observers: Observer) -> Observer:
    """An observer that passes each event to all `observers`, in order."""

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    return tell
