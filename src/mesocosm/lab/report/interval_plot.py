"""Plots a check: the region where it holds, the estimate with its interval, the control and the reference. A larger plot shows every replicate.

This module computes the geometry; `templates/interval_plot.html` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mesocosm.lab.formatting import interval_text, number, region_ends, region_text

WIDTH = 240.0
MARGIN = 8.0


@dataclass(frozen=True)
class Axis:
    """Maps values to horizontal positions on a linear or logarithmic scale.

    Attributes:
        low: the left edge; its logarithm to base 10 if `decades`.
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
        """The position of a value in pixels, clipped to the edges."""
        if self.decades:
            value = math.log10(value) if value > 0 else self.low
        share = (value - self.low) / (self.high - self.low)
        return MARGIN + min(max(share, 0.0), 1.0) * (WIDTH - 2 * MARGIN)


class Region(NamedTuple):
    """The shaded area and its finite edges."""

    left: float
    right: float
    edges: list[float]


class Mark(NamedTuple):
    """An estimate at (x, y) with the ends of its interval, if any; `name` is "measured" or "control"."""

    name: str
    x: float
    y: int
    ends: tuple[float, float] | None


class Dot(NamedTuple):
    """A replicate."""

    x: float
    y: float


class Label(NamedTuple):
    """A number under an edge of the region."""

    x: float
    anchor: str
    text: str


class Plot(NamedTuple):
    """A plot, in pixels.

    Attributes:
        name: its CSS class.
        label: what it shows, for screen readers.
        height: of the whole plot.
        top: upper end of region and reference.
        bottom: their lower end.
        region: the shaded area.
        marks: control and estimate, in drawing order.
        reference: position of the paper's number.
        labels: the region's ends.
        dots: the replicates.
    """

    name: str
    label: str
    height: int
    top: int
    bottom: int
    region: Region
    marks: list[Mark]
    reference: float | None
    labels: list[Label]
    dots: Sequence[Dot] = ()
    width: float = WIDTH
    label_room: int = 3


def interval_plot(row: Mapping[str, Any]) -> Plot | None:
    """A plot for a table row: region, estimate, control and reference on one axis; None if nothing was measured."""
    if row.get("estimate") is None:
        return None
    control = row.get("control") or {}
    label = f"{interval_text(row)}, region {region_text(row)}, control {interval_text(control)}"
    return _plot(row, _axis(row, []), "interval-plot", label, height=37, top=3, bottom=23, lines={"control": 18, "measured": 9})


def replicate_plot(row: Mapping[str, Any]) -> Plot | None:
    """Every replicate as a dot, above the interval and the control; None without replicates."""
    values = [entry["value"] for entry in row.get("replicates") or ()]
    if not values or row.get("estimate") is None:
        return None
    axis = _axis(row, values)
    label = f"{len(values)} replicates from {number(min(values))} to {number(max(values))}"
    plot = _plot(row, axis, "replicates", label, height=90, top=4, bottom=74, lines={"measured": 44, "control": 62})
    # Spread vertically so that equal values stay countable.
    dots = [Dot(axis.at(value), 20 + 9.0 * ((index * 0.618) % 1.0 * 2 - 1)) for index, value in enumerate(values)]
    return plot._replace(dots=dots, label_room=4)


def _plot(row: Mapping[str, Any], axis: Axis, name: str, label: str, *, height: int, top: int, bottom: int, lines: Mapping[str, int]) -> Plot:
    parts = {"measured": row, "control": row.get("control") or {}}
    marks = [_mark(which, parts[which], axis, y) for which, y in lines.items() if parts[which].get("estimate") is not None]
    reference = None if row.get("reference") is None else axis.at(row["reference"])
    return Plot(name, label, height, top, bottom, _region(row, axis), marks, reference, _labels(row, axis))


def _axis(row: Mapping[str, Any], more: Sequence[float]) -> Axis:
    control = row.get("control") or {}
    ends = [part.get(key) for part in (row, control) for key in ("estimate", "low", "high")] + [row.get("reference"), *region_ends(row)]
    values = [float(value) for value in [*ends, *more] if value is not None and math.isfinite(value)]
    positive = [value for value in values if value > 0]
    wide = len(positive) > 1 and max(positive) > 1000 * min(positive)
    return Axis.around(values, decades=min(values) >= 0 and (row.get("kind") == "exact" or wide))


def _region(row: Mapping[str, Any], axis: Axis) -> Region:
    low, high = region_ends(row)
    left = axis.at(low) if low is not None else 0.0
    right = axis.at(high) if high is not None else WIDTH
    return Region(left, right, [axis.at(end) for end in (low, high) if end is not None])


def _mark(name: str, part: Mapping[str, Any], axis: Axis, y: int) -> Mark:
    bounded = part.get("low") is not None and part.get("high") is not None
    return Mark(name, axis.at(part["estimate"]), y, (axis.at(part["low"]), axis.at(part["high"])) if bounded else None)


def _labels(row: Mapping[str, Any], axis: Axis) -> list[Label]:
    ends = [(axis.at(end), number(end)) for end in region_ends(row) if end is not None]
    if len(ends) == 2 and ends[1][0] - ends[0][0] < 50:  # too narrow for two labels
        ends = [((ends[0][0] + ends[1][0]) / 2, f"{ends[0][1]} to {ends[1][1]}")]
    margin = 24 if len(ends) == 2 else 36
    anchors = ["start" if place < margin else "end" if place > WIDTH - margin else "middle" for place, _ in ends]
    return [Label(place, anchor, text) for (place, text), anchor in zip(ends, anchors, strict=True)]
