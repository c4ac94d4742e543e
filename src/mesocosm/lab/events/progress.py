"""Observers that display a running study: a live table on a terminal, plain lines in a log.

Failures and notes are printed at once and stay on the screen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mesocosm.lab.events.event import Compiled, Compiling, Event, Note, Progress, RunStarted, TrialFailed, TrialFinished, TrialSkipped, TrialStarted
from mesocosm.lab.formatting import duration

if TYPE_CHECKING:
    from mesocosm.lab.events.notebook import NotebookScreen

PLAIN_SECONDS = 5.0
"""The shortest time between two progress lines of a log."""


def screen(console: Console) -> PlainScreen | LiveScreen | NotebookScreen:
    """A live table on a terminal, one output that is replaced in a notebook, plain lines elsewhere; a context manager that restores the terminal."""
    if console.is_jupyter:
        from mesocosm.lab.events.notebook import NotebookScreen, output

        return NotebookScreen(output())
    return LiveScreen(console) if console.is_terminal and not console.is_dumb_terminal else PlainScreen(console)


@dataclass
class FitProgress:
    """The progress of a fit.

    Attributes:
        name: the fit's name in its trial.
        since: when compilation began.
        compiling: whether it is still compiling.
        first: time and step of the first progress event, where the pace estimate starts: a resumed fit does not start at zero, and compilation does not count.
        step: steps done.
        steps: total steps.
        metrics: the latest means.
        ended: when the last step was done; the trial then evaluates the models.
    """

    name: str
    since: float
    compiling: bool = True
    first: tuple[float, int] | None = None
    step: int = 0
    steps: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    ended: float | None = None

    @classmethod
    def of(cls, event: Progress, earlier: FitProgress | None, now: float) -> FitProgress:
        """The trial's fit after an event; `earlier` is the trial's previous state, if any."""
        fitting = earlier if earlier is not None and earlier.name == event.fit else cls(event.fit, now)
        fitting.compiling, fitting.step, fitting.steps, fitting.metrics = False, event.step, event.steps, event.metrics
        if fitting.first is None:
            fitting.first = now, event.step
        if event.step >= event.steps and fitting.ended is None:
            fitting.ended = now
        return fitting

    def remaining(self, now: float) -> float | None:
        """Seconds left at the pace so far; None if it is not yet known."""
        if self.first is None or self.step <= self.first[1]:
            return None
        return (now - self.first[0]) / (self.step - self.first[1]) * (self.steps - self.step)


def describe(metrics: Mapping[str, Any], most: int = 2) -> str:
    """The loss, then other metrics; `most` in all."""
    names = sorted(metrics, key=lambda name: (name != "loss", "loss" not in name))[:most]
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in names)


def expected(minutes: Mapping[str, float], trial: str, before: str) -> str:
    """How long the trial takes on two cores, after `before`; empty if it was not measured."""
    return f"{before}{duration(60 * minutes[trial])}" if trial in minutes else ""


# --- a log ----------------------------------------------------------------------------------------------------------


class PlainScreen:
    """One line per event, without control characters; progress at most every `PLAIN_SECONDS`."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self._console, self._clock = console, clock
        self._places: dict[str, str] = {}  # several trials may run at a time, on a cluster
        self._fits: dict[str, FitProgress] = {}
        self._last = clock()
        self._minutes: Mapping[str, float] = {}

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def __call__(self, event: Event) -> None:
        """Print the event's line, if it has one."""
        match event:
            case RunStarted(plan):
                self._minutes = plan.minutes
            case Note(message):
                self._line(message)
            case TrialStarted(trial, index, total):
                self._places[trial] = f"[{index}/{total}] "
                self._line(f"{self._place(trial)}{trial} started{expected(self._minutes, trial, ', usually ')}")
            case Compiling(trial, fit):
                self._fits[trial] = FitProgress(fit, self._clock())
                self._line(f"{self._place(trial)}{trial}: compiling {fit}")
            case Compiled(trial, fit, seconds):
                if seconds >= 1:
                    self._line(f"{self._place(trial)}{trial}: compiled {fit} in {duration(seconds)}")
            case Progress():
                self._progress(event)
            case TrialFinished(trial, seconds, cached):
                self._line(f"{self._place(trial)}{trial} " + ("finished earlier" if cached else f"finished in {duration(seconds)}"))
            case TrialFailed(trial, message):
                self._line(f"{self._place(trial)}{trial} FAILED: {message}")
            case TrialSkipped(trial, reason):
                self._line(f"{self._place(trial)}{trial} skipped: {reason}")

    def _progress(self, event: Progress) -> None:
        now = self._clock()
        fitting = self._fits[event.trial] = FitProgress.of(event, self._fits.get(event.trial), now)
        if fitting.ended == now:
            self._line(f"{self._place(event.trial)}{event.trial}: {event.fit} trained, evaluating, {describe(event.metrics)}")
        elif now - self._last >= PLAIN_SECONDS:
            left = fitting.remaining(now)
            done = f"{event.fit} {event.step}/{event.steps} ({100 * event.step / max(event.steps, 1):.0f} %)"
            parts = [done, f"{duration(left)} left" if left is not None else "", describe(event.metrics)]
            self._line(f"{self._place(event.trial)}{event.trial}: {', '.join(part for part in parts if part)}")

    def _place(self, trial: str) -> str:
        return self._places.get(trial, "")

    def _line(self, text: str) -> None:
        self._last = self._clock()
        self._console.print(Text(printable(text)), soft_wrap=True)


