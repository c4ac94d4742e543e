"""The figure of a study's pilots: what was tried, as parallel coordinates, one panel for each thing that was searched.

Reference: Inselberg, "The plane with parallel coordinates" (1985).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from mesocosm.claims.pilots import FILE, SEED, Pilots, has_pilots, pilots
from mesocosm.claims.replicates import NotJudged
from mesocosm.studies.interface import Figure

SOURCE = "origin"
PANEL, RESULT, SEEDS = " panel", " result", " seeds"  # no setting has such a name
MOST_LABELS = 7
CAPTION = (
    "Each line is a configuration that was tried on pilot seeds before regions were set, through its settings to its result, the mean over its seeds. Settings "
    f"that never varied are left out, and so is what was tried in one configuration alone. The whole table is {FILE} in the study's package."
)


def search_figures(package: str) -> list[Figure]:
    """The figure of the pilots of the study in this package, if it has a table of them."""
    return [Figure("pilots", "What was tried", CAPTION, lambda view: parallel_coordinates(pilots(package)))] if has_pilots(package) else []


def parallel_coordinates(tried: Pilots) -> alt.TopLevelMixin:
    """The chart of a table of pilots.

    Raises:
        NotJudged: no setting varies.
    """
    charts = [_panel(name, rows, tried) for name, rows in panels(tried).items()]
    if not charts:
        raise NotJudged("no setting of the study's pilots varies")
    return alt.vconcat(*charts, spacing=36).resolve_scale(color="independent", x="independent")


def panels(tried: Pilots) -> dict[str, pl.DataFrame]:
    """What was searched -> its rows, where a setting varies."""
    names = _naming(tried)
    if not names:
        return {}
    rows = tried.table.with_columns(pl.coalesce(pl.col(names).cast(pl.String)).fill_null("").alias(PANEL))
    found = {str(name): part.drop(PANEL) for (name,), part in rows.group_by(PANEL, maintain_order=True)}
    return {name: part for name, part in found.items() if varied(part, tried)}


def varied(rows: pl.DataFrame, tried: Pilots) -> list[str]:
    """The settings with more than one value in these rows, without those that name the panel."""
    return [name for name in tried.settings if name not in _naming(tried) and rows[name].n_unique() > 1]


def _naming(tried: Pilots) -> list[str]:
    """The columns that say what was searched: the first one, and in rows of `mesocosm search` the trial."""
    first = next((name for name in tried.settings if name != SOURCE), None)
    return [name for name in tried.settings if name in (first, "trial")]


def result(rows: pl.DataFrame, outcomes: Sequence[str]) -> str | None:
    """The column of numbers with the most results in these rows, the first if several have as many; None if there is none."""
    numeric = [name for name in outcomes if rows[name].dtype.is_numeric() and rows[name].count()]
    return max(numeric, key=lambda name: rows[name].count(), default=None)


def _panel(name: str, rows: pl.DataFrame, tried: Pilots) -> alt.LayerChart:
    settings, measured = varied(rows, tried), result(rows, tried.outcomes)
    mean = [] if measured is None else [pl.col(measured).cast(pl.Float64).mean().alias(RESULT)]
    lines = rows.group_by(settings, maintain_order=True).agg(pl.col(SEED).n_unique().alias(SEEDS), *mean)
    axes = [(setting, setting, _levels(lines[setting].to_list())) for setting in settings]
    if measured is not None:
        axes.append((measured, RESULT, _scale(lines[RESULT].drop_nulls().to_list())))
    places = {f"a{number}": [levels.get(value) for value in lines[column].to_list()] for number, (_, column, levels) in enumerate(axes)}
    told = [", ".join(f"{setting} {_text(line[setting])}" for setting in settings) for line in lines.iter_rows(named=True)]
    results = lines[RESULT] if measured is not None else pl.Series([None] * lines.height, dtype=pl.Float64)
    height = places[f"a{len(axes) - 1}"] if measured is not None else [None] * lines.height
    data = pl.DataFrame(
        {**places, "configuration": told, "seeds": lines[SEEDS], "result": results, "height": pl.Series(height, dtype=pl.Float64).fill_null(-1.0)}
    )
    labels = [
        {"axis": f"a{number}", "place": levels[value], "label": _text(value)}
        for number, (_, column, levels) in enumerate(axes)
        for value in _labelled(list(levels), ends=column == RESULT)
    ]
    names = {f"a{number}": axis for number, (axis, _, _) in enumerate(axes)}
    below = alt.Axis(labelAngle=0, domain=False, ticks=False, grid=True, labelPadding=14, labelLimit=94, labelExpr=f"{json.dumps(names)}[datum.value]")
    x = alt.X("axis:N", sort=list(names), title=None, axis=below)
    y = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-0.04, 1.04]))
    colour = alt.condition("datum.height < 0", alt.value("#999999"), alt.Color("height:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=None))
    tooltip = ["configuration:N", "seeds:Q", *([alt.Tooltip("result:Q", title=measured, format=".4g")] if measured is not None else [])]
    folded = alt.Chart(data).transform_fold(list(names), as_=["axis", "place"]).transform_filter("isValid(datum.place)")
    drawn = folded.mark_line(opacity=0.6, strokeWidth=1.5).encode(x=x, y=y, color=colour, detail="configuration:N", tooltip=tooltip)
    text = alt.Chart(pl.DataFrame(labels)).mark_text(align="left", dx=5, fontSize=10, limit=84).encode(x=x, y=y, text="label:N")
    counted = f"{lines.height} configurations"
    title = alt.TitleParams(name or counted, subtitle=counted if name else "")
    return alt.LayerChart(layer=[drawn, text], width=96 * len(axes), height=150, title=title)


def _labelled(values: Sequence[Any], *, ends: bool) -> list[Any]:
    """The values of an axis that have a label: the ends alone, or so many that they do not overlap."""
    step = max(len(values) - 1, 1) if ends else math.ceil(len(values) / MOST_LABELS)
    return [value for number, value in enumerate(values) if number % step == 0 or number == len(values) - 1]


def _levels(values: Sequence[Any]) -> dict[Any, float]:
    """Value -> its place between 0 and 1, equally far apart; one that was not set is the lowest."""
    distinct = sorted(set(values), key=lambda value: (value is not None, isinstance(value, str), value if value is not None else 0))
    return {value: number / max(len(distinct) - 1, 1) for number, value in enumerate(distinct)}


def _scale(values: Sequence[float]) -> dict[float, float]:
    """Number -> its place between 0 and 1, on a logarithmic scale if all are positive and span two decades."""
    ordered = sorted(set(values))
    wide = ordered[0] > 0 and ordered[-1] >= 100 * ordered[0]
    heights = [math.log(value) if wide else value for value in ordered]
    span = heights[-1] - heights[0]
    return {value: (height - heights[0]) / span if span else 0.5 for value, height in zip(ordered, heights, strict=True)}


def _text(value: Any) -> str:
    """A value as a label."""
    return "not set" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
