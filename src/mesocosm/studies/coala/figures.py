"""Figures of the coala study: returns over training and over policies, a naive learner's life, the bias of the estimators, and episodes."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.studies.coala.tables import ALONE, SHAPERS, clean_up, mixed, shaping
from mesocosm.studies.interface import View, figure

COLUMNS = 4  # of the grid of CleanUp-lite
MEMORIES = ["start", "CC", "CD", "DC", "DD"]
DOTS = {"size": 24, "opacity": 0.45}
ROWS = 5000  # a chart with more is not drawn
THINNED = 4  # of so many points of a curve, agents over training show one, to stay below


def _over_training(table: pl.DataFrame, title: str, columns: int) -> alt.TopLevelMixin:
    """Median and quartiles over pairs, a panel for each arm."""
    peer = pl.col("peer")
    curves = table.group_by("arm", "step").agg(median=peer.median(), low=peer.quantile(0.25), high=peer.quantile(0.75)).sort("arm", "step")
    thinned = curves.filter(pl.col("step").rank("dense").over("arm") % max(1, curves["step"].n_unique() // 50) == 0)
    x = alt.X("step:Q", title=title, axis=alt.Axis(tickCount=3))
    line = alt.Chart().mark_line().encode(x=x, y=alt.Y("median:Q", title="return against each other"), tooltip=["arm", "step", "median"])
    band = alt.Chart().mark_area(opacity=0.25).encode(x=x, y="low:Q", y2="high:Q")
    panels = alt.layer(band, line, data=thinned).properties(width=150, height=100).facet(alt.Facet("arm:N", title=None), columns=columns)
    return panels.resolve_scale(x="independent")


@figure("Cooperation over training")
def cooperation(view: View) -> alt.TopLevelMixin:
    """Exact return per step of two agents against each other: mutual cooperation earns 1, mutual defection 0. Lines: median over pairs; bands: quartiles.
    Agents are trained among naive learners (shapers), each other (alone) or both (mixed), from random policies, always defecting or tit-for-tat.
    """
    return _over_training(view.table("pool_training"), "step", 3)


@figure("When shapers meet")
def meeting(view: View) -> alt.TopLevelMixin:
    """The same when the agents go on to learn from each other only."""
    return _over_training(view.table("meeting"), "step after they met", 3)


@figure("A naive learner's life")
def lives(view: View) -> alt.TopLevelMixin:
    """Exact reward per step of agent and naive learner after each update of the learner, mean over pairs and 64 learners. An extorter lets the learner gain,
    and gains more itself.
    """
    table = view.table("pool_lives").group_by("arm", "update").agg(pl.col("ego").mean(), pl.col("naive").mean())
    long = table.unpivot(["ego", "naive"], index=["arm", "update"], variable_name="player", value_name="reward").sort("arm", "player", "update")
    lines = (
        alt.Chart(long)
        .mark_line()
        .encode(
            x=alt.X("update:Q", title="updates of the learner", axis=alt.Axis(tickCount=4)),
            y=alt.Y("reward:Q", title="reward per step"),
            color=alt.Color("player:N", sort=["ego", "naive"], title=None),
            tooltip=["arm", "player", "update", "reward"],
        )
    )
    return lines.properties(width=150, height=100).facet(alt.Facet("arm:N", title=None), columns=3)


@figure("Learned policies")
def policies(view: View) -> alt.TopLevelMixin:
    """Probability to cooperate by what happened last, the agent's own action first. Bars: from the lower to the upper tenth of agents; ticks: the median."""
    named = view.table("pool_policies").with_columns(after=pl.col("memory").replace_strict(dict(enumerate(MEMORIES)), return_dtype=pl.String))
    chance = pl.col("cooperates")
    table = named.group_by("arm", "after").agg(median=chance.median(), low=chance.quantile(0.1), high=chance.quantile(0.9)).sort("arm", "after")
    x = alt.X("after:N", sort=MEMORIES, title="last joint action")
    y = alt.Y("low:Q", title="cooperates", scale=alt.Scale(domain=[0, 1]))
    bars = alt.Chart().mark_bar(opacity=0.35, width=10).encode(x=x, y=y, y2="high:Q")
    ticks = alt.Chart().mark_tick(thickness=3, width=16, color="black").encode(x=x, y="median:Q", tooltip=["arm", "after", "low", "median", "high"])
    return alt.layer(bars, ticks, data=table).properties(width=140, height=110).facet(alt.Facet("arm:N", title=None), columns=3)