def printable(text: str) -> str:
    """Replace control characters except line breaks by spaces; they could move the cursor or change colours."""
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)


# --- a terminal -----------------------------------------------------------------------------------------------------


class LiveScreen:
    """Finished trials scroll up as aligned lines; running trials below show the compile time, then a progress bar with time left and loss."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self._console, self._clock = console, clock
        self._running: dict[str, FitProgress | None] = {}
        self._started: dict[str, float] = {}
        self._place, self._total = 0, 0
        self._minutes: Mapping[str, float] = {}
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveScreen:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)

    def render(self) -> RenderableType:
        """The live table of running trials."""
        if not self._running:
            return Group()
        table = Table.grid(padding=(0, 2), expand=False)
        for trial, fitting in list(self._running.items()):
            table.add_row(self._spinner, Text(printable(trial), style="bold"), *self._state(trial, fitting))
        return Group(table, Text(f"  trial {self._place} of {self._total}", style="dim"))

    def _state(self, trial: str, fitting: FitProgress | None) -> tuple[RenderableType, RenderableType, RenderableType]:
        now = self._clock()
        if fitting is None:
            since = duration(now - self._started[trial]) + expected(self._minutes, trial, ", usually ")
            return Text("evaluating", style="cyan"), Text(since, style="dim"), Text()
        if fitting.compiling:
            return Text(f"compiling {printable(fitting.name)}", style="yellow"), Text(duration(now - fitting.since), style="yellow"), Text()
        if fitting.first is None:
            return Text(f"starting {printable(fitting.name)}", style="dim"), Text(), Text()
        if fitting.ended is not None:
            return Text("evaluating", style="cyan"), Text(duration(now - fitting.ended), style="dim"), Text(printable(describe(fitting.metrics)), style="dim")
        left = fitting.remaining(now)
        bar = ProgressBar(total=max(fitting.steps, 1), completed=fitting.step, width=24)
        count = Text(f"{fitting.step}/{fitting.steps}" + (f"  {duration(left)} left" if left is not None else ""))
        return bar, count, Text(printable(describe(fitting.metrics)), style="dim")

    def __call__(self, event: Event) -> None:
        """Update the table, or print a permanent line above it."""
        match event:
            case RunStarted(plan):
                self._minutes = plan.minutes
            case Note(message):
                self._keep("·", "dim", message, "")
            case TrialStarted(trial, index, total):
                self._place, self._total = index, total
                self._started[trial] = self._clock()  # before `_running`: another thread draws the screen
                self._running[trial] = None
            case Compiling(trial, fit):
                self._running[trial] = FitProgress(fit, self._clock())
            case Compiled(trial):
                if (fitting := self._running.get(trial)) is not None:
                    fitting.compiling = False
            case Progress(trial):
                self._running[trial] = FitProgress.of(event, self._running.get(trial), self._clock())
            case TrialFinished(trial, seconds, cached):
                fitting = self._running.pop(trial, None)
                told = f"{duration(seconds):>10}  {describe(fitting.metrics) if fitting else ''}"
                self._keep("✓", "dim green" if cached else "green", trial, "finished earlier" if cached else told)
            case TrialFailed(trial, message):
                self._running.pop(trial, None)
                self._keep("✕", "bold red", trial, message)
            case TrialSkipped(trial, reason):
                self._running.pop(trial, None)
                self._keep("–", "yellow", trial, f"skipped: {reason}")

    def _keep(self, sign: str, style: str, name: str, rest: str) -> None:
        line = Text.assemble((f"{sign} ", style), (f"{printable(name):<28}", "" if rest else style))
        if rest:
            line.append(f"  {printable(rest)}", "red" if "red" in style else "dim")
        self._console.print(line)
