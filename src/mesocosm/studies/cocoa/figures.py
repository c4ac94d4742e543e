"""Figures of the cocoa study: variance on the tree, signal by distance, learning with exact and with learned models, and the quality of gradients."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from mesocosm.studies.cocoa import references
from mesocosm.studies.cocoa.measures import budget
from mesocosm.studies.interface import View, figure

DOTS = {"size": 24, "opacity": 0.45}
ORDER = [
    *("cocoa-reward", "cocoa-feature", "cocoa-merged", "user", "q-critic", "trajcv", "advantage", "hca-plus", "hca", "hca-return"),
    *("counterfactual-return", "reinforce"),
]


def _colour(names: list[str]) -> alt.Color:
    """One colour per estimator, in the order of the paper's argument."""
    scale = alt.Scale(scheme="tableau20") if len(names) > 7 else alt.Scale()
    return alt.Color("estimator:N", sort=names, scale=scale, title="estimator", legend=alt.Legend(symbolOpacity=1))


@figure("Variance on the tree, by overlap")
def variance_by_overlap(view: View) -> alt.TopLevelMixin:
    """Exact variance of one episode's gradient under the uniform policy, with exact coefficients, by enumeration of all action sequences. One dot per
    environment; lines go through the means. Without overlap, HCA+ equals REINFORCE.
    """
    table = view.table("tree").with_columns(decibels=10 * pl.col("variance").log10()).select("offset", "overlap", "estimator", "decibels")
    names = ["cocoa-reward", *(f"groups-{n}" for n in view.config.trees.groups), "hca-plus", "reinforce"]
    table = table.filter(pl.col("estimator").is_in(names))
    x, y = alt.X("overlap:Q", title="children shared by neighbours", axis=alt.Axis(tickMinStep=1)), "variance over squared gradient, dB"
    dots = alt.Chart(table).mark_circle(**DOTS).encode(x=x, y=alt.Y("decibels:Q", title=y, scale=alt.Scale(zero=False)), color=_colour(names))
    lines = alt.Chart(table).mark_line().encode(x=x, y="mean(decibels):Q", color=_colour(names))
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
    names = [name for name in ORDER if name in table["estimator"].unique().to_list()]
    x = alt.X("distance:Q", title="distance", scale=alt.Scale(zero=False, padding=12))
    y = alt.Y("snr:Q", title="signal-to-noise ratio of the first step, dB")
    dots = alt.Chart(table).mark_circle(**DOTS).encode(x=x, y=y, color=_colour(names), tooltip=["seed", "distance", "estimator"])
    lines = alt.Chart(table).mark_line().encode(x=x, y=alt.Y("mean(closed_form):Q"), color=_colour(names))
    return alt.layer(lines, dots).properties(width=480, height=320)