@figure("Distance from extortion")
def extortion(view: View) -> alt.TopLevelMixin:
    """Squared distance of the four probabilities from the nearest zero-determinant extortion strategy, mean over a pair; each dot is a pair."""
    trained = view.table("pools").filter(pl.col("arm").is_in([SHAPERS, ALONE])).select("seed", "distance", kind="arm")
    random = view.table("pools").filter(pl.col("arm") == SHAPERS).select("seed", distance="random", kind=pl.lit("random policies"))
    table = pl.concat([trained, random])
    x = alt.X("distance:Q", title="squared distance")
    dots = alt.Chart(table).mark_circle(**DOTS).encode(x=x, y=alt.Y("kind:N", title=None), tooltip=["seed", "kind", alt.Tooltip("distance", format=".3f")])
    ticks = alt.Chart(table).mark_tick(thickness=3, color="black").encode(x="median(distance):Q", y="kind:N")
    return alt.layer(dots, ticks).properties(width=420, height=alt.Step(30))


@figure("LOLA-DICE by look-ahead steps")
def look_ahead(view: View) -> alt.TopLevelMixin:
    """Return of two agents against each other over training, exact; ahead-0 is the plain gradient, and mixed arms add it to the look-ahead."""
    return _over_training(view.table("look_ahead_training"), "step", 3)


@figure("Bias of the estimators")
def bias(view: View) -> alt.TopLevelMixin:
    """Distance of the mean estimate over every outcome from the true gradient, relative to its length; each dot is a random agent and learner. COALA-PG's is
    rounding.
    """
    table = view.table("biases").unpivot(["coala", "batch_unaware", "m_fos"], index="instance", variable_name="estimator", value_name="distance")
    table = table.with_columns(estimator=pl.col("estimator").str.replace("_", "-"))
    x = alt.X("distance:Q", title="relative distance", scale=alt.Scale(type="log"), axis=alt.Axis(format="~e"))
    dots = alt.Chart(table).mark_circle(**DOTS).encode(x=x, y=alt.Y("estimator:N", title=None), tooltip=["instance", "estimator", "distance"])
    return dots.properties(width=420, height=alt.Step(30))


@figure("Agents with memory over training")
def agents(view: View) -> alt.TopLevelMixin:
    """Rewards of agents that learn from sampled play: against each other (where cooperation earns 1 and defection 0) and beside naive learners. Lines:
    mean over agents and pools; thin lines: pools.
    """
    table = view.table("agents_training").group_by("trial", "seed", "step").agg(pl.col("peer", "ego").mean().round(3))
    table = table.filter(pl.col("step").rank("dense").over("trial", "seed") % THINNED == 1)
    long = table.unpivot(["peer", "ego"], index=["trial", "seed", "step"], variable_name="beside", value_name="reward").drop_nulls()
    long = long.with_columns(pl.col("beside").replace_strict({"peer": "each other", "ego": "naive learners"})).sort("trial", "seed", "step")
    x, colour = alt.X("step:Q", title="iteration", axis=alt.Axis(tickCount=3)), alt.Color("beside:N", title=None)
    each = alt.Chart().mark_line(opacity=0.25, strokeWidth=1).encode(x=x, y=alt.Y("reward:Q", title="reward per step"), color=colour, detail="seed:N")
    mean = alt.Chart().mark_line(strokeWidth=2.5).encode(x=x, y="mean(reward):Q", color=colour)
    panels = alt.layer(each, mean, data=long).properties(width=150, height=100).facet(alt.Facet("trial:N", title=None), columns=3)
    return panels.resolve_scale(x="independent")


