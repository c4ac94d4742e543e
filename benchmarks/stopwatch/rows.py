"""Rows, the one form of a benchmark's results: what was compared, at which error, the ratio, and whether the aim is met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np
import polars as pl
from rich import box
from rich.table import Table
from rich.text import Text

from stopwatch.timing import Contender, interleave, largest_error

LARGEST_ERROR = 1e-5
COLOURS = {"met": "green", "missed": "bold red", "wrong": "bold red", "skipped": "yellow", "measured": "dim"}

Reference = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Target:
    """What is aimed at: a bound on the ratio, met if the worse end of its interval is within, or on our own number."""

    of: Literal["ratio", "ours"]
    direction: Literal["≥", "≤"]
    value: float

    def __str__(self) -> str:
        return f"{self.of} {self.direction} {self.value:g}"

    def met(self, ours: float, low: float, high: float) -> bool:
        """Whether it is."""
        if self.of == "ours":
            low = high = ours
        return low >= self.value if self.direction == "≥" else high <= self.value


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        benchmark: whose row it is.
        case: what is computed.
        size: of the problem.
        quantity: what `ours` and `theirs` count: "seconds", "MiB", "power of tokens" for growth, or "error".
        ours, theirs: medians, or None where there is none.
        peer: what we are compared with; empty for a number of our own.
        ratio: theirs / ours, above 1 where we are better; low, high: its interval.
        error: the larger of both contenders' errors.
        target: the aim, empty where there is none.
        verdict: "met", "missed", "measured" (no aim), "skipped" or "wrong" (an error above `Comparison.largest_error`, usually 1e-5: no ratio).
        note: what limits a row that missed, why one was skipped, what a peer was spared.
    """

    benchmark: str
    case: str
    size: str
    quantity: str
    ours: float | None
    peer: str
    theirs: float | None
    ratio: float | None
    low: float | None
    high: float | None
    error: float | None
    target: str
    verdict: Literal["met", "missed", "measured", "skipped", "wrong"]
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """The head of a row, and how to fill it.

    Attributes:
        seconds: how long both are timed, in all.
        limit: the sentence that says what limits us, for a row that misses its aim.
        largest_error: a contender with a larger one gives a wrong answer, which is not timed.
    """

    benchmark: str
    case: str
    size: str
    seconds: float
    target: Target | None = None
    limit: str = ""
    largest_error: float = LARGEST_ERROR

    def skipped(self, peer: str, reason: str) -> Row:
        """A row without numbers."""
        return Row(self.benchmark, self.case, self.size, "seconds", None, peer, None, None, None, None, None, self._aim, "skipped", reason)

    def measured(self, quantity: str, ours: float, peer: str = "", theirs: float | None = None, note: str = "") -> Row:
        """A row of numbers that need no turns: bytes, growth, a single measurement."""
        ratio = None if theirs is None else theirs / ours
        met = None if self.target is None else self.target.met(ours, ratio or 0.0, ratio or 0.0)
        return Row(
            self.benchmark, self.case, self.size, quantity, ours, peer, theirs, ratio, None, None, None, self._aim, self._verdict(met), self._note(note, met)
        )

    def timed(self, ours: Contender, theirs: Contender, reference: Reference | None = None) -> Row:
        """Check both against the reference, then time them; a wrong answer is never timed."""
        error = None
        answers = [side.answer(side.run()) for side in (ours, theirs)]
        if reference is not None:
            errors = [largest_error(given, reference(given)) for given in answers]
            error = max(errors)
            if error > self.largest_error:
                wrong = " and ".join(f"{side.name}: error {e:.1e}" for side, e in zip((ours, theirs), errors, strict=True) if e > self.largest_error)
                shown = error if np.isfinite(error) else None
                note = _sentences(f"{wrong}, above {self.largest_error:g}, so there is no ratio", theirs.note)
                return Row(self.benchmark, self.case, self.size, "seconds", None, theirs.name, None, None, None, None, shown, self._aim, "wrong", note)
        took = interleave(ours, theirs, seconds=self.seconds)
        met = None if self.target is None else self.target.met(took.ours, took.low, took.high)
        numbers = (took.ours, theirs.name, took.theirs, took.ratio, took.low, took.high, error)
        return Row(self.benchmark, self.case, self.size, "seconds", *numbers, self._aim, self._verdict(met), self._note(theirs.note, met))

    @property
    def _aim(self) -> str:
        return "" if self.target is None else str(self.target)

    def _verdict(self, met: bool | None) -> Literal["met", "missed", "measured"]:
        return "measured" if met is None else "met" if met else "missed"

    def _note(self, note: str, met: bool | None) -> str:
        return _sentences(self.limit if met is False else "", note)


def _sentences(*parts: str) -> str:
    return ". ".join(part.rstrip(".") for part in parts if part)


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as a table; a column without any number is still one of numbers."""
    numbers = {"ours", "theirs", "ratio", "low", "high", "error"}
    schema = {field.name: pl.Float64 if field.name in numbers else pl.String for field in fields(Row)}
    return pl.DataFrame([asdict(row) for row in rows], schema=schema)


def terminal_table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in ("case", "size", "ours", "peer", "theirs", "ratio", "error", "aim", "verdict", "note"):
        shown.add_column(column, overflow="fold", min_width=24 if column == "note" else None)
    for row in rows:
        words = (row.case, row.size, amount(row.ours, row.quantity), row.peer, amount(row.theirs, row.quantity), ratio_text(row), error_text(row), row.target)
        shown.add_row(*map(Text, words), Text(row.verdict, style=COLOURS[row.verdict]), Text(row.note, style="dim"))
    return shown


def amount(value: float | None, quantity: str) -> str:
    """A number with its unit."""
    if value is None:
        return "–"
    if quantity == "seconds":
        return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"
    if quantity == "error":
        return f"{value:.1e}"
    return f"{value:.3g} {quantity}" if quantity == "MiB" else f"tokens^{value:.2f}"


def ratio_text(row: Row) -> str:
    """The ratio with its interval."""
    if row.ratio is None:
        return "–"
    return f"{row.ratio:.3g}" + ("" if row.low is None or row.high is None else f" [{row.low:.3g}, {row.high:.3g}]")


def error_text(row: Row) -> str:
    """The error in one digit."""
    return "–" if row.error is None else f"{row.error:.0e}"
