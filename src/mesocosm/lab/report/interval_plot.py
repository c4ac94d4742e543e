"""A check as a small picture: the region where it holds, the estimate with its interval, the control, the reference and, larger, every replicate.

Inline SVG without colours of its own: the page's style sheet gives them, so that the picture follows light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesocosm.lab.report.markup import Html, element, number

WIDTH = 240.0
MARGIN = 8.0


@dataclass(frozen=True)
class Axis:
    """Maps values to horizontal places, linearly or by decades.

    Attributes:
        low: the left edge, as its logarithm where `decades`.
        high: the right edge, likewise.
        decades: whether the scale is logarithmic; zero then sits at the left edge.
    """

    low: float
    high: float
    decades: bool

    @classmethod
    def around(cls, values: Sequence[float | int], *, decades: bool) -> Axis:
        """An axis on which all values are visible."""
        if decades:
            positive = [value for value in values if value > 0] or [1.0]
            places = [math.log10(value) for value in positive]
            if min(values) <= 0:
                places.append(min(places) - 1)
        else:
            places = list(values)
        low, high = min(places), max(places)
        room = 0.08 * (high - low) or 0.5 * max(abs(low), 1.0)
        return cls(low - room, high + room, decades)

    def at(self, value: float | int) -> float:
        """Where a value lies, in pixels; what lies outside sits on the edge."""
        if self.decades:
            value = math.log10(value) if value > 0 else self.low
        share = (value - self.low) / (self.high - self.low)
        return MARGIN + min(max(share, 0.0), 1.0) * (WIDTH - 2 * MARGIN)


def region_ends(row: Mapping[str, Any]) -> tuple[float | int | None, float | int | None]:
    """The low and the high end of a check's region, None where it is open."""
    threshold = row.get("threshold")
    if threshold is None:
        return None, None
    if row.get("direction") == "in":
        return threshold[0], threshold[1]
    return (threshold, None) if row.get("direction") == ">" else (None, threshold)


def region_text(row: Mapping[str, Any]) -> str:
    """The region in words of a table: `< −1`, `> 0.5`, `0.9 to 1.1`."""
    low, high = region_ends(row)
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    return f"> {number(low)}" if low is not None else f"< {number(high)}" if high is not None else "–"


def interval_ends(part: Mapping[str, Any]) -> str | None:
    """`[low, high]`, None where there is no interval."""
    return None if part.get("low") is None or part.get("high") is None else f"[{number(part['low'])}, {number(part['high'])}]"


def interval_text(part: Mapping[str, Any]) -> str:
    """`estimate [low, high]`, the interval only where there is one."""
    if part.get("estimate") is None:
        return "–"
    return " ".join(filter(None, (number(part["estimate"]), interval_ends(part))))


def interval_plot(row: Mapping[str, Any]) -> Html | None:
    """The check in one line of a table: region, estimate, control and reference on one axis; None where nothing was measured."""
    if row.get("estimate") is None:
        return None
    axis = _axis(row, [])
    control = row.get("control") or {}
    label = f"{interval_text(row)}, region {region_text(row)}, control {interval_text(control)}"
    return element(
        "svg",
        _region(row, axis, 3, 23),
        _interval(control, axis, 18, "control"),
        _interval(row, axis, 9, "measured"),
        _reference(row, axis, 3, 23),
        _threshold_labels(row, axis, 34),
        class_="interval-plot",
        viewBox=f"0 0 {WIDTH:.0f} 37",
        role="img",
        aria_label=label,
    )


def replicate_plot(row: Mapping[str, Any]) -> Html | None:
    """Every replicate as a dot, above the interval and the control; None where there are no replicates."""
    values = [entry["value"] for entry in row.get("replicates") or ()]
    if not values or row.get("estimate") is None:
        return None
    axis = _axis(row, values)
    return element(
        "svg",
        _region(row, axis, 4, 74),
        _dots(values, axis, 20, "measured"),
        _interval(row, axis, 44, "measured"),
        _interval(row.get("control") or {}, axis, 62, "control"),
        _reference(row, axis, 4, 74),
        _threshold_labels(row, axis, 86),
        class_="replicates",
        viewBox=f"0 0 {WIDTH:.0f} 90",
        role="img",
        aria_label=f"{len(values)} replicates from {number(min(values))} to {number(max(values))}",
    )


def _axis(row: Mapping[str, Any], more: Sequence[float]) -> Axis:
    control = row.get("control") or {}
    ends = [part.get(key) for part in (row, control) for key in ("estimate", "low", "high")] + [row.get("reference"), *region_ends(row)]
    values = [float(value) for value in [*ends, *more] if value is not None and math.isfinite(value)]
    positive = [value for value in values if value > 0]
    wide = len(positive) > 1 and max(positive) > 1000 * min(positive)
    return Axis.around(values, decades=min(values) >= 0 and (row.get("kind") == "exact" or wide))


def _region(row: Mapping[str, Any], axis: Axis, top: int, bottom: int) -> list[Html]:
    low, high = region_ends(row)
    left = axis.at(low) if low is not None else 0.0
    right = axis.at(high) if high is not None else WIDTH
    drawn = [element("rect", class_="region", x=left, y=top, width=right - left, height=bottom - top)]
    drawn += [element("line", class_="edge", x1=axis.at(end), x2=axis.at(end), y1=top, y2=bottom) for end in (low, high) if end is not None]
    return drawn


def _interval(part: Mapping[str, Any], axis: Axis, y: int, class_: str) -> list[Html]:
    if part.get("estimate") is None:
        return []
    middle = axis.at(part["estimate"])
    drawn = [element("circle", class_=class_, cx=middle, cy=y, r=3.4)]
    if part.get("low") is not None and part.get("high") is not None:
        left, right = axis.at(part["low"]), axis.at(part["high"])
        drawn.insert(0, element("path", class_=class_, d=f"M{left:.1f} {y - 3:.1f}v6m0-3H{right:.1f}m0-3v6"))
    return drawn


def _dots(values: Sequence[float | int], axis: Axis, y: int, class_: str) -> list[Html]:
    """Dots spread a little up and down in their order, so that equal values stay countable."""
    heights = [y + 9.0 * ((index * 0.618) % 1.0 * 2 - 1) for index in range(len(values))]
    return [element("circle", class_=f"{class_} dot", cx=axis.at(value), cy=height, r=2.4) for value, height in zip(values, heights, strict=True)]


def _reference(row: Mapping[str, Any], axis: Axis, top: int, bottom: int) -> Html | None:
    if row.get("reference") is None:
        return None
    place = axis.at(row["reference"])
    return element("path", class_="reference", d=f"M{place - 4:.1f} {top - 3:.1f}h8l-4 5.5z M{place:.1f} {top:.1f}V{bottom:.1f}")


def _threshold_labels(row: Mapping[str, Any], axis: Axis, y: int) -> list[Html]:
    ends = [(axis.at(end), number(end)) for end in region_ends(row) if end is not None]
    if len(ends) == 2 and ends[1][0] - ends[0][0] < 50:  # too narrow for two labels
        ends = [((ends[0][0] + ends[1][0]) / 2, f"{ends[0][1]} to {ends[1][1]}")]
    margin = 24 if len(ends) == 2 else 36
    anchors = ["start" if place < margin else "end" if place > WIDTH - margin else "middle" for place, _ in ends]
    return [element("text", label, x=place, y=y, text_anchor=anchor) for (place, label), anchor in zip(ends, anchors, strict=True)]