@figure("Within a meta-episode")
def within(view: View) -> alt.TopLevelMixin:
    """Trained agents beside naive learners that they have not met, by inner episode: how often the agents cooperate, and what both earn per step. Mean over
    agents, games and pools; thin lines: pools.
    """
    table = view.table("meta_episodes").filter(pl.col("trial").str.starts_with(shaping("")))
    each = table.group_by("trial", "seed", "episode").agg(pl.col("cooperates", "ego", "naive").mean().round(3))
    long = each.unpivot(["cooperates", "ego", "naive"], index=["trial", "seed", "episode"], variable_name="what").sort("trial", "seed", "episode")
    long = long.with_columns(
        pl.col("trial").str.strip_prefix(shaping("")),
        pl.col("what").replace_strict({"cooperates": "agent cooperates", "ego": "reward of the agent", "naive": "reward of the learner"}),
        episode=pl.col("episode") + 1,
    )
    x, colour = alt.X("episode:Q", title="inner episode", axis=alt.Axis(tickCount=4)), alt.Color("what:N", title=None)
    thin = alt.Chart().mark_line(opacity=0.2, strokeWidth=1).encode(x=x, y=alt.Y("value:Q", title=None), color=colour, detail="seed:N")
    mean = alt.Chart().mark_line(strokeWidth=2.5).encode(x=x, y="mean(value):Q", color=colour)
    return alt.layer(thin, mean, data=long).properties(width=150, height=120).facet(alt.Facet("trial:N", title=None), columns=3)


@figure("Parts of the gradient")
def parts(view: View) -> alt.TopLevelMixin:
    """Norm of the gradient's part from later inner episodes over that from the present one, in mixed pools along their own training; geometric mean over two
    agents. Lines: geometric mean over pools; thin lines: pools.
    """
    table = view.table("gradient_parts").with_columns(ratio=pl.col("balance").exp(), estimator=pl.col("trial").str.strip_prefix(mixed("")))
    mean = table.group_by("estimator", "step").agg(ratio=pl.col("balance").mean().exp()).sort("estimator", "step")
    x, colour = alt.X("step:Q", title="iteration"), alt.Color("estimator:N", title=None)
    y = alt.Y("ratio:Q", title="later over present", scale=alt.Scale(type="log"))
    thin = alt.Chart(table.select("estimator", "seed", "step", "ratio")).mark_line(opacity=0.25, strokeWidth=1).encode(x=x, y=y, color=colour, detail="seed:N")
    thick = alt.Chart(mean).mark_line(strokeWidth=2.5).encode(x=x, y=y, color=colour, tooltip=["estimator", "step", "ratio"])
    return alt.layer(thin, thick).properties(width=420, height=220)


@figure("The analytic landscape")
def landscape(view: View) -> alt.TopLevelMixin:
    """Exact reward per step of policies that never cooperate after CD and DD, by their probabilities to do so after DC and after CC (and at the start).
    Upper right: tit-for-tat; lower left: always defecting. Beside naive learners, over their learning, extortion earns most; with a copy of itself, it earns
    nothing.
    """
    names = {"ego": "beside naive learners", "naive": "the learners", "copy": "with its copy"}
    long = view.table("landscape").unpivot(list(names), index=["after_cc", "after_dc"], variable_name="what", value_name="reward")
    long = long.with_columns(pl.col("what").replace_strict(names), pl.col("after_cc", "after_dc", "reward").round(3))
    x, y = (alt.X("after_dc:O", title="cooperates after DC"), alt.Y("after_cc:O", sort="descending", title="cooperates after CC"))
    ticks = alt.Axis(labelExpr="datum.value * 4 % 1 == 0 ? datum.label : ''", ticks=False)
    colour = alt.Color("reward:Q", scale=alt.Scale(scheme="redblue", domainMid=0), title="reward")
    tiles = alt.Chart(long).mark_rect(aria=False).encode(x=x.axis(ticks), y=y.axis(ticks), color=colour, tooltip=["what", "after_cc", "after_dc", "reward"])
    return tiles.properties(width=170, height=170).facet(alt.Facet("what:N", sort=list(names.values()), title=None), columns=3)


