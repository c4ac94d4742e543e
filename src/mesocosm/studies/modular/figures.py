"""Figures of the modular study: students by support, alignment by descent, by support and by size, accuracy and decodability by problem and
method, variants of the hypernetwork, losses and right actions in two worlds, and what they look like."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from mesocosm.studies.charts import log_axis, training
from mesocosm.studies.interface import View, figure
from mesocosm.studies.modular.descent import SUPPORTS
from mesocosm.studies.modular.identification import conditions
from mesocosm.studies.modular.worlds import EMPTY, WALL

DOTS = {"size": 30, "opacity": 0.6}
TINY = 1e-33


@figure("Students without training loss")
def identified(view: View) -> alt.TopLevelMixin:
    """Alignment with the teacher and largest loss over unseen codes; one dot per student of all teachers."""
    table = view.table("students").filter("fitted", pl.col("trial") == "identification")
    table = table.select("condition", "seed", "alignment", pl.col("unseen").clip(TINY).alias("unseen"))
    y = log_axis("unseen", "largest loss on unseen codes", "~e")
    dots = alt.Chart().mark_circle(**DOTS).encode(x=alt.X("alignment:Q", scale=alt.Scale(domain=[0, 1])), y=y, tooltip=["seed", "alignment", "unseen"])
    panels = alt.layer(dots, data=table.sort("condition", "seed", "alignment", "unseen")).properties(width=140, height=140)
    return panels.facet(alt.Facet("condition:N", title=None, sort=list(conditions(4))), columns=4)


@figure("Alignment by gradient descent")
def alignment_by_support(view: View) -> alt.TopLevelMixin:
    """Students with twice the teacher's modules and units; one dot per replicate. The smallest and the mean alignment over the teacher's units."""
    table = view.table("descent").filter(pl.col("support") != "singles").rename({"alignment": "smallest", "mean_alignment": "mean"})
    long = table.unpivot(["smallest", "mean"], index=["support", "seed", "loss"], variable_name="over units", value_name="alignment")
    y = alt.Y("alignment:Q", scale=alt.Scale(zero=False))
    dots = (
        alt.Chart(long.sort("support", "over units", "seed"))
        .mark_circle(**DOTS)
        .encode(x=alt.X("support:N", title=None, sort=list(SUPPORTS)), y=y, tooltip=["seed", "loss"])
    )
    return dots.properties(width=150, height=200).facet(column=alt.Column("over units:N", title=None))


@figure("Accuracy by problem and method")
def accuracy_by_method(view: View) -> alt.TopLevelMixin:
    """After adaptation, on combinations known from training, on held-out ones, and with all modules active; one dot per replicate, bars at the means."""
    sets = {"known": "known", "held_out": "held out", "every": "all active"}
    table = view.table("accuracy").filter(pl.col("variant") == "usual").rename(sets)
    long = table.unpivot(list(sets.values()), index=["problem", "method", "seed"], variable_name="combinations", value_name="accuracy")
    x = alt.X("combinations:N", title=None, sort=list(sets.values()))
    colour = alt.Color("method:N", title=None)
    place = {"x": x, "xOffset": "method:N", "color": colour}
    dots = alt.Chart().mark_circle(**DOTS).encode(**place, y=alt.Y("accuracy:Q", scale=alt.Scale(zero=False)), tooltip=["seed", "accuracy"])
    means = alt.Chart().mark_tick(thickness=2).encode(**place, y=alt.Y("mean(accuracy):Q", title="accuracy"))
    layers = alt.layer(dots, means, data=long.sort("problem", "method", "combinations", "seed")).properties(width=170, height=180)
    return layers.facet(alt.Facet("problem:N", title=None), columns=3)


@figure("Decoding the codes")
def decodability(view: View) -> alt.TopLevelMixin:
    """R^2 of the codes of held-out combinations by ridge regression on adapted parameters, fitted on known combinations; one dot per replicate."""
    table = view.table("accuracy").filter(pl.col("variant") == "usual").select("problem", "method", "seed", "r2").sort("problem", "method", "seed")
    place = {"x": alt.X("problem:N", title=None), "xOffset": "method:N", "color": alt.Color("method:N", title=None)}
    dots = alt.Chart(table).mark_circle(**DOTS).encode(**place, y=alt.Y("r2:Q", title="R²"), tooltip=["seed", "method", "r2"])
    means = alt.Chart(table).mark_tick(thickness=2).encode(**place, y=alt.Y("mean(r2):Q", title="R²"))
    return (dots + means).properties(width=360, height=200)


@figure("Fewer points, fewer hidden units, or another start")
def variants(view: View) -> alt.TopLevelMixin:
    """Accuracy of linear hypernetworks on held-out combinations: the usual one, and three that differ in one thing; one dot per replicate."""
    table = view.table("accuracy").filter(pl.col("problem") == "k2", pl.col("method") == "linear").select("variant", "seed", "held_out")
    x = alt.X("variant:N", title=None, sort=["usual", "again", "few", "narrow"])
    y = alt.Y("held_out:Q", title="accuracy", scale=alt.Scale(zero=False))
    dots = alt.Chart(table.sort("variant", "seed")).mark_circle(**DOTS).encode(x=x, y=y, tooltip=["seed", "held_out"])
    means = alt.Chart(table.sort("variant", "seed")).mark_tick(thickness=2).encode(x=x, y=alt.Y("mean(held_out):Q", title="accuracy"))
    return (dots + means).properties(width=220, height=200)


@figure("More modules and units than the teacher's")
def many_modules(view: View) -> alt.TopLevelMixin:
    """Alignment of students that descend on single modules and pairs, by codes and by how many times the teacher's modules and hidden units they have: the
    mean over replicates, and their standard deviation below it.
    """
    table = view.table("descent").filter(pl.col("support") == "singles")
    means = table.group_by("codes", "modules", "hidden").agg(alignment=pl.col("alignment").mean(), deviation=pl.col("alignment").std(), students=pl.len())
    place = {"x": alt.X("modules:O", title="student modules over the teacher's", axis=alt.Axis(labelAngle=0)), "y": alt.Y("hidden:O", title="units", sort="-y")}
    squares = alt.Chart().mark_rect().encode(**place, color=alt.Color("alignment:Q", scale=alt.Scale(domain=[0.5, 1], clamp=True)), tooltip=["students:Q"])
    words = alt.Chart().mark_text(dy=-6).encode(**place, text=alt.Text("alignment:Q", format=".2f"))
    spread = alt.Chart().mark_text(dy=8, fontSize=9).encode(**place, text=alt.Text("deviation:Q", format=".2f"))
    layers = alt.layer(squares, words, spread, data=means.sort("codes", "hidden", "modules")).properties(width=220, height=120)
    return layers.facet(column=alt.Column("codes:N", title=None))


@figure("Preferences by method")
def preferences_by_method(view: View) -> alt.TopLevelMixin:
    """Half the squared error of action values, of known mixtures of preferences and of held-out ones; one dot per replicate, bars at the means."""
    sets = {"known_loss": "known", "held_out_loss": "held out"}
    return _imitated(view, "preferences", sets, "loss", width=130).facet(
        alt.Facet("support:N", title=None, sort=["random", "non-compositional", "connected", "disconnected"]), columns=4
    )


@figure("Goals by method")
def goals_by_method(view: View) -> alt.TopLevelMixin:
    """Right actions on the way to known goals and to held-out ones, and episodes with only right actions; one dot per replicate, bars at the means."""
    sets = {"known_accuracy": "actions, known", "held_out_accuracy": "actions, held out", "held_out_episodes": "episodes, held out"}
    return _imitated(view, "goals", sets, "share that is right", width=200).facet(alt.Facet("support:N", title=None), columns=2)


def _imitated(view: View, world: str, sets: dict[str, str], title: str, width: int) -> Any:
    """Columns of one world side by side, by method: dots for replicates, bars for means."""
    table = view.table("imitation").filter(pl.col("world").str.starts_with(world), ~pl.col("trial").str.contains("short|scaled")).rename(sets)
    table = table.with_columns(support=pl.col("world").str.strip_prefix(f"{world}-"))
    long = table.unpivot(list(sets.values()), index=["support", "method", "seed"], variable_name="of", value_name="value")
    place = {"x": alt.X("of:N", title=None, sort=list(sets.values())), "xOffset": "method:N", "color": alt.Color("method:N", title=None)}
    dots = alt.Chart().mark_circle(**DOTS).encode(**place, y=alt.Y("value:Q", title=title), tooltip=["seed", "value"])
    means = alt.Chart().mark_tick(thickness=2).encode(**place, y=alt.Y("mean(value):Q", title=title))
    return alt.layer(dots, means, data=long.sort("support", "method", "of", "seed")).properties(width=width, height=180)


@figure("A preference world and a goal world")
def two_worlds(view: View) -> alt.TopLevelMixin:
    """Objects by colour or kind, walls in black, and the path of the optimal agent: to objects that it likes, or to a goal in the top left quadrant.

    The path starts at the ring.
    """
    return alt.hconcat(*(_world(view, name) for name in ("preference", "goal"))).resolve_scale(color="independent")


def _world(view: View, name: str) -> alt.LayerChart:
    place = {"row": pl.col("cell") // pl.col("side"), "column": pl.col("cell") % pl.col("side")}
    kind = pl.when(pl.col("what") == WALL).then(pl.lit("wall")).when(pl.col("what") == EMPTY).then(pl.lit("floor")).otherwise(pl.format("kind {}", "what"))
    cells = view.table("cells").filter(pl.col("world") == name).with_columns(**place, kind=kind).select("row", "column", "kind").sort("row", "column")
    path = view.table("paths").filter(pl.col("world") == name).with_columns(**place).select("time", "row", "column").sort("time")
    side = int(view.table("cells").filter(pl.col("world") == name)["side"][0])
    axis = {"axis": None, "scale": alt.Scale(domain=list(range(side)))}
    where = {"x": alt.X("column:O", **axis), "y": alt.Y("row:O", **axis)}
    present = cells["kind"].unique().sort().to_list()
    fixed, hues = {"wall": "black", "floor": "#f2f2f2"}, iter(("#e45756", "#4c78a8", "#54a24b", "#f58518", "#b279a2", "#9d755d", "#72b7b2", "#eeca3b"))
    colours = [fixed.get(kind) or next(hues) for kind in present]
    squares = alt.Chart(cells).mark_rect().encode(**where, color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=present, range=colours)))
    line = alt.Chart(path).mark_line(color="black", strokeDash=[4, 3], point={"color": "black", "size": 25}).encode(**where, order="time:Q", tooltip=["time"])
    start = alt.Chart(path.head(1)).mark_point(color="black", size=160, strokeWidth=2).encode(**where)
    return alt.LayerChart(layer=[squares, line, start]).properties(width=260, height=260, title=name)


FIGURES = [
    identified,
    alignment_by_support,
    accuracy_by_method,
    decodability,
    variants,
    many_modules,
    preferences_by_method,
    goals_by_method,
    two_worlds,
    training,
]
