"""Figures of the randomized study: success of every input, tails and variance against q, first visits in the grid."""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl

from mesocosm.studies.charts import training
from mesocosm.studies.interface import View, figure
from mesocosm.studies.randomized.tables import COLOURING, COLOURING_MEAN, LARGER, LARGER_FIXED, LARGER_MEAN, LARGEST_Q

DOTS = {"size": 30, "opacity": 0.6}


SEED = pl.when(pl.col("randomised")).then(pl.lit("random seed")).otherwise(pl.lit("fixed seed"))


def _usual(view: View, table: str) -> pl.DataFrame:
    """Rows of the networks with the usual number of layers and of seeds per step."""
    usual = pl.col("m") == pl.col("problem").replace_strict({problem: view.config.seeds_per_step(problem) for problem in ("recall", "colouring")})
    return view.table(table).filter(~pl.col("trial").str.starts_with("enough") & (usual | ~pl.col("randomised")))


@figure("Success of every input")
def success_by_input(view: View) -> alt.TopLevelMixin:
    """Inputs of all replicates by the share of random seeds that succeed on them (one fixed seed: 0 or 1). On the expected loss (q = 1), an input succeeds
    always or never; against the adversary, chance decides.
    """
    kind = pl.format("{}, {}, q = {}", "problem", SEED, pl.col("q").cast(pl.Int64))
    table = _usual(view, "inputs").with_columns(kind=kind, bin=(pl.col("rate") * 10).floor().clip(0, 9) / 10)
    shares = table.group_by("kind", "bin").agg(count=pl.len()).with_columns(share=pl.col("count") / pl.col("count").sum().over("kind"))
    order = table.sort("problem", "randomised", "q")["kind"].unique(maintain_order=True).to_list()
    bars = (
        alt.Chart(shares.sort("kind", "bin"))
        .mark_bar()
        .encode(
            x=alt.X("bin:Q", bin=alt.Bin(binned=True, step=0.1), title="success rate"),
            x2=alt.X2("end:Q"),
            y=alt.Y("share:Q", title="share of inputs"),
            tooltip=["kind", "share"],
        )
    )
    return bars.transform_calculate(end="datum.bin + 0.1").properties(width=130, height=90).facet(alt.Facet("kind:N", title=None, sort=order), columns=4)


@figure("Tail and average, by exponent")
def tail_by_exponent(view: View) -> alt.TopLevelMixin:
    """Success of single answers and of thirty seeds. One dot per replicate; lines through the means."""
    long = (
        _usual(view, "answers")
        .filter(pl.col("decision").is_in(["single", "sampled", "vote-30", "verified-30"]))
        .with_columns(network=pl.format("{}, {}", SEED, "decision"))
        .unpivot(["average", "tail"], index=["problem", "network", "q", "seed"], variable_name="over inputs", value_name="success")
    )
    return _success(long, "q", alt.X("q:Q", title="exponent q", scale=alt.Scale(type="log", base=2)), "network")


@figure("Votes")
def votes(view: View) -> alt.TopLevelMixin:
    """Success of the most frequent answer of several seeds, random networks: average and tail over inputs. One dot per replicate; lines through the means."""
    judged = pl.col("q").is_in([1.0, view.config.recall_judged_q, view.config.colouring_judged_q])
    voters = pl.col("decision").str.replace("single", "vote-1")
    long = (
        _usual(view, "answers")
        .filter(pl.col("randomised") & judged & voters.str.starts_with("vote"))
        .with_columns(voters=voters.str.extract(r"(\d+)").cast(pl.Int64), exponent=pl.format("q = {}", pl.col("q").cast(pl.Int64)))
        .unpivot(["average", "tail"], index=["problem", "voters", "exponent", "seed"], variable_name="over inputs", value_name="success")
    )
    return _success(long, "voters", alt.X("voters:Q", title="number of seeds", scale=alt.Scale(type="log")), "exponent")


def _success(long: pl.DataFrame, over: str, x: alt.X, kind: str) -> alt.TopLevelMixin:
    """Success over a column, one colour per kind: dots of replicates and lines through their means, by problem, average and tail."""
    colour = alt.Color(f"{kind}:N", title=None)
    dots = alt.Chart().mark_circle(**DOTS).encode(x=x, y=alt.Y("success:Q", title="success"), color=colour, tooltip=["seed", kind, over, "success"])
    lines = alt.Chart().mark_line().encode(x=x, y="mean(success):Q", color=colour)
    layers = alt.layer(lines, dots, data=long.sort("problem", kind, over, "seed")).properties(width=230, height=180)
    return layers.facet(column=alt.Column("over inputs:N", title=None), row=alt.Row("problem:N", title=None))