@figure("Responses within an episode")
def responses(view: View) -> alt.TopLevelMixin:
    """How often agents cooperate, round by round, with known opponents that they have not met in training. Lines: mean over agents; thin lines: seeds. If
    there are more than 5000 points, every n-th round is shown.
    """
    curves = view.table("response_curves").select("trial", "seed", "opponent", "round", pl.col("cooperates").round(3))
    rounds = curves["round"].n_unique()
    shown = max(1, ROWS * rounds // curves.height)  # of each curve
    table = curves.filter(pl.col("round") % -(-rounds // shown) == 0)
    x, y = alt.X("round:Q", axis=alt.Axis(tickCount=4)), alt.Y("cooperates:Q", title="cooperates", scale=alt.Scale(domain=[0, 1]))
    colour = alt.Color("opponent:N", title=None)
    thin = alt.Chart().mark_line(opacity=0.2, strokeWidth=1).encode(x=x, y=y, color=colour, detail="seed:N")
    mean = alt.Chart().mark_line(strokeWidth=2.5).encode(x=x, y=alt.Y("mean(cooperates):Q", title="cooperates"), color=colour)
    return alt.layer(thin, mean, data=table).properties(width=170, height=120).facet(alt.Facet("trial:N", title=None), columns=3)


@figure("Agents that infer their co-player, over training")
def in_context(view: View) -> alt.TopLevelMixin:
    """Mean reward of two agents from each other: cooperation earns 1, defection 0. Thin lines: seeds."""
    table = view.table("in_context_training").select("trial", "seed", "step", pl.col("peer").round(3))
    x, y = alt.X("step:Q", title="iteration", axis=alt.Axis(tickCount=3)), alt.Y("peer:Q", title="reward per round")
    thin = alt.Chart().mark_line(opacity=0.3, strokeWidth=1).encode(x=x, y=y, detail="seed:N")
    mean = alt.Chart().mark_line(strokeWidth=2.5).encode(x=x, y="mean(peer):Q")
    panels = alt.layer(thin, mean, data=table).properties(width=150, height=100).facet(alt.Facet("trial:N", title=None), columns=4)
    return panels.resolve_scale(x="independent")


@figure("CleanUp-lite over training")
def cleaning(view: View) -> alt.TopLevelMixin:
    """Means per step, over agents and pools: own reward, dirt, apples, how far both agents' cleaning differs within an inner episode, and how often the agent
    is hit. One line for each estimator; solid: beside naive learners, dashed: beside each other.
    """
    columns = {"reward": "reward", "dirt": "dirt", "apples": "apples", "gap_cleaned": "cleaning gap", "own_hit": "hit"}
    table = view.table("clean_up_training").with_columns(
        pool=pl.col("trial").str.extract(r"clean-up-(\w+)-", 1), estimator=pl.col("trial").str.replace(r"clean-up-\w+?-", "")
    )
    mean = table.group_by("pool", "estimator", "beside", "step").agg(pl.col(*columns).mean().round(4)).sort("pool", "estimator", "beside", "step")
    long = mean.unpivot(list(columns), index=["pool", "estimator", "beside", "step"], variable_name="what").with_columns(pl.col("what").replace_strict(columns))
    lines = (
        alt.Chart(long)
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="iteration", axis=alt.Axis(tickCount=3)),
            y=alt.Y("value:Q", title=None),
            color=alt.Color("estimator:N", title=None),
            strokeDash=alt.StrokeDash("beside:N", title=None, sort=["naive", "peer"]),
        )
    )
    grid = lines.properties(width=120, height=90).facet(row=alt.Row("pool:N", title=None), column=alt.Column("what:N", title=None, sort=list(columns.values())))
    return grid.resolve_scale(y="independent")


@figure("An episode of CleanUp-lite")
def strip(view: View) -> alt.TopLevelMixin:
    """Two COALA agents of a mixed pool, every second step of the first inner episode: apples green in the orchard on the left, dirt brown in the river on the
    right, agents blue and red (violet: both in one cell).
    """
    table = view.table("clean_up_strip").filter((pl.col("trial") == clean_up("coala", shaping=False)) & (pl.col("time") % 2 == 0))
    names, colours = ["empty", "apple", "dirt", "first", "second", "both"], ["#ebe5d6", "#78b45a", "#826446", "#4285be", "#d6604d", "#8c6e96"]
    players = pl.col("player_0") + 2 * pl.col("player_1")
    number = pl.when(players > 0).then(players + 2).otherwise(pl.col("contents"))
    table = table.select("time", row=pl.col("cell") // COLUMNS, column=pl.col("cell") % COLUMNS, shows=number.replace_strict(dict(enumerate(names))))
    tiles = (
        alt.Chart(table)
        .mark_rect(stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X("column:O", axis=None),
            y=alt.Y("row:O", axis=None),
            color=alt.Color("shows:N", scale=alt.Scale(domain=names, range=colours), title=None),
            tooltip=["time", "row", "column", "shows"],
        )
    )
    return tiles.properties(width=40, height=50).facet(alt.Facet("time:O", title="step"), columns=8)


FIGURES = [cooperation, meeting, lives, policies, extortion, look_ahead, bias, landscape, agents, within, parts, responses, in_context, cleaning, strip]
