"""An observer that shows a running study in a notebook: one output, replaced as the run goes on, without a script or a widget."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from mesocosm.lab.events.event import Compiling, Event, Judged, Note, Progress, RunStarted, TrialFailed, TrialFinished, TrialSkipped, TrialStarted
from mesocosm.lab.events.progress import FitProgress, describe, expected, printable
from mesocosm.lab.formatting import duration

REFRESH_SECONDS = 0.5
"""The shortest time between two pictures of the same trials."""


class Html:
    """A piece of HTML as notebooks read it."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return "the progress of a run"

    def _repr_html_(self) -> str:
        return self.text


def output() -> Callable[[Html], None]:
    """A function that shows a piece of HTML in the output of the current cell, in place of what it showed before."""
    from IPython.core.display_functions import display  # pyright: ignore[reportMissingImports]: a notebook always has it

    handle: list[Any] = []

    def show(piece: Html) -> None:
        if handle:
            handle[0].update(piece)
        else:
            handle.append(display(piece, display_id=True))

    return show


class NotebookScreen:
    """One line per trial: finished ones with their time, a running one with its compile time, then a progress bar with time left and loss.

    Args:
        show: shows a piece of HTML in place of the one before.
        clock: tells the time in seconds.
    """

    def __init__(self, show: Callable[[Html], None], clock: Callable[[], float] = time.monotonic):
        self._show, self._clock = show, clock
        self._lines: dict[str, str] = {}
        self._notes: list[str] = []
        self._fits: dict[str, FitProgress] = {}
        self._minutes: Mapping[str, float] = {}
        self._trials, self._failed, self._done = 0, 0, False
        self._began = self._shown = clock()

    def __enter__(self) -> NotebookScreen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._draw()

    def __call__(self, event: Event) -> None:
        """Note the event, and show the trials again if it ends something or if the last time is long ago."""
        at_once = True
        match event:
            case RunStarted(plan):
                self._minutes = plan.minutes
            case Note(message):
                self._notes.append(message)
            case TrialStarted(trial, _, total):
                self._trials = total
                self._line("…", trial, f"started{expected(self._minutes, trial, ', usually ')}")
            case Compiling(trial, fit):
                self._fits[trial] = FitProgress(fit, self._clock())
                self._line("…", trial, f"compiling {fit}")
            case Progress(trial):
                fitting = self._fits[trial] = FitProgress.of(event, self._fits.get(trial), self._clock())
                self._line("…", trial, *self._state(fitting))
                at_once = self._clock() - self._shown >= REFRESH_SECONDS
            case TrialFinished(trial, seconds, cached):
                fitting = self._fits.get(trial)
                self._line("✓", trial, "finished earlier" if cached else duration(seconds), describe(fitting.metrics) if fitting else "")
            case TrialFailed(trial, message):
                self._failed += 1
                self._line("✕", trial, f"failed: {message}")
            case TrialSkipped(trial, reason):
                self._line("–", trial, f"skipped: {reason}")
            case Judged():
                self._done = True
            case _:
                return
        if at_once:
            self._draw()

    def _state(self, fitting: FitProgress) -> tuple[str, str, str]:
        if fitting.ended is not None:
            return "evaluating", describe(fitting.metrics), ""
        left = fitting.remaining(self._clock())
        bar = f'<progress value="{fitting.step}" max="{max(fitting.steps, 1)}"></progress>'
        return f"{fitting.step}/{fitting.steps}" + (f", {duration(left)} left" if left is not None else ""), describe(fitting.metrics), bar

    def _line(self, sign: str, trial: str, told: str, more: str = "", bar: str = "") -> None:
        """Replace the trial's line; `bar` is markup, the rest is text."""
        cells = (html.escape(sign), f"<b>{_text(trial)}</b>", f"{bar} {_text(told)}", f'<span style="opacity:.7">{_text(more)}</span>')
        self._lines[trial] = "".join(f'<td style="text-align:left;padding:1px 12px 1px 0;background:none">{cell}</td>' for cell in cells)

    def _draw(self) -> None:
        self._shown = self._clock()
        rows = "".join(f'<tr style="background:none">{line}</tr>' for line in self._lines.values())
        notes = "".join(f"<div>{_text(note)}</div>" for note in self._notes)
        number = len(self._lines)
        told = f"{number} trial{'s' * (number != 1)} in {duration(self._shown - self._began)}" if self._done else f"{number} of {self._trials or number} trials"
        failed = f", {self._failed} failed" * bool(self._failed)
        opened = "" if self._done and not self._failed else " open"
        table = f'<table class="mesocosm-trials" style="border-collapse:collapse">{rows}</table>'
        self._show(Html(f'<details class="mesocosm-progress"{opened}><summary>{told}{failed}</summary>{table}{notes}</details>'))


def _text(text: str) -> str:
    return html.escape(printable(text))
