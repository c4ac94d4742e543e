"""What the study shows."""

import altair as alt
import polars as pl

from mesocosm.studies.interface import View, figure


@figure("Training")
def training(view: View) -> alt.TopLevelMixin:
    """Mean squared forecast error while the decay is learned, mean over seeds."""
    mean = view.table("history").group_by("trial", "step").agg(pl.col("loss").mean()).sort("trial", "step")
    return alt.Chart(mean).mark_line().encode(x="step:Q", y=alt.Y("loss:Q", scale=alt.Scale(zero=False)), color="trial:N").properties(width=520, height=240)


FIGURES = [training]
