"""What the figures of the study share: one colour for each estimator, and curves of means."""

from __future__ import annotations

import altair as alt
import polars as pl

DOTS = {"size": 24, "opacity": 0.45}
ORDER = [
    *("cocoa-reward", "cocoa-feature", "cocoa-merged", "user", "q-critic", "trajcv", "advantage", "hca-plus", "hca", "hca-return"),
    *("counterfactual-return", "immediate", "reinforce", "cocoa-contrastive", "cocoa-unsigned", "cocoa-reward-as-hca-plus", "cocoa-reward-as-hca-return"),
]


def colour(names: list[str]) -> alt.Color:
    """One colour per estimator, in the order of the paper's argument."""
    scale = alt.Scale(scheme="tableau20") if len(names) > 7 else alt.Scale()
    return alt.Color("estimator:N", sort=names, scale=scale, title="estimator", legend=alt.Legend(symbolOpacity=1))


def names_in(table: pl.DataFrame) -> list[str]:
    """The estimators of a table, in that order."""
    present = set(table["estimator"].to_list())
    return [name for name in ORDER if name in present]


def curves(table: pl.DataFrame, value: str) -> pl.DataFrame:
    """Mean over seeds of at most about 100 steps of each estimator."""
    last = last_step(table)
    mean = table.group_by("estimator", "step").agg(pl.col(value).mean()).sort("estimator", "step")
    return mean.filter(pl.col("step") % max(1, last // 100) == 0) if last > 200 else mean


def last_step(table: pl.DataFrame) -> int:
    """The largest step."""
    return int(table["step"].cast(pl.Int64).to_numpy().max())
