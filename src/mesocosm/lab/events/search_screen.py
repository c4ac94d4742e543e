"""Shows a search: on a terminal one progress bar over all arms with the time left, in a log a line for each arm."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mesocosm.lab.events.event import Event, Note, Progress, TrialFailed, TrialFinished, TrialStarted
from mesocosm.lab.events.progress import printable
from mesocosm.lab.formatting import duration


class SearchScreen:
    """A context manager that restores the terminal. All arms are assumed to take equally long, except those that an earlier call has finished."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self._console, self._clock = console, clock
        self._arm, self._arms, self._words = 0, 0, ""
        self._trial, self._trials, self._fit = 0, 1, 0.0
        self._trains = False
        self._since: float | None = None
        """When the first arm that is trained now began."""
        self._earlier = 0.0
        """How many arms had ended then."""
        live = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=8, transient=True) if live else None

    def __enter__(self) -> SearchScreen:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def begin(self, arm: int, arms: int, words: str) -> None:
        """Arm number `arm` (from 1) of `arms` begins."""
        self._arm, self._arms, self._words = arm, arms, words
        self._trial, self._trials, self._fit, self._trains = 0, 1, 0.0, False
        if self._live is None:
            left = self.remaining()
            self._print(f"[{arm}/{arms}] {words} started" + (f", {duration(left)} left" if left is not None else ""))

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        match event:
            case TrialStarted(_, index, total):
                self._trial, self._trials, self._fit, self._trains = index - 1, total, 0.0, True
                if self._since is None:
                    self._since, self._earlier = self._clock(), self.done()
            case Progress(_, _, step, steps):
                self._fit = step / max(steps, 1)
            case TrialFinished():
                self._fit = 1.0
            case TrialFailed(trial, message):
                self._fit = 1.0
                self._print(f"[{self._arm}/{self._arms}] {trial} FAILED: {message}")
            case Note(message):
                self._print(f"[{self._arm}/{self._arms}] {message}")

    def end(self, words: str) -> None:
        """The arm has ended."""
        self._print(f"[{self._arm}/{self._arms}] {words}" + ("" if self._trains else " (finished earlier)"))
        self._trial, self._fit = self._trials, 0.0

    def done(self) -> float:
        """How many arms have ended, and the part of the present one."""
        return max(self._arm - 1, 0) + min((self._trial + self._fit) / self._trials, 1.0)

    def remaining(self) -> float | None:
        """Seconds left at the pace so far; None if it is not yet known."""
        if self._since is None or (trained := self.done() - self._earlier) <= 0:
            return None
        return (self._clock() - self._since) / trained * (self._arms - self.done())

    def render(self) -> RenderableType:
        """The bar."""
        if not self._arms:
            return Group()
        left, row = self.remaining(), Table.grid(padding=(0, 2))
        words = Text(f"arm {self._arm} of {self._arms}  {printable(self._words)}", style="bold")
        row.add_row(ProgressBar(total=self._arms, completed=self.done(), width=24), Text(f"{duration(left)} left" if left is not None else ""), words)
        return row

    def _print(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True)
