"""Charts that several studies share."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.studies.interface import View, figure


def log_axis(field: str, title: str, format: str = "~g") -> alt.Y:
    """A logarithmic y axis that ends where the data do, with a few labels between."""
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=8), axis=alt.Axis(tickCount=6, format=format))


@figure("Training")
def training(view: View) -> alt.TopLevelMixin:
    """Loss on the training batches, mean over seeds, a panel for each fit."""
    history = view.table("history").select("trial", "fit", "seed", "step", "loss")
    bins = history.with_columns(bin=(100 * pl.col("step") / pl.col("step").max()).floor().over("trial", "fit"))  # thinned to 100 points
    mean = bins.group_by("trial", "fit", "bin").agg(pl.col("step").max(), pl.col("loss").mean()).sort("trial", "fit", "step")
    panel = pl.when(pl.col("fit").n_unique().over("trial") == 1).then("trial").otherwise(pl.format("{}, {}", "trial", "fit"))
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickCount=3))
    line = alt.Chart().mark_line().encode(x=x, y=log_axis("loss", "training loss"), tooltip=["step", "loss"])
    panels = alt.layer(line, data=mean.with_columns(panel=panel)).properties(width=150, height=90).facet(alt.Facet("panel:N", title=None), columns=4)
    return panels.resolve_scale(x="independent")
