"""Formats numbers, times, regions and intervals for terminals and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def number(value: float | int | None, digits: int = 3) -> str:
    """Format a number with a few significant digits, a real minus sign, and a power of ten if it is very small or large."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude < 1e-3 or magnitude >= 1e6:
        text = f"{value:.{digits - 1}e}"
    else:
        text = f"{value:.{digits}g}" if magnitude < 10**digits - 0.5 else f"{value:,.0f}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        mantissa = mantissa.rstrip("0").rstrip(".")
        text = f"10{power}" if mantissa == "1" else f"{mantissa}·10{power}"
    return text.replace("-", "−")


def duration(seconds: float | int) -> str:
    """Format a duration: 40 ms, 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def seconds_text(value: float | int | None) -> str:
    """A duration, or a dash if unknown."""
    return "–" if value is None else duration(value)


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds, as a range if consecutive."""
    unbroken = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if unbroken else ", ".join(map(str, seeds))


def when(started: Any) -> str | None:
    """A time stamp without fractions of a second and time zone."""
    return str(started).replace("T", " ").partition(".")[0].partition("+")[0] if started else None


def from_here(path: Path) -> str:
    """A path relative to the working directory if it lies there."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def region_ends(row: Mapping[str, Any]) -> tuple[float | int | None, float | int | None]:
    """The low and the high end of a check's region; None where it is open."""
    threshold = row.get("threshold")
    if threshold is None:
        return None, None
    if row.get("direction") == "in":
        return threshold[0], threshold[1]
    return (threshold, None) if row.get("direction") == ">" else (None, threshold)


def region_text(row: Mapping[str, Any]) -> str:
    """The region as text: `< −1`, `> 0.5`, `0.9 to 1.1`."""
    low, high = region_ends(row)
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    return f"> {number(low)}" if low is not None else f"< {number(high)}" if high is not None else "–"


def interval_ends(part: Mapping[str, Any]) -> str | None:
    """`[low, high]`; None without an interval."""
    return None if part.get("low") is None or part.get("high") is None else f"[{number(part['low'])}, {number(part['high'])}]"


def interval_text(part: Mapping[str, Any]) -> str:
    """`estimate [low, high]`; only the estimate if there is no interval."""
    if part.get("estimate") is None:
        return "–"
    return " ".join(filter(None, (number(part["estimate"]), interval_ends(part))))