@figure("Two colourings of one cycle")
def two_colourings(view: View) -> alt.TopLevelMixin:
    """Answers of the first replicate's networks to one cycle under two seeds: one that succeeds and one that fails, if there are both. Clashes are dashed."""
    names = {trial: label for arm, label in ((COLOURING_MEAN, "expected loss"), (COLOURING, "adversary")) for trial in arm.names(view.config)}
    table = view.table("colourings").filter(pl.col("trial").is_in(list(names)))
    table = table.filter(pl.col("seed") == pl.col("seed").min()).sort("trial", "answer", "place")
    angle = pl.col("place") * (2 * np.pi / view.config.colouring.vertices)
    table = table.with_columns(x=angle.sin(), y=angle.cos(), network=pl.col("trial").replace_strict(names), one=pl.format("seed {}", pl.col("answer") + 1))
    ring = table.with_columns(
        *(pl.col(column).shift(-1).fill_null(pl.col(column).first()).over("trial", "answer").alias(f"{column}2") for column in ("x", "y", "colour"))
    ).with_columns(clash=pl.col("colour") == pl.col("colour2"))
    axis = {"axis": None, "scale": alt.Scale(domain=[-1.2, 1.2])}
    place = {"x": alt.X("x:Q", **axis), "y": alt.Y("y:Q", **axis)}
    dash = alt.condition("datum.clash", alt.value([4, 4]), alt.value([1, 0]))
    edges = alt.Chart().mark_rule(color="grey", size=2).encode(**place, x2="x2:Q", y2="y2:Q", strokeDash=dash)
    vertices = alt.Chart().mark_circle(size=250, opacity=1).encode(**place, color=alt.Color("colour:N", legend=None))
    drawn = alt.layer(edges, vertices, data=ring).properties(width=150, height=150)
    return drawn.facet(column=alt.Column("one:N", title=None), row=alt.Row("network:N", title=None))


@figure("Variance over seeds")
def variance_by_exponent(view: View) -> alt.TopLevelMixin:
    """Variance over seeds of predicted probabilities, mean over inputs and parts of the answer: one dot per replicate."""
    table = view.table("losses").filter(pl.col("randomised") & ~pl.col("trial").str.starts_with("enough"))
    dots = alt.Chart(table.select("problem", "q", "m", "seed", "variance").sort("problem", "q", "seed")).mark_circle(**DOTS)
    x = alt.X("q:Q", title="exponent q", scale=alt.Scale(type="log", base=2))
    encoded = dots.encode(
        x=x, y=alt.Y("variance:Q", title="variance over seeds"), color=alt.Color("m:O", title="seeds per step"), tooltip=["seed", "q", "m", "variance"]
    )
    return encoded.properties(width=260, height=200).facet(column=alt.Column("problem:N", title=None))


@figure("First visits in the grid")
def first_visits(view: View) -> alt.TopLevelMixin:
    """Steps until a treasure in this cell is found, mean over test seeds and replicates; the start is at the lower left. Agents that were trained on the mean
    over treasures walk one path; against the worst treasure, the path depends on the seed.
    """
    return _first_visits(view.table("visits").filter(pl.col("trial").str.starts_with("grid")), view.config.grid.side)


@figure("First visits in the larger grid")
def larger_first_visits(view: View) -> alt.TopLevelMixin:
    """As above, in the larger grid."""
    agents = [trial for arm in (LARGER, LARGER_MEAN, LARGER_FIXED) for trial in arm.names(view.config)]
    return _first_visits(pl.concat(view.table("visits", trial=trial) for trial in agents), view.config.larger_side)


def _first_visits(table: pl.DataFrame, side: int) -> alt.TopLevelMixin:
    """A map for each agent that hunts once."""
    finite = pl.when(pl.col("q") == 1).then(pl.lit("mean")).otherwise(pl.format("q = {}", pl.col("q").cast(pl.Int64)))
    goal = pl.when(pl.col("q") == LARGEST_Q).then(pl.lit("worst")).otherwise(finite)
    seed = pl.when(pl.col("randomised")).then(pl.format("random, m = {}", "m")).otherwise(pl.lit("fixed seed"))
    table = table.with_columns(agent=pl.format("{}, {}", goal, seed), row=pl.col("cell") // side, column=pl.col("cell") % side)
    order = table.sort("q", "randomised", "m")["agent"].unique(maintain_order=True).to_list()
    means = table.group_by("agent", "row", "column").agg(pl.col("steps").mean()).sort("agent", "row", "column")
    cells = alt.Chart().mark_rect().encode(x="column:O", y=alt.Y("row:O", sort="descending"), color=alt.Color("steps:Q", title="steps"))
    ink = alt.condition(f"datum.steps > {0.7 * side**2}", alt.value("black"), alt.value("white"))
    numbers = alt.Chart().mark_text().encode(x="column:O", y=alt.Y("row:O", sort="descending"), text=alt.Text("steps:Q", format=".1f"), color=ink)
    return alt.layer(cells, numbers, data=means).properties(width=30 * side, height=30 * side).facet(alt.Facet("agent:N", title=None, sort=order), columns=4)


FIGURES = [success_by_input, tail_by_exponent, votes, two_colourings, variance_by_exponent, first_visits, larger_first_visits, training]
