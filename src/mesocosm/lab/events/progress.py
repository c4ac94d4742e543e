"""What a person sees while a study runs: a live table on a terminal, plain lines in a log, or nothing.

All are Observers. Whatever needs reading (failures, notes) is printed when it happens and stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mesocosm.lab.report.markup import duration

PLAIN_SECONDS = 5.0
"""The shortest time between two progress lines of a log."""


def screen(console: Console) -> Silent:
    """The live table where there is a terminal, plain lines elsewhere."""
    return LiveScreen(console) if console.is_terminal and not console.is_dumb_terminal else PlainScreen(console)


@dataclass
class Fitting:
    """How far a fit is.

    Attributes:
        name: the fit's name in its trial.
        since: when it began to compile.
        compiling: whether it still does.
        first: time and step of the first progress seen, from which the pace is taken: a resumed fit does not begin at zero, and compiling is no pace.
        step: steps done.
        steps: steps in all.
        metrics: the last means.
    """

    name: str
    since: float
    compiling: bool = True
    first: tuple[float, int] | None = None
    step: int = 0
    steps: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def advance(self, now: float, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """Take note of progress."""
        self.compiling, self.step, self.steps, self.metrics = False, step, steps, metrics
        if self.first is None:
            self.first = now, step

    def remaining(self, now: float) -> float | None:
        """Seconds left at the pace so far; None before there is one."""
        if self.first is None or self.step <= self.first[1]:
            return None
        return (now - self.first[0]) / (self.step - self.first[1]) * (self.steps - self.step)


def describe(metrics: Mapping[str, Any], most: int = 2) -> str:
    """The loss first, then the others as far as there is room."""
    names = sorted(metrics, key=lambda name: (name != "loss", "loss" not in name))[:most]
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in names)


# --- nobody watches -------------------------------------------------------------------------------------------------


class Silent:
    """Receives everything, shows nothing; opened and closed round a run like the others."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def run_started(self, plan: Any) -> None:
        """Nothing."""

    def trial_started(self, trial: str, index: int, total: int) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def compiling(self, trial: str, fit: str) -> None:
        """Nothing."""

    def compiled(self, trial: str, fit: str, seconds: float | int) -> None:
        """Nothing."""

    def progress(self, trial: str, fit: str, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """Nothing."""

    def trial_finished(self, trial: str, seconds: float | int, cached: bool) -> None:
        """Nothing."""

    def trial_failed(self, trial: str, message: str) -> None:
        """Nothing."""

    def trial_skipped(self, trial: str, reason: str) -> None:
        """Nothing."""

    def judged(self, rows: Sequence[Any]) -> None:
        """Nothing."""


# --- a log ----------------------------------------------------------------------------------------------------------


class PlainScreen(Silent):
    """One line an event, without control characters; progress at most every few seconds."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self._console, self._clock = console, clock
        self._place = ""
        self._fits: dict[str, Fitting] = {}
        self._last = clock()

    def trial_started(self, trial: str, index: int, total: int) -> None:
        """Say that it begins."""
        self._place = f"[{index}/{total}] "
        self._line(f"{self._place}{trial} started")

    def note(self, message: str) -> None:
        """Print it."""
        self._line(message)

    def compiling(self, trial: str, fit: str) -> None:
        """Start the clock; a compile that is long enough to wonder about is reported when it is done."""
        self._fits[trial] = Fitting(fit, self._clock())
        self._line(f"{self._place}{trial}: compiling {fit}")

    def compiled(self, trial: str, fit: str, seconds: float | int) -> None:
        """Report a long compile."""
        if seconds >= 1:
            self._line(f"{self._place}{trial}: compiled {fit} in {duration(seconds)}")

    def progress(self, trial: str, fit: str, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """One line, if the last one is some seconds old."""
        now = self._clock()
        fitting = self._fits.setdefault(trial, Fitting(fit, now))
        if fitting.name != fit:
            fitting = self._fits[trial] = Fitting(fit, now)
        fitting.advance(now, step, steps, metrics)
        if now - self._last >= PLAIN_SECONDS:
            left = fitting.remaining(now)
            parts = [f"{fit} {step}/{steps} ({100 * step / max(steps, 1):.0f} %)", f"{duration(left)} left" if left is not None else "", describe(metrics)]
            self._line(f"{self._place}{trial}: {', '.join(part for part in parts if part)}")

    def trial_finished(self, trial: str, seconds: float | int, cached: bool) -> None:
        """Say how long it took."""
        self._line(f"{self._place}{trial} " + ("was finished before" if cached else f"finished in {duration(seconds)}"))

    def trial_failed(self, trial: str, message: str) -> None:
        """Say why."""
        self._line(f"{self._place}{trial} FAILED: {message}")

    def trial_skipped(self, trial: str, reason: str) -> None:
        """Say why."""
        self._line(f"{self._place}{trial} skipped: {reason}")

    def _line(self, text: str) -> None:
        self._last = self._clock()
        self._console.print(Text(printable(text)), soft_wrap=True)


def printable(text: str) -> str:
    """Without control characters other than line breaks, which could move a terminal's cursor or its colours."""
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)


