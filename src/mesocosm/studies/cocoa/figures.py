"""Figures of exact models, and the list of all figures of the study: variance on the tree, signal by distance, and learning."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from mesocosm.studies.cocoa.charts import DOTS, colour, last_step, names_in
from mesocosm.studies.cocoa.figures_learned import (
    bias_and_variance,
    calibration,
    coefficients,
    learning_beside,
    noise,
    rooms,
    signal_along_training,
    switched,
    treasure_by_distance,
)
from mesocosm.studies.cocoa.tables import WHOLE
from mesocosm.studies.interface import View, figure


@figure("Variance on the tree, by overlap")
def variance_by_overlap(view: View) -> alt.TopLevelMixin:
    """Exact variance of one episode's gradient under the uniform policy, with exact coefficients, by enumeration of all action sequences. One dot per
    environment; lines go through the means. Without overlap, HCA+ equals REINFORCE.
    """
    table = view.table("tree").with_columns(decibels=10 * pl.col("variance").log10()).select("offset", "overlap", "estimator", "decibels")
    names = ["cocoa-reward", *(f"groups-{n}" for n in view.config.trees.groups), "hca-plus", "reinforce"]
    table = table.filter(pl.col("estimator").is_in(names))
    x, y = alt.X("overlap:Q", title="children shared by neighbours", axis=alt.Axis(tickMinStep=1)), "variance over squared gradient, dB"
    dots = alt.Chart(table).mark_circle(**DOTS).encode(x=x, y=alt.Y("decibels:Q", title=y, scale=alt.Scale(zero=False)), color=colour(names))
    lines = alt.Chart(table).mark_line().encode(x=x, y="mean(decibels):Q", color=colour(names))
    return alt.layer(lines, dots).properties(width=480, height=320)


@figure("From rewards to states")
def variance_by_groups(view: View) -> alt.TopLevelMixin:
    """Exact variance when each reward is split into groups, at the overlap of the paper's figure. One dot per environment; dashed lines are means of COCOA-
    reward, HCA+ and REINFORCE.
    """
    table = view.table("tree_groups").with_columns(decibels=10 * pl.col("variance").log10()).select("offset", "estimator", "decibels")
    grouped = table.filter(pl.col("estimator").str.starts_with("groups-"))
    grouped = grouped.with_columns(groups=pl.col("estimator").str.strip_prefix("groups-").cast(pl.Int64))
    ends = table.filter(pl.col("estimator").is_in(["cocoa-reward", "hca-plus", "reinforce"])).group_by("estimator").agg(pl.col("decibels").mean())
    x = alt.X("groups:Q", title="groups of each reward", scale=alt.Scale(type="log", base=2))
    y = alt.Y("decibels:Q", title="variance over squared gradient, dB", scale=alt.Scale(zero=False))
    dots = alt.Chart(grouped).mark_circle(**DOTS, color="gray").encode(x=x, y=y, tooltip=["offset", "groups", alt.Tooltip("decibels", format=".2f")])
    line = alt.Chart(grouped).mark_line(color="gray").encode(x=x, y=alt.Y("mean(decibels):Q"))
    rules = alt.Chart(ends.sort("estimator")).mark_rule(strokeDash=[5, 3]).encode(y="decibels:Q", color=alt.Color("estimator:N", title="mean of"))
    return alt.layer(rules, line, dots).properties(width=480, height=320)


@figure("Signal-to-noise ratio by distance")
def signal_by_distance(view: View) -> alt.TopLevelMixin:
    """Gradient of the first step of key-to-door under the uniform policy, with exact models. Dots: sampled, one layout each. Lines: closed forms, averaged
    over layouts.
    """
    table = view.table("signal").with_columns(distance=pl.col("length") - 3).select("seed", "distance", "estimator", "snr", "closed_form")
    names = names_in(table)
    x = alt.X("distance:Q", title="distance", scale=alt.Scale(zero=False, padding=12))
    y = alt.Y("snr:Q", title="signal-to-noise ratio of the first step, dB")
    dots = alt.Chart(table).mark_circle(**DOTS).encode(x=x, y=y, color=colour(names), tooltip=["seed", "distance", "estimator"])
    lines = alt.Chart(table).mark_line().encode(x=x, y=alt.Y("mean(closed_form):Q"), color=colour(names))
    return alt.layer(lines, dots).properties(width=480, height=320)


@figure("Learning key-to-door with exact models")
def learning(view: View) -> alt.TopLevelMixin:
    """Exact probability of reaching the treasure without exploration, at one learning rate. Lines: mean; bands: range over seeds."""
    table = view.table("learning").filter(~pl.col("trial").str.starts_with(WHOLE))
    names = names_in(table)
    curves = table.group_by("estimator", "step").agg(mean=pl.col("treasure").mean(), low=pl.col("treasure").min(), high=pl.col("treasure").max())
    curves = curves.sort("estimator", "step")
    thinned = curves.filter(pl.col("step") % max(1, last_step(curves) // 100) == 0)
    x, y = alt.X("step:Q", title="iteration (8 episodes each)"), alt.Y("mean:Q", title="probability of the treasure", scale=alt.Scale(domain=[0, 1]))
    lines = alt.Chart(thinned).mark_line().encode(x=x, y=y, color=colour(names))
    bands = alt.Chart(thinned).mark_area(opacity=0.12).encode(x=x, y="low:Q", y2="high:Q", color=colour(names))
    return alt.layer(bands, lines).properties(width=560, height=320)


@figure("The end of training")
def learned(view: View) -> alt.TopLevelMixin:
    """Exact models. One dot per seed, ticks at the mean. Left: at one learning rate; right: the paper's rates and 10000 iterations, if they were run."""
    training = pl.when(pl.col("trial").str.starts_with(WHOLE)).then(pl.lit("the paper's whole training")).otherwise(pl.lit("a short training"))
    table: Any = view.table("solved").select("seed", "estimator", "last", training=training)
    names = names_in(table)
    x = alt.X("last:Q", title="probability of the treasure, last tenth of training", scale=alt.Scale(domain=[0, 1]))
    dots = alt.Chart().mark_circle(**DOTS).encode(x=x, y=alt.Y("estimator:N", sort=names, title=None), tooltip=["seed", alt.Tooltip("last", format=".3f")])
    means = alt.Chart().mark_tick(thickness=3).encode(x="mean(last):Q", y=alt.Y("estimator:N", sort=names))
    panels = alt.layer(means, dots, data=table).properties(width=260, height=alt.Step(28))
    return panels.facet(column=alt.Column("training:N", title=None))


FIGURES = [
    *(variance_by_overlap, variance_by_groups, signal_by_distance, learning, learned),
    *(treasure_by_distance, learning_beside, calibration, signal_along_training, bias_and_variance, coefficients, rooms, switched, noise),
]
