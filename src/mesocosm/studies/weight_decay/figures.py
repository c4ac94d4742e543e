"""Figures of the weight-decay study: the panels of the paper's Fig. 1, the adaptive optimisers, and the two-layer network."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.studies.charts import log_axis
from mesocosm.studies.interface import View, figure

DECAYS = alt.Color("decay:O", title="λ", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(symbolType="stroke", symbolOpacity=1))
FLOOR = 1e-16
THIN = 40  # steps between the points that are drawn


def _path(view: View, column: str, title: str) -> alt.TopLevelMixin:
    """One quantity over time for each decay: geometric mean and range over seeds."""
    table = view.table("trajectory", arm="both").filter((pl.col(column) > FLOOR) & (pl.col("step") % THIN == 0))
    mean = table.group_by("decay", "time", maintain_order=True).agg(pl.col(column).log().mean().exp(), pl.col("law").first()).sort("decay", "time")
    ends = table.group_by("decay", "time", maintain_order=True).agg(low=pl.col(column).min(), high=pl.col(column).max())
    x = alt.X("time:Q", title="time, learning rate × step")
    lines = alt.Chart(mean).mark_line().encode(x=x, y=log_axis(column, title, "~e"), color=DECAYS, tooltip=["decay", "time", column])
    bands = alt.Chart(ends).mark_area(opacity=0.15).encode(x=x, y="low:Q", y2="high:Q", color=DECAYS)
    return alt.layer(bands, lines).properties(width=520, height=280)


@figure("The gap closes")
def gap(view: View) -> alt.TopLevelMixin:
    """Fig. 1a of the paper: mean squared norm of the factors minus nuclear norm of the product, geometric mean over seeds; bands span the seeds."""
    return _path(view, "gap", "(‖A‖² + ‖B‖²)/2 − ‖AB⊤‖*")


@figure("The imbalance falls exponentially")
def imbalance(view: View) -> alt.TopLevelMixin:
    """Fig. 1b: its rate is 2λ for any loss; without decay, it stays."""
    return _path(view, "difference", "‖A⊤A − B⊤B‖")


@figure("Singular values fall linearly and vanish")
def shrinkage(view: View) -> alt.TopLevelMixin:
    """Fig. 1c: one dot per seed; dashed: the soft threshold. Modes with s = λ are critical and die like 1/2t."""
    table = view.table("spectrum", arm="both")
    modes = table.group_by("decay", "target", maintain_order=True).agg(pl.col("value").mean(), pl.col("threshold").first()).sort("target", "decay")
    colour = alt.Color("target:O", title="s_i", scale=alt.Scale(scheme="viridis"))
    x = alt.X("decay:Q", title="λ")
    lines = alt.Chart(modes).mark_line(strokeDash=[4, 3]).encode(x=x, y=alt.Y("threshold:Q", title="final singular value"), color=colour)
    table = table.select("seed", "decay", "target", "value", "threshold")
    dots = alt.Chart(table).mark_circle(size=30, opacity=0.6).encode(x=x, y="value:Q", color=colour, tooltip=["seed", "decay", "target", "value", "threshold"])
    return alt.layer(lines, dots).properties(width=520, height=280)


@figure("The factorisation under adaptive optimisers")
def adaptive(view: View) -> alt.TopLevelMixin:
    """One dot per seed; dashed: the soft threshold at the same λ. Under AdamW, the strength of the decay depends on the gradient's noise (here σ = 1)."""
    table = view.table("adaptive_spectrum", arm="both").with_columns(panel=pl.col("optimizer").replace({"adam_l2": "Adam with L2", "adamw": "AdamW, noisy"}))
    table = table.select("seed", "panel", "decay", "target", "value", "threshold")
    colour = alt.Color("target:O", title="s_i", scale=alt.Scale(scheme="viridis"))
    x, y = alt.X("decay:Q", title="λ"), alt.Y("value:Q", title="final singular value")
    dots = alt.Chart().mark_circle(size=26, opacity=0.5).encode(x=x, y=y, color=colour, tooltip=["seed", "decay", "target", "value"])
    lines = alt.Chart().mark_line(strokeDash=[4, 3]).encode(x=x, y="threshold:Q", color=colour)
    return alt.layer(lines, dots, data=table).properties(width=250, height=240).facet(column=alt.Column("panel:N", title=None)).resolve_scale(x="independent")


@figure("Two scalars, direct and factored")
def scalars(view: View) -> alt.TopLevelMixin:
    """Adam with L2 thresholds factored scalars and shrinks direct ones. Under AdamW with gradient noise of standard deviation σ, a factored scalar settles
    where m − w = σ λ √w (our derivation): small ones lose a larger share.
    """
    table = view.table("scalars").with_columns(
        panel=pl.col("optimizer").replace({"adam_l2": "Adam with L2", "adamw": "AdamW, noisy"}), scalar=pl.format("target {}", "target")
    )
    mean = table.group_by("panel", "form", "scalar", "decay", maintain_order=True).agg(pl.col("value").mean()).sort("panel", "form", "scalar", "decay")
    x, y = alt.X("decay:Q", title="λ"), alt.Y("value:Q", title="final value, mean over seeds")
    colour, dashes = alt.Color("form:N", title=None), alt.StrokeDash("scalar:N", title=None)
    line = alt.Chart().mark_line(point=True).encode(x=x, y=y, color=colour, strokeDash=dashes, tooltip=["form", "scalar", "decay", "value"])
    return alt.layer(line, data=mean).properties(width=250, height=220).facet(column=alt.Column("panel:N", title=None)).resolve_scale(x="independent")


@figure("A two-layer network")
def hidden(view: View) -> alt.TopLevelMixin:
    """With decay on both matrices, as many directions stay as the teacher has; each is spread over all neurons, since the loss is invariant under rotations
    of the hidden space.
    """
    table = view.table("hidden_spectrum").unpivot(index=["seed", "arm", "place"], on=["value", "neuron"], variable_name="what", value_name="size")
    names = {"value": "singular values of the product", "neuron": "neurons, ‖a_j‖ ‖b_j‖"}
    table = table.with_columns(pl.col("what").replace(names), pl.col("size").clip(1e-12))
    mean = table.group_by("what", "arm", "place", maintain_order=True).agg(pl.col("size").log().mean().exp()).sort("what", "arm", "place")
    x, y = alt.X("place:Q", title="place, largest first"), log_axis("size", "size, geometric mean over seeds", "~e")
    line = alt.Chart().mark_line(point=True).encode(x=x, y=y, color=alt.Color("arm:N", title="regularised"), tooltip=["what", "arm", "place", "size"])
    return alt.layer(line, data=mean).properties(width=250, height=240).facet(column=alt.Column("what:N", title=None))


FIGURES = [gap, imbalance, shrinkage, scalars, adaptive, hidden]