# --- a terminal -----------------------------------------------------------------------------------------------------


class LiveScreen(Silent):
    """Finished trials scroll up as aligned lines; below them the running ones move: compiling with its seconds, then a bar with time left and loss."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self._console, self._clock = console, clock
        self._running: dict[str, Fitting | None] = {}
        self._started: dict[str, float] = {}
        self._place, self._total = 0, 0
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveScreen:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)

    def render(self) -> RenderableType:
        """The moving part."""
        if not self._running:
            return Group()
        table = Table.grid(padding=(0, 2), expand=False)
        for trial, fitting in list(self._running.items()):
            table.add_row(self._spinner, Text(printable(trial), style="bold"), *self._state(trial, fitting))
        return Group(table, Text(f"  trial {self._place} of {self._total}", style="dim"))

    def _state(self, trial: str, fitting: Fitting | None) -> tuple[RenderableType, RenderableType, RenderableType]:
        now = self._clock()
        if fitting is None:
            return Text(duration(now - self._started[trial]), style="dim"), Text(), Text()
        if fitting.compiling:
            return Text(f"compiling {printable(fitting.name)}", style="yellow"), Text(duration(now - fitting.since), style="yellow"), Text()
        if fitting.first is None:
            return Text(f"starting {printable(fitting.name)}", style="dim"), Text(), Text()
        left = fitting.remaining(now)
        bar = ProgressBar(total=max(fitting.steps, 1), completed=fitting.step, width=24)
        count = Text(f"{fitting.step}/{fitting.steps}" + (f"  {duration(left)} left" if left is not None else ""))
        return bar, count, Text(printable(describe(fitting.metrics)), style="dim")

    def trial_started(self, trial: str, index: int, total: int) -> None:
        """Show it among the running ones."""
        self._place, self._total = index, total
        self._started[trial] = self._clock()  # first: the screen is drawn by another thread
        self._running[trial] = None

    def note(self, message: str) -> None:
        """Print it above."""
        self._keep("·", "dim", message, "")

    def compiling(self, trial: str, fit: str) -> None:
        """Show the seconds run."""
        self._running[trial] = Fitting(fit, self._clock())

    def compiled(self, trial: str, fit: str, seconds: float | int) -> None:
        """Stop them."""
        if (fitting := self._running.get(trial)) is not None:
            fitting.compiling = False

    def progress(self, trial: str, fit: str, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """Move the bar."""
        fitting = self._running.get(trial)
        if fitting is None or fitting.name != fit:
            fitting = self._running[trial] = Fitting(fit, self._clock())
        fitting.advance(self._clock(), step, steps, metrics)

    def trial_finished(self, trial: str, seconds: float | int, cached: bool) -> None:
        """A line that stays."""
        fitting = self._running.pop(trial, None)
        if cached:
            self._keep("✓", "dim green", trial, "finished before")
        else:
            self._keep("✓", "green", trial, f"{duration(seconds):>10}  {describe(fitting.metrics) if fitting else ''}")

    def trial_failed(self, trial: str, message: str) -> None:
        """A line that stays, and stands out."""
        self._running.pop(trial, None)
        self._keep("✕", "bold red", trial, message)

    def trial_skipped(self, trial: str, reason: str) -> None:
        """A line that stays."""
        self._running.pop(trial, None)
        self._keep("–", "yellow", trial, f"skipped: {reason}")

    def _keep(self, sign: str, style: str, name: str, rest: str) -> None:
        line = Text.assemble((f"{sign} ", style), (f"{printable(name):<28}", "" if rest else style))
        if rest:
            line.append(f"  {printable(rest)}", "red" if "red" in style else "dim")
        self._console.print(line)
