"""Figures of the comparison of layers: the profile by task, the same as a table, what layers cost, and the chosen learning rates."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.comparisons.layers.summary import MEAN, compared, costs
from mesocosm.comparisons.layers.tables import Score
from mesocosm.studies.interface import View, figure

WORST = -0.25
"""Lower scores are drawn here."""
SPLITS = {"iid": "new examples", "ood": "held out"}


@figure("Profile by task")
def profile(view: View) -> alt.TopLevelMixin:
    """Score 1 - loss / (loss of the best constant prediction), mean over seeds with its 95 % interval: 1 is perfect, 0 no better than a constant. Left on new
    examples of the distribution of training; right, where a task has them, on what training held out. Scores below -0.25 are drawn at -0.25.
    """
    ends = [pl.col(column).fill_null(pl.col("score")).clip(WORST, 1.0).alias(f"shown_{column}") for column in ("score", "score_low", "score_high")]
    rows = compared(view).with_columns(*ends, panel=pl.col("split").replace_strict(SPLITS))
    base = alt.Chart().encode(
        y=alt.Y("task:N", title=None, sort=[*view.config.tasks, MEAN]),
        yOffset=alt.YOffset("layer:N", sort=list(view.config.layers)),
        color=alt.Color("layer:N", title=None, sort=list(view.config.layers)),
        tooltip=["layer", "task", "panel", "score", "score_low", "score_high", "accuracy", "n"],
    )
    x = alt.X("shown_score:Q", title="score", scale=alt.Scale(domain=[WORST, 1.0]))
    interval = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("shown_score_low:Q", title="score"), x2="shown_score_high:Q")
    height = (12 + 9 * len(view.config.layers)) * (len(view.config.tasks) + 1)
    drawn = alt.layer(interval, base.mark_point(filled=True, size=38, opacity=1).encode(x=x), data=rows).properties(width=270, height=height)
    return drawn.facet(alt.Facet("panel:N", title=None, sort=list(SPLITS.values())), columns=2)


@figure("Scores")
def scores(view: View) -> alt.TopLevelMixin:
    """The same numbers, with 95 % intervals over seeds. An arrow marks a difference to the first layer, paired by seed, that survives Holm's correction for all
    differences of the table.
    """
    rows = compared(view).with_columns(
        row=pl.col("task") + pl.when(pl.col("split") == "ood").then(pl.lit(", held out")).otherwise(pl.lit("")),
        colour=pl.col("score").clip(0.0, 1.0),
        text=pl.struct("score", "difference", "holm").map_elements(lambda row: score_text(row), return_dtype=pl.String),
        ends=pl.struct("score_low", "score_high").map_elements(lambda row: ends_text(row), return_dtype=pl.String),
    )
    order = rows["row"].unique(maintain_order=True).to_list()
    cell = alt.Chart().encode(
        x=alt.X("layer:N", title=None, sort=list(view.config.layers), axis=alt.Axis(orient="top", labelAngle=-20, labelAlign="left", labelLimit=200)),
        y=alt.Y("row:N", title=None, sort=order),
        tooltip=["layer", "row", "score", "score_low", "score_high", "accuracy", "n", "difference", "difference_low", "difference_high", "holm"],
    )
    ink = alt.condition("datum.colour > 0.6", alt.value("#1c2426"), alt.value("#ffffff"))
    return alt.layer(
        cell.mark_rect().encode(color=alt.Color("colour:Q", title="score", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=None)),
        cell.mark_text(dy=-5, fontSize=11, fontWeight=600).encode(text="text:N", color=ink),
        cell.mark_text(dy=8, fontSize=9).encode(text="ends:N", color=ink),
        data=rows,
    ).properties(width=104 * len(view.config.layers), height=34 * len(order))


def score_text(row: dict[str, float | None]) -> str:
    """A score with two decimals, and the direction of a difference that survives the correction."""
    arrow = "" if not row["holm"] else " ▲" if (row["difference"] or 0.0) > 0 else " ▼"
    return f"{row['score']:.2f}{arrow}".replace("-", "\N{MINUS SIGN}")


def ends_text(row: dict[str, float | None]) -> str:
    """The ends of an interval; nothing if there is none."""
    return "" if row["score_low"] is None else f"[{row['score_low']:.2f}, {row['score_high']:.2f}]".replace("-", "\N{MINUS SIGN}")


@figure("What a layer costs")
def cost(view: View) -> alt.TopLevelMixin:
    """The layer alone with its gradient, on one sequence: operations for each token, and the memory of the compiled program beside its arguments and results,
    by length. A slope in the left panel is work that grows faster than the length.
    """
    rows = costs(view)
    x = alt.X("length:Q", title="length", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(values=sorted(set(rows["length"].to_list()))))
    colour = alt.Color("layer:N", title=None, sort=list(view.config.layers))

    def panel(column: str, title: str) -> alt.Chart:
        y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=8), axis=alt.Axis(tickCount=5, format="~s"))
        return alt.Chart(rows).mark_line(point=True).encode(x=x, y=y, color=colour, tooltip=list(rows.columns)).properties(width=270, height=220)

    return alt.hconcat(panel("operations_per_token", "operations per token"), panel("memory_bytes", "memory in bytes"))


@figure("Learning rates")
def rates(view: View) -> alt.TopLevelMixin:
    """The learning rate of each layer on each task, chosen on pilot seeds by the loss on new examples. A bold one is at an end of those that were tried: beyond
    it, there may be a better one.
    """
    first, last = min(view.config.grid), max(view.config.grid)
    rows = view.table(Score.name).group_by(Score.layer, Score.task, maintain_order=True).agg(pl.col(Score.learning_rate).first())
    rows = rows.with_columns(text=pl.col(Score.learning_rate).map_elements(lambda rate: f"{rate:.3g}", return_dtype=pl.String))
    rows = rows.with_columns(end=pl.col(Score.learning_rate).is_in([first, last]))
    cell = alt.Chart().encode(
        x=alt.X("layer:N", title=None, sort=list(view.config.layers), axis=alt.Axis(orient="top", labelAngle=-20, labelAlign="left", labelLimit=200)),
        y=alt.Y("task:N", title=None, sort=list(view.config.tasks)),
        tooltip=["layer", "task", "learning_rate"],
    )
    colour = alt.Color("learning_rate:Q", scale=alt.Scale(type="log", scheme="viridis", domain=[first, last]), legend=None)
    ink = alt.condition(f"datum.learning_rate > {(first * last) ** 0.5}", alt.value("#1c2426"), alt.value("#ffffff"))
    bold = cell.transform_filter("datum.end").mark_text(fontWeight=700).encode(text="text:N", color=ink)
    plain = cell.transform_filter("!datum.end").mark_text().encode(text="text:N", color=ink)
    drawn = alt.layer(cell.mark_rect().encode(color=colour), bold, plain, data=rows)
    return drawn.properties(width=80 * len(view.config.layers), height=24 * len(view.config.tasks))


FIGURES = [profile, scores, cost, rates]
