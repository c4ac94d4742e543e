"""Figures of learned models: treasure by distance and along training, their calibration, and the quality of their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from mesocosm.studies.cocoa import references
from mesocosm.studies.cocoa.charts import DOTS, colour, curves, last_step, names_in
from mesocosm.studies.cocoa.measures import budget
from mesocosm.studies.cocoa.tables import ALIASED, EXACT, WHOLE
from mesocosm.studies.interface import View, figure

DASH = alt.StrokeDash("models:N", sort=["learned", "exact"], title="models")
LEAST_NATS = 1e-5  # a smaller difference of log losses is rounding


@figure("Treasure by distance, learned models")
def treasure_by_distance(view: View) -> alt.TopLevelMixin:
    """Probability of the treasure, averaged over the iterations that all distances have. Dots: one training each; lines: means; dashed: the paper's means
    over 10000 iterations. Estimators that were trained at distance 20 only have fewer iterations; some were trained at the two ends only. `immediate` is COCOA
    with coefficients of 0.
    """
    table = view.table("learned").filter(pl.col("trial").str.contains("^(learned-|long-|between-|user$)"))
    table = table.filter(pl.col("step") <= budget(view.config)).with_columns(distance=pl.col("length") - 3)
    means = table.group_by("seed", "distance", "estimator").agg(pl.col("treasure").mean())
    names = names_in(means)
    rows = [
        {"distance": distance, "estimator": name, "treasure": value}
        for name, curve in references.TREASURE.items()
        if name in names
        for distance, value in zip(references.DISTANCES, curve, strict=True)
        if value is not None
    ]
    x = alt.X("distance:Q", title="distance", scale=alt.Scale(zero=False, padding=12))
    y = alt.Y("treasure:Q", title="probability of the treasure, average", scale=alt.Scale(domain=[0, 1]))
    dots = alt.Chart(means).mark_circle(**DOTS).encode(x=x, y=y, color=colour(names), tooltip=["seed", "distance", "estimator"])
    lines = alt.Chart(means).mark_line().encode(x=x, y=alt.Y("mean(treasure):Q"), color=colour(names))
    paper = alt.Chart(pl.DataFrame(rows)).mark_line(strokeDash=[4, 3], opacity=0.7).encode(x=x, y=y, color=colour(names))
    return alt.layer(paper, lines, dots).properties(width=480, height=320)


@figure("Learning with exact and with learned models")
def learning_beside(view: View) -> alt.TopLevelMixin:
    """Exact probability of the treasure without exploration at the longest distance. Left: models that are exact for the present policy; right: models that
    learn beside it. Lines: mean over trainings; crosses: the paper's means. Exact models: the paper's rates and 10000 iterations where they were run, else the
    short training at one rate.
    """
    exact, ours = view.table("learning"), view.table("learned").filter(~pl.col("trial").str.starts_with(ALIASED))
    in_whole = exact.filter(pl.col("trial").str.starts_with(WHOLE))["estimator"].unique().to_list()
    exact = exact.filter(pl.col("trial").str.starts_with(WHOLE) | ~pl.col("estimator").is_in(in_whole))
    ours = ours.filter(pl.col("length") == int(ours["length"].to_numpy().max()))
    names = names_in(pl.concat([exact.select("estimator"), ours.select("estimator")]))
    panels = (("exact models", exact, references.LEARNING_EXACT), ("learned models", ours, references.LEARNING))
    return alt.hconcat(*(_beside_the_paper(title, table, paper, names) for title, table, paper in panels))


def _beside_the_paper(title: str, table: pl.DataFrame, paper: Mapping[str, Sequence[float]], names: list[str]) -> Any:
    x = alt.X("step:Q", title=f"iteration, {title}")
    y = alt.Y("treasure:Q", title="probability of the treasure", scale=alt.Scale(domain=[0, 1]))
    last, present = last_step(table), names_in(table)
    rows = [
        {"step": step, "estimator": name, "treasure": value}
        for name, curve in paper.items()
        if name in present
        for step, value in zip(references.ITERATIONS, curve, strict=True)
        if step <= last
    ]
    layers = [alt.Chart(curves(table, "treasure")).mark_line().encode(x=x, y=y, color=colour(names))]
    if rows:
        layers.append(alt.Chart(pl.DataFrame(rows)).mark_point(shape="cross", size=40).encode(x=x, y=y, color=colour(names)))
    return alt.layer(*layers).properties(width=380, height=300)


@figure("How well hindsight networks know the hindsight distribution")
def calibration(view: View) -> alt.TopLevelMixin:
    """Against the exact distribution for the present policy, by dynamic programming. Lines: mean over trainings, at every other measurement. Left: excess
    log loss, above the least possible, over that of the policy: 0 is exact, 1 is what is known without the outcome. Middle: calibration error, in bins of
    predicted probability. Right: share of the rectified output units that are 0 for every state and outcome.
    """
    table = view.table("hindsight").with_columns(
        distance=(pl.col("length") - 3).cast(pl.String) + pl.when(pl.col("trial").str.starts_with(ALIASED)).then(pl.lit(", aliased")).otherwise(pl.lit("")),
        left=(pl.col("log_loss") - pl.col("least_log_loss")) / (pl.col("policy_log_loss") - pl.col("least_log_loss")).clip(lower_bound=LEAST_NATS),
    )
    names = names_in(table)
    panels = {"left": "excess log loss", "calibration_error": "calibration error", "dead_outputs": "dead output units"}
    rows = []
    for distance in sorted(set(table["distance"].to_list()), key=lambda name: (len(name), name)):
        here = table.filter(distance=distance)
        here = here.filter(pl.col("step").is_in(here["step"].unique().sort().gather_every(2).to_list()))
        x, charts = alt.X("step:Q", title=f"iteration, distance {distance}"), []
        for column, title in panels.items():
            y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(domain=[0, 3], clamp=True) if column == "left" else alt.Scale())
            charts.append(alt.Chart(curves(here, column)).mark_line().encode(x=x, y=y, color=colour(names)).properties(width=210, height=140))
        rows.append(alt.hconcat(*charts))
    return alt.vconcat(*rows)


def _learned_and_exact(table: pl.DataFrame) -> pl.DataFrame:
    """The kind of models in a column of its own."""
    models = pl.when(pl.col("estimator").str.starts_with(EXACT)).then(pl.lit("exact")).otherwise(pl.lit("learned"))
    return table.with_columns(models=models, estimator=pl.col("estimator").str.strip_prefix(EXACT))


@figure("Signal-to-noise ratio along shadow training")
def signal_along_training(view: View) -> alt.TopLevelMixin:
    """Gradient of the first step by one episode, with models that learn beside a policy which they do not influence. Lines: mean over trainings; dashed: with
    exact models, on the same episodes; crosses: the paper's averages over training at this distance.
    """
    table = view.table("shadow").filter(pl.col("estimator") != f"{EXACT}q-critic")  # which has no noise and no bias
    return alt.hconcat(*(_signal_at(table.filter(length=length), length) for length in sorted(set(table["length"].to_list())))).resolve_scale(y="shared")


def _signal_at(table: pl.DataFrame, length: int) -> Any:
    means = _learned_and_exact(curves(table, "snr"))
    names, last = names_in(means), last_step(table)
    x, y = alt.X("step:Q", title=f"iteration, distance {length - 3}"), alt.Y("snr:Q", title="signal-to-noise ratio, dB")
    paper = {23: references.RATIO, 103: references.FAR_RATIO}.get(length, {})
    rows = [{"step": last, "estimator": name, "snr": value} for name, value in paper.items() if name in names]
    layers = [alt.Chart(means).mark_line().encode(x=x, y=y, color=colour(names), strokeDash=DASH)]
    if rows:
        layers.append(alt.Chart(pl.DataFrame(rows)).mark_point(shape="cross", size=50).encode(x=x, y=y, color=colour(names)))
    return alt.layer(*layers).properties(width=380, height=300)


@figure("Bias and variance along shadow training")
def bias_and_variance(view: View) -> alt.TopLevelMixin:
    """Relative to the squared true gradient; one dot per training, mean over its second half. Estimators without bias, or without variance, lie on the edge of
    -80 dB; HCA-return's bias is that of sampled episodes, too large where its variance is. Distance 20.
    """
    table = view.table("shadow").filter(trial="shadow").filter(~pl.col("estimator").str.starts_with(EXACT))
    half = int(table["step"].cast(pl.Int64).to_numpy().max()) / 2
    means = table.filter(pl.col("step") >= half).group_by("seed", "estimator").agg(pl.col("bias").mean(), pl.col("variance").mean())
    x, y = alt.X("variance:Q", title="variance, dB"), alt.Y("bias:Q", title="squared bias, dB")
    dots = alt.Chart(means).mark_circle(size=50, opacity=0.6).encode(x=x, y=y, color=colour(names_in(means)), tooltip=["seed", "estimator"])
    return dots.properties(width=480, height=320)


@figure("Coefficients along one episode")
def coefficients(view: View) -> alt.TopLevelMixin:
    """Learned and exact contribution coefficients of COCOA-reward after training: rows are actions, columns are steps of one sampled episode, and each later
    reward has a pair of panels. On this track the treasure is worth 0.2 and the apples 0.1 or 0.9. The training is the first whose agent took the key in its
    episode, if any did. Where an outcome can no longer come, coefficients are not used, and there is no cell. Those above 1 have the colour of 1.
    """
    table = view.table("coefficients").filter(pl.col("trial") == "learned-cocoa-reward")
    table = table.filter((pl.col("exact") != 0.0).any().over("seed", "step", "reward"))  # exactly 0 for all actions: it can no longer come
    longest = table.group_by("seed").len().filter(pl.col("len") == pl.col("len").max())["seed"].min()
    table = table.filter(pl.col("seed") == longest).with_columns(reward=pl.col("reward").round(3), time=pl.col("step"))
    table = table.with_columns(action=pl.col("action").replace_strict(dict(enumerate(["key", "left", "right", "door"])), return_dtype=pl.String))
    table = table.unpivot(["learned", "exact"], index=["time", "action", "reward"], variable_name="model", value_name="w")
    colour = alt.Color("w:Q", title="w", scale=alt.Scale(scheme="redblue", domain=[-1, 1], clamp=True, reverse=True))
    chart = alt.Chart(table).mark_rect().encode(x=alt.X("time:O", title="step"), y=alt.Y("action:N", title=None), color=colour, tooltip=["w"])
    return chart.properties(width=300, height=90).facet(row=alt.Row("reward:N", title="later reward"), column=alt.Column("model:N", title=None))


@figure("Task interleaving")
def rooms(view: View) -> alt.TopLevelMixin:
    """Left: share of questions answered correctly, without exploration, mean over trainings. Right: where the exact coefficients of questions of one context
    go, under the policies that COCOA-reward trained, as shares of each row.
    """
    table, credit = view.table("rooms"), view.table("rooms_credit").filter(pl.col("trial") == "rooms-cocoa-reward")
    y = alt.Y("correct:Q", title="answered correctly", scale=alt.Scale(zero=False))
    lines = alt.Chart(curves(table, "correct")).mark_line().encode(x=alt.X("step:Q", title="iteration"), y=y, color=colour(names_in(table)))
    mean = credit.group_by("encoding", "asked", "answered").agg(pl.col("share").mean())
    cells = (
        alt.Chart(mean)
        .mark_rect()
        .encode(x=alt.X("answered:O", title="answered"), y=alt.Y("asked:O", title="asked"), color=alt.Color("share:Q", scale=alt.Scale(domain=[0, 1])))
    )
    matrices = cells.properties(width=110, height=110).facet(column=alt.Column("encoding:N", title=None))
    return alt.hconcat(lines.properties(width=340, height=280), matrices).resolve_scale(color="independent")


@figure("After the reward switches")
def switched(view: View) -> alt.TopLevelMixin:
    """The treasure's reward changes its sign in the middle. Lines: probability of the treasure, mean over trainings; dashed: with exact models, which know the
    new reward.
    """
    means = _learned_and_exact(curves(view.table("switched"), "treasure"))
    x, y = alt.X("step:Q", title="iteration"), alt.Y("treasure:Q", title="probability of the treasure", scale=alt.Scale(domain=[0, 1]))
    return alt.Chart(means).mark_line().encode(x=x, y=y, color=colour(names_in(means)), strokeDash=DASH).properties(width=560, height=320)


@figure("Noise on exact models")
def noise(view: View) -> alt.TopLevelMixin:
    """Signal-to-noise ratio of the first step's gradient when exact models are multiplied by noise. Lines: means over layouts, policies and draws of noise;
    bands: from the least to the largest; dashed: the paper's means, along shadow training.
    """
    table = view.table("perturbed")
    names = names_in(table)
    rows = [
        {"sigma": sigma, "estimator": name, "snr": value}
        for name, curve in references.NOISY.items()
        for sigma, value in zip(references.SIGMAS, curve, strict=True)
    ]
    x = alt.X("sigma:Q", title="standard deviation of the noise", scale=alt.Scale(type="log", domain=[0.0008, 0.4]))
    y = alt.Y("snr:Q", title="signal-to-noise ratio, dB")
    means = table.group_by("sigma", "estimator").agg(pl.col("snr").mean(), low=pl.col("snr").min(), high=pl.col("snr").max())
    each = alt.Chart(means).encode(x=x, color=colour(names))
    bands, lines = each.mark_area(opacity=0.2).encode(y=alt.Y("low:Q"), y2="high:Q"), each.mark_line(point=True).encode(y=y)
    paper = alt.Chart(pl.DataFrame(rows)).mark_line(strokeDash=[4, 3], opacity=0.7).encode(x=x, y=y, color=colour(names))
    return alt.layer(paper, bands, lines).properties(width=480, height=320)
