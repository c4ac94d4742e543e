"""What the study shows."""

import altair as alt
import polars as pl

from mesocosm.studies.interface import Figure, View


def training(view: View) -> alt.TopLevelMixin:
    """Training loss, mean over seeds."""
    mean = view.table("history").group_by("trial", "step").agg(pl.col("loss").mean()).sort("trial", "step")
    return alt.Chart(mean).mark_line().encode(x="step:Q", y=alt.Y("loss:Q", scale=alt.Scale(zero=False)), color="trial:N").properties(width=520, height=240)


FIGURES = [Figure("training", "Training", "Mean squared forecast error while the decay is learned.", training)]