@figure("Learning key-to-door with exact models")
def learning(view: View) -> alt.TopLevelMixin:
    """Exact probability of reaching the treasure without exploration, at one learning rate. Lines: mean; bands: range over seeds."""
    table = view.table("learning").filter(~pl.col("trial").str.starts_with("whole-"))
    names = [name for name in ORDER if name in table["estimator"].unique().to_list()]
    curves = table.group_by("estimator", "step").agg(mean=pl.col("treasure").mean(), low=pl.col("treasure").min(), high=pl.col("treasure").max())
    curves = curves.sort("estimator", "step")
    thinned = curves.filter(pl.col("step") % max(1, int(curves["step"].to_numpy().max()) // 100) == 0)
    x, y = alt.X("step:Q", title="iteration (8 episodes each)"), alt.Y("mean:Q", title="probability of the treasure", scale=alt.Scale(domain=[0, 1]))
    lines = alt.Chart(thinned).mark_line().encode(x=x, y=y, color=_colour(names))
    bands = alt.Chart(thinned).mark_area(opacity=0.12).encode(x=x, y="low:Q", y2="high:Q", color=_colour(names))
    return alt.layer(bands, lines).properties(width=560, height=320)


@figure("The end of training")
def learned(view: View) -> alt.TopLevelMixin:
    """Exact models. One dot per seed, ticks at the mean. Left: at one learning rate; right: the paper's rates and 10000 iterations, if they were run."""
    lengths = pl.when(pl.col("trial").str.starts_with("whole-")).then(pl.lit("the paper's whole training")).otherwise(pl.lit("a short training"))
    table: Any = view.table("solved").select("seed", "estimator", "last", training=lengths)
    names = [name for name in ORDER if name in table["estimator"].unique().to_list()]
    x = alt.X("last:Q", title="probability of the treasure, last tenth of training", scale=alt.Scale(domain=[0, 1]))
    dots = alt.Chart().mark_circle(**DOTS).encode(x=x, y=alt.Y("estimator:N", sort=names, title=None), tooltip=["seed", alt.Tooltip("last", format=".3f")])
    means = alt.Chart().mark_tick(thickness=3).encode(x="mean(last):Q", y=alt.Y("estimator:N", sort=names))
    panels = alt.layer(means, dots, data=table).properties(width=260, height=alt.Step(28))
    return panels.facet(column=alt.Column("training:N", title=None))


# --- learned models


def _names(table: pl.DataFrame) -> list[str]:
    present = set(table["estimator"].to_list())
    return [name for name in ORDER if name in present]


def _curves(table: pl.DataFrame, value: str) -> pl.DataFrame:
    """Mean over seeds of at most about 100 steps of each estimator."""
    last = int(table["step"].cast(pl.Int64).to_numpy().max())
    mean = table.group_by("estimator", "step").agg(pl.col(value).mean()).sort("estimator", "step")
    return mean.filter(pl.col("step") % max(1, last // 100) == 0) if last > 200 else mean


@figure("Treasure by distance, learned models")
def treasure_by_distance(view: View) -> alt.TopLevelMixin:
    """Probability of the treasure, averaged over the iterations that both distances have. Dots: one training each; lines: means; dashed: the paper's means
    over 10000 iterations. Estimators that were trained at distance 20 only have fewer iterations.
    """
    table = view.table("learned").filter(pl.col("trial").str.contains("^(learned-|long-|user$)"))
    table = table.filter(pl.col("step") <= budget(view.config)).with_columns(distance=pl.col("length") - 3)
    means = table.group_by("seed", "distance", "estimator").agg(pl.col("treasure").mean())
    names = _names(means)
    rows = [
        {"distance": distance, "estimator": name, "treasure": value}
        for name, curve in references.TREASURE.items()
        if name in names
        for distance, value in zip(references.DISTANCES, curve, strict=True)
        if value is not None
    ]
    x = alt.X("distance:Q", title="distance", scale=alt.Scale(zero=False, padding=12))
    y = alt.Y("treasure:Q", title="probability of the treasure, average", scale=alt.Scale(domain=[0, 1]))
    dots = alt.Chart(means).mark_circle(**DOTS).encode(x=x, y=y, color=_colour(names), tooltip=["seed", "distance", "estimator"])
    lines = alt.Chart(means).mark_line().encode(x=x, y=alt.Y("mean(treasure):Q"), color=_colour(names))
    paper = alt.Chart(pl.DataFrame(rows)).mark_line(strokeDash=[4, 3], opacity=0.7).encode(x=x, y=y, color=_colour(names))
    return alt.layer(paper, lines, dots).properties(width=480, height=320)


@figure("Learning with learned models")
def learning_with_learned_models(view: View) -> alt.TopLevelMixin:
    """Exact probability of the treasure without exploration, on the longest track with rewards of their own. Lines: mean over trainings; crosses: the paper's
    means at distance 100.
    """
    table = view.table("learned").filter(~pl.col("trial").str.starts_with("aliased-"))
    table = table.filter(pl.col("length") == int(table["length"].to_numpy().max()))
    names, last = _names(table), int(table["step"].cast(pl.Int64).to_numpy().max())
    rows = [
        {"step": step, "estimator": name, "treasure": value}
        for name, curve in references.LEARNING.items()
        if name in names
        for step, value in zip(references.ITERATIONS, curve, strict=True)
        if step <= last and table["length"][0] == 103
    ]
    x = alt.X("step:Q", title="iteration (8 episodes each)")
    y = alt.Y("treasure:Q", title="probability of the treasure", scale=alt.Scale(domain=[0, 1]))
    lines = alt.Chart(_curves(table, "treasure")).mark_line().encode(x=x, y=y, color=_colour(names))
    if not rows:
        return lines.properties(width=560, height=320)
    paper = alt.Chart(pl.DataFrame(rows)).mark_point(shape="cross", size=50).encode(x=x, y=y, color=_colour(names))
    return alt.layer(lines, paper).properties(width=560, height=320)


@figure("Signal-to-noise ratio along shadow training")
def signal_along_training(view: View) -> alt.TopLevelMixin:
    """Gradient of the first step by one episode, with models that learn beside a policy which they do not influence. Lines: mean over trainings."""
    table = view.table("shadow")
    names = _names(table)
    x, y = alt.X("step:Q", title="iteration of shadow training"), alt.Y("snr:Q", title="signal-to-noise ratio, dB")
    return alt.Chart(_curves(table, "snr")).mark_line().encode(x=x, y=y, color=_colour(names)).properties(width=560, height=320)


@figure("Bias and variance along shadow training")
def bias_and_variance(view: View) -> alt.TopLevelMixin:
    """Relative to the squared true gradient; one dot per training, mean over its second half. Estimators without bias, or without variance, lie on the edge of
    -80 dB; HCA-return's bias is that of sampled episodes, too large where its variance is.
    """
    table = view.table("shadow")
    half = int(table["step"].cast(pl.Int64).to_numpy().max()) / 2
    means = table.filter(pl.col("step") >= half).group_by("seed", "estimator").agg(pl.col("bias").mean(), pl.col("variance").mean())
    x, y = alt.X("variance:Q", title="variance, dB"), alt.Y("bias:Q", title="squared bias, dB")
    dots = alt.Chart(means).mark_circle(size=50, opacity=0.6).encode(x=x, y=y, color=_colour(_names(means)), tooltip=["seed", "estimator"])
    return dots.properties(width=480, height=320)


@figure("Coefficients along one episode")
def coefficients(view: View) -> alt.TopLevelMixin:
    """Learned and exact contribution coefficients of COCOA-reward after training, for the first seed: rows are actions, columns are steps of one sampled
    episode, and each later reward has a pair of panels. On this track the treasure is worth 0.2 and the apples 0.1 or 0.9.
    Where an outcome can no longer come, the exact coefficients are 0 and the learned ones are not used.
    """
    table = view.table("coefficients").filter(pl.col("trial") == "learned-cocoa-reward")
    table = table.filter(pl.col("seed") == table["seed"][0]).with_columns(reward=pl.col("reward").round(3), time=pl.col("step"))
    table = table.with_columns(action=pl.col("action").replace_strict(dict(enumerate(["key", "left", "right", "door"])), return_dtype=pl.String))
    table = table.unpivot(["learned", "exact"], index=["time", "action", "reward"], variable_name="model", value_name="w")
    colour = alt.Color("w:Q", title="w", scale=alt.Scale(scheme="redblue", domainMid=0, reverse=True))
    chart = alt.Chart(table).mark_rect().encode(x=alt.X("time:O", title="step"), y=alt.Y("action:N", title=None), color=colour, tooltip=["w"])
    return chart.properties(width=300, height=90).facet(row=alt.Row("reward:N", title="later reward"), column=alt.Column("model:N", title=None))


@figure("Task interleaving")
def rooms(view: View) -> alt.TopLevelMixin:
    """Left: share of questions answered correctly, without exploration, mean over trainings. Right: where the exact coefficients of questions of one context
    go, under the policies that COCOA-reward trained, as shares of each row.
    """
    table, credit = view.table("rooms"), view.table("rooms_credit").filter(pl.col("trial") == "rooms-cocoa-reward")
    y = alt.Y("correct:Q", title="answered correctly", scale=alt.Scale(zero=False))
    curves = alt.Chart(_curves(table, "correct")).mark_line().encode(x=alt.X("step:Q", title="iteration"), y=y, color=_colour(_names(table)))
    mean = credit.group_by("encoding", "asked", "answered").agg(pl.col("share").mean())
    cells = (
        alt.Chart(mean)
        .mark_rect()
        .encode(x=alt.X("answered:O", title="answered"), y=alt.Y("asked:O", title="asked"), color=alt.Color("share:Q", scale=alt.Scale(domain=[0, 1])))
    )
    matrices = cells.properties(width=110, height=110).facet(column=alt.Column("encoding:N", title=None))
    return alt.hconcat(curves.properties(width=340, height=280), matrices).resolve_scale(color="independent")


@figure("After the reward switches")
def switched(view: View) -> alt.TopLevelMixin:
    """The treasure's reward changes its sign in the middle. Lines: probability of the treasure, mean over trainings."""
    table = view.table("switched")
    y = alt.Y("treasure:Q", title="probability of the treasure", scale=alt.Scale(domain=[0, 1]))
    lines = alt.Chart(_curves(table, "treasure")).mark_line().encode(x=alt.X("step:Q", title="iteration"), y=y, color=_colour(_names(table)))
    return lines.properties(width=560, height=320)


@figure("Noise on exact models")
def noise(view: View) -> alt.TopLevelMixin:
    """Signal-to-noise ratio of the first step's gradient when exact models are multiplied by noise. Dots: one layout, policy and draw of noise each; lines:
    means; dashed: the paper's, along shadow training.
    """
    table = view.table("perturbed")
    names = _names(table)
    rows = [
        {"sigma": sigma, "estimator": name, "snr": value}
        for name, curve in references.NOISY.items()
        for sigma, value in zip(references.SIGMAS, curve, strict=True)
    ]
    x = alt.X("sigma:Q", title="standard deviation of the noise", scale=alt.Scale(type="log", domain=[0.0008, 0.4]))
    y = alt.Y("snr:Q", title="signal-to-noise ratio, dB")
    dots = (
        alt.Chart(table.select("seed", "sigma", "estimator", "snr")).mark_circle(**DOTS).encode(x=x, y=y, color=_colour(names), tooltip=["seed", "estimator"])
    )
    lines = alt.Chart(table.select("sigma", "estimator", "snr")).mark_line().encode(x=x, y=alt.Y("mean(snr):Q"), color=_colour(names))
    paper = alt.Chart(pl.DataFrame(rows)).mark_line(strokeDash=[4, 3], opacity=0.7).encode(x=x, y=y, color=_colour(names))
    return alt.layer(paper, lines, dots).properties(width=480, height=320)


FIGURES = [
    *(variance_by_overlap, variance_by_groups, signal_by_distance, learning, learned),
    *(treasure_by_distance, learning_with_learned_models, signal_along_training, bias_and_variance, coefficients, rooms, switched, noise),
]
