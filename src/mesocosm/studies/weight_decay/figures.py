"""Figures of the weight-decay study: the panels of the paper's Fig. 1, bounds on the gap, adaptive optimisers, two-layer networks, noise, and Fig. 5."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.studies.charts import log_axis
from mesocosm.studies.interface import View, figure
from mesocosm.studies.weight_decay.figures_networks import NETWORKS

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


@figure("What is left of distinct singular values")
def pruning(view: View) -> alt.TopLevelMixin:
    """Number of directions that stay of twenty singular values; one dot per network. Dashed: those above λ. A single matrix in place of two keeps all."""
    table = view.table("pruned").select("seed", "arm", "directions", "above")
    names = {"both": "two factors, both regularised", "one": "two factors, one regularised", "single": "a single matrix"}
    table = table.with_columns(pl.col("arm").replace(names)).group_by("arm", "directions", "above", maintain_order=True).agg(networks=pl.len())
    y = alt.Y("arm:N", title=None, axis=alt.Axis(labelLimit=240))
    x = alt.X("directions:Q", title="active directions", scale=alt.Scale(domain=[0, 21]))
    dots = alt.Chart(table).mark_circle(opacity=0.8).encode(x=x, y=y, size=alt.Size("networks:Q"), tooltip=["arm", "directions", "networks"])
    rule = alt.Chart(table.select("above").unique()).mark_rule(strokeDash=[4, 3]).encode(x="above:Q")
    return alt.layer(dots, rule).properties(width=420, height=120)


@figure("The gap and two bounds on it")
def bounds(view: View) -> alt.TopLevelMixin:
    """During gradient descent on a loss that is not quadratic: the gap, half the nuclear norm of the imbalance (ours), and the paper's bound (Prop. B.4), which
    falls at half the rate; geometric mean over seeds, relative to the gap at the start.
    """
    names = {"gap": "gap", "linear": "‖D‖*/2", "root": "√‖D‖* (‖A‖* + ‖B‖*)/2"}
    table = view.table("descent", arm="decayed").with_columns(first=pl.col("gap").sort_by("step").first().over("seed"))
    table = table.unpivot(index=["seed", "time", "first"], on=list(names), variable_name="what", value_name="size")
    table = table.filter(pl.col("size") > FLOOR).with_columns(pl.col("what").replace(names), pl.col("size") / pl.col("first"))
    mean = table.group_by("what", "time", maintain_order=True).agg(pl.col("size").log().mean().exp()).sort("what", "time")
    x, y = alt.X("time:Q", title="time, learning rate × step"), log_axis("size", "over the first gap", "~e")
    colour = alt.Color("what:N", title=None, sort=list(names.values()))
    line = alt.Chart(mean).mark_line().encode(x=x, y=y, color=colour, tooltip=["what", "time", "size"])
    return line.properties(width=520, height=280)


@figure("Noise leaves a floor of the imbalance")
def floor(view: View) -> alt.TopLevelMixin:
    """With momentum, gradient noise of size σ and decoupled decay: the imbalance over its start, geometric mean over seeds, bands span the seeds. Without
    noise it falls at rate 2ηλ for as long as one looks.
    """
    table = view.table("noisy_paths", arm="decayed").with_columns(size=(pl.col("difference") / pl.col("start")).clip(1e-12))
    mean = table.group_by("noise", "time", maintain_order=True).agg(pl.col("size").log().mean().exp()).sort("noise", "time")
    ends = table.group_by("noise", "time", maintain_order=True).agg(low=pl.col("size").min(), high=pl.col("size").max()).sort("noise", "time")
    x, y = alt.X("time:Q", title="time"), log_axis("size", "‖A⊤A − B⊤B‖ over its start", "~e")
    colour = alt.Color("noise:O", title="σ", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(symbolType="stroke", symbolOpacity=1))
    lines = alt.Chart(mean).mark_line().encode(x=x, y=y, color=colour, tooltip=["noise", "time", "size"])
    bands = alt.Chart(ends).mark_area(opacity=0.15).encode(x=x, y="low:Q", y2="high:Q", color=colour)
    return alt.layer(bands, lines).properties(width=520, height=280)


@figure("Where two scalars on a line end")
def end_points(view: View) -> alt.TopLevelMixin:
    """Fig. 5 of the paper: the loss is the squared distance to the line. AdamW(λ, ε) and Adam with L2 of strength ελ end together if λ|w| is small (left) and
    apart if it is not (right); one dot for each of twenty initialisations, rings by the closed form. Scalars that are products end at the L1-nearest point of
    the line.
    """
    config = view.config.surface
    rules = {"adamw": "AdamW", "adam_l2": "Adam with L2"}
    panels = {name: f"λ = {given.decay:g}, ε = {given.epsilon:g}" for name, given in (("small", config.small), ("large", config.large))}
    table = view.table("end_points").select("seed", "rule", "form", "setting", "first", "second", "told_first", "told_second")
    table = table.with_columns(pl.col("rule").replace(rules), panel=pl.col("setting").replace(panels)).drop("setting")
    table = table.filter(pl.col("seed") < pl.col("seed").min() + 20)
    x = alt.X("first:Q", title="w₁", scale=alt.Scale(zero=False))
    y = alt.Y("second:Q", title="w₂")
    colour, shape = alt.Color("rule:N", title=None), alt.Shape("form:N", title=None)
    dots = (
        alt.Chart()
        .mark_point(size=50, opacity=0.5, filled=True)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=["seed", "rule", "form", "first", "second"])
    )
    rings = alt.Chart().mark_point(size=300, color="black", strokeWidth=1).encode(x="told_first:Q", y="told_second:Q")
    return alt.layer(rings, dots, data=table).properties(width=250, height=240).facet(column=alt.Column("panel:N", title=None))


FIGURES = [gap, imbalance, bounds, shrinkage, scalars, adaptive, hidden, pruning, floor, end_points, *NETWORKS]
