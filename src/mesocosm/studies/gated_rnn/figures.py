"""Figures of the gated-rnn study: loss by number of neurons, weights before and after pruning, coefficients, architectures."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from mesocosm.studies.charts import log_axis, training
from mesocosm.studies.gated_rnn.tables import JUDGED
from mesocosm.studies.interface import View, figure

SEED_DOTS = {"size": 30, "opacity": 0.6}


def _by_size(losses: pl.DataFrame, counts: dict[str, int], title: str, y: str) -> Any:
    x = alt.X("neurons:Q", title="neurons", scale=alt.Scale(nice=False, zero=False, padding=12))
    rules = pl.DataFrame({"construction": list(counts), "count": list(counts.values())})
    dash = alt.StrokeDash("construction:N", title="construction", scale=alt.Scale(range=[[1, 3], [4, 3], [9, 3]], domain=["minimal", "compact", "full"]))
    lines = alt.Chart(rules).mark_rule(color="gray").encode(x=alt.X("count:Q"), strokeDash=dash, tooltip=["construction", "count"])
    dots = alt.Chart(losses).mark_circle(**SEED_DOTS).encode(x=x, y=log_axis("loss", y), tooltip=["seed", "neurons", alt.Tooltip("loss", format=".2e")])
    medians = alt.Chart(losses).mark_line(strokeWidth=1.5).encode(x=x, y=alt.Y("median(loss):Q"))
    return alt.layer(lines, medians, dots).properties(width=300, height=280, title=title)


@figure("Loss by number of neurons")
def loss_by_neurons(view: View) -> alt.TopLevelMixin:
    """One dot per seed, each with its own teacher; the line is the median. Grey: numbers of neurons with a known exact solution. On prompts (not at
    quick), the optimal attention is sparse, and the minimal construction is smaller than the generic ones.
    """
    dim = view.config.teacher.dim
    students = view.table("loss", layer="gated").filter(pl.col("trial") != "student-forgetful")
    compact = dim * (dim + 3) // 2
    left = _by_size(students, {"minimal": compact, "compact": compact, "full": dim**2 + dim}, "teacher: loss over variance", "loss over variance")
    if not view.has("prompt_loss"):
        return left
    inputs, targets = view.config.prompts.input_dim, view.config.prompts.target_dim
    width = inputs + targets
    counts = {"minimal": inputs * targets + inputs, "compact": width * (width + 3) // 2, "full": width**2 + width}
    prompts = view.table("prompt_loss", layer="gated").with_columns(loss=pl.col("loss") / pl.col("optimum"))
    return alt.hconcat(left, _by_size(prompts, counts, "prompts: loss over that of the best gradient step", "loss over optimum"))


@figure("Weights before and after pruning")
def weights(view: View) -> alt.TopLevelMixin:
    """The quadratic form of each output in the neurons' states, first seed, divided by its largest entry; neurons are sorted by decay and scaled by the size
    of their state. Attention only multiplies neurons that keep everything (left, top) with neurons that keep nothing (right, bottom).
    """
    trial = JUDGED.names(view.config)[0]
    forms = view.table("forms", trial=trial)
    limit = forms.group_by("output").agg(limit=pl.col("value").abs().max())
    cells = forms.join(limit, on="output").with_columns(share=pl.col("value") / pl.col("limit"), panel=pl.format("output {}", pl.col("output") + 1))
    cells = cells.sort("stage", "output", "row", "column")
    colour = alt.Color("share:Q", title="weight / largest", scale=alt.Scale(domain=[-1, 1], domainMid=0, scheme="redblue"))
    x = alt.X("column:O", title="neuron, slowest decay first", axis=alt.Axis(labels=False, ticks=False))
    y = alt.Y("row:O", title="neuron", axis=alt.Axis(labels=False, ticks=False))
    tooltip = ["panel", "stage", "row", "column", alt.Tooltip("value", format=".4f")]
    squares = alt.Chart(cells).mark_rect().encode(x=x, y=y, color=colour, tooltip=tooltip).properties(width=170, height=170)
    return squares.facet(column=alt.Column("panel:N", title=None), row=alt.Row("stage:N", title=None, sort=["trained", "pruned and snapped"]))


@figure("Decay and influence of neurons")
def decays(view: View) -> alt.TopLevelMixin:
    """Every neuron of all seeds. Left: students of linear attention; right: students of a teacher that forgets."""
    trials = [JUDGED.names(view.config)[0], "student-forgetful"]
    neurons = view.table("neurons").filter(pl.col("trial").is_in(trials) & (pl.col("influence") > 1e-9))
    neurons = neurons.with_columns(panel=pl.when(pl.col("memory") == 1.0).then(pl.lit("teacher: linear attention")).otherwise(pl.lit("teacher that forgets")))
    x, y = alt.X("decay:Q", title="decay λ", scale=alt.Scale(domain=[0, 1])), log_axis("influence", "loss added without the neuron")
    colour = alt.Color("kept:N", title="survives pruning")
    tooltip = ["seed", "neuron", alt.Tooltip("decay", format=".4f"), alt.Tooltip("influence", format=".1e")]
    dots = alt.Chart(neurons.sort("panel", "seed", "neuron")).mark_circle(**SEED_DOTS).encode(x=x, y=y, color=colour, tooltip=tooltip)
    panels = alt.Column("panel:N", title=None, sort=["teacher: linear attention", "teacher that forgets"])
    return dots.properties(width=280, height=240).facet(column=panels)


@figure("Coefficients of the polynomial")
def coefficients(view: View) -> alt.TopLevelMixin:
    """First output, first seed, the same teacher for all. Row i,j | k: the product of channels i and j of one past token with channel k of the newest. Its
    coefficient in the teacher, and fitted to each network's outputs by least squares.
    """
    table = view.table("coefficients").filter((pl.col("output") == 0) & (pl.col("trial") != "student-forgetful"))
    kept = [JUDGED.names(view.config)[0], *(name for name in ("student-side", "student-glu", "student-lstm", "student-gru", "student-lru", "student-hawk"))]
    table = table.filter(pl.col("trial").is_in(kept))
    first, second = (pl.col("pair").str.slice(place, 1).cast(pl.Int64) + 1 for place in (0, 1))
    term = pl.format("{},{} | {}", first, second, pl.col("now") + 1)
    named = table.with_columns(term=term)
    teacher = named.filter(pl.col("trial") == kept[0]).select("term", pl.lit("teacher").alias("network"), pl.col("wanted").alias("coefficient"))
    students = named.select("term", pl.col("trial").str.strip_prefix("student-").alias("network"), pl.col("fitted").alias("coefficient"))
    order = ["teacher", *(name.removeprefix("student-") for name in kept)]
    cells = pl.concat([teacher, students]).with_columns(
        network=pl.when(pl.col("network").str.contains(r"^\d+$")).then(pl.format("gated {}", "network")).otherwise("network")
    )
    order[1] = f"gated {order[1]}"
    base = alt.Chart(cells.sort("network", "term")).encode(
        x=alt.X("network:N", title=None, sort=order, axis=alt.Axis(labelAngle=0, orient="top")), y=alt.Y("term:N", title=None)
    )
    colour = alt.Color("coefficient:Q", scale=alt.Scale(scheme="redblue", domainMid=0), legend=None)
    text = base.mark_text(fontSize=10).encode(text=alt.Text("coefficient:Q", format=".3f"))
    return alt.layer(base.mark_rect(opacity=0.6).encode(color=colour), text).properties(width=alt.Step(62), height=alt.Step(18))


@figure("Architectures")
def architectures(view: View) -> alt.TopLevelMixin:
    """One dot per seed, ticks at the median. Numbers count recurrent neurons."""
    students = view.table("loss").filter(pl.col("trial") != "student-forgetful").with_columns(network=_network_name())
    panels = [_ranking(students, "teacher: loss over variance", None)]
    if view.has("prompt_loss"):
        prompts = view.table("prompt_loss").with_columns(network=_network_name(), loss=pl.col("loss") / pl.col("optimum"))
        panels.append(_ranking(prompts, "prompts: loss over that of the best gradient step", "best gradient step"))
    return alt.hconcat(*panels)


def _network_name() -> pl.Expr:
    return pl.when(pl.col("layer") == "attention").then(pl.lit("attention")).otherwise(pl.format("{} {}", "layer", "neurons"))


def _ranking(losses: pl.DataFrame, title: str, reference: str | None) -> Any:
    """Dots of the seeds and ticks at the median, beside a reference whose loss is 1."""
    order = losses.group_by("network").agg(pl.col("loss").median()).sort("loss")["network"].to_list()
    x = alt.X("loss:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(tickCount=5, format="~g"))
    y = alt.Y("network:N", title=None, sort=order)
    dots = alt.Chart(losses).mark_circle(**SEED_DOTS).encode(x=x, y=y, tooltip=["network", "seed", alt.Tooltip("loss", format=".2e")])
    ticks = alt.Chart(losses).mark_tick(thickness=2).encode(x=alt.X("median(loss):Q"), y=y)
    rule = alt.Chart(pl.DataFrame({"loss": [1.0], "reference": [reference]})).mark_rule(color="gray")
    dash = alt.StrokeDash("reference:N", title="reference", scale=alt.Scale(range=[[4, 3]]))
    return alt.layer(*([rule.encode(x="loss:Q", strokeDash=dash)] if reference else []), ticks, dots).properties(width=300, height=alt.Step(24))


FIGURES = [loss_by_neurons, weights, decays, coefficients, architectures, training]
