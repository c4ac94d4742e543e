"""Figures of the ensembles study: tables to Altair charts."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import polars as pl

from mesocosm.claims.intervals import t_interval
from mesocosm.studies.charts import log_axis
from mesocosm.studies.interface import View, figure

NOISES = {"full": "all noise", "function": "function noise", "kernel": "kernel noise", "interaction": "interaction"}
VARIANTS = ["gd", "gd-c", "gd-a", "gd-i"]
SEED_DOTS: dict[str, Any] = {"size": 25, "opacity": 0.45}


def named(table: pl.DataFrame) -> pl.DataFrame:
    """Add the name of each part of the variance as the column `noise`."""
    return table.filter(pl.col("part").is_in(list(NOISES))).with_columns(noise=pl.col("part").replace_strict(NOISES))


def noise_colour() -> alt.Color:
    """The colour of each part, the same in every figure."""
    return alt.Color("noise:N", title=None, scale=alt.Scale(domain=list(NOISES.values())))


@figure("Each part of the variance in the plane")
def maps(view: View) -> alt.TopLevelMixin:
    """Kernel models of width 256, first seed, on a square-root colour scale. Circles and squares are the training points."""
    table = view.table("maps").unpivot(on=list(NOISES), index=["network", "x", "y"], variable_name="part", value_name="variance")
    table = named(table).with_columns(share=pl.col("variance") / pl.col("variance").max().over("network", "part"))
    step = sorted(table["x"].unique().to_list())
    half = (step[1] - step[0]) / 2
    cells = table.with_columns(x0=pl.col("x") - half, x1=pl.col("x") + half, y0=pl.col("y") - half, y1=pl.col("y") + half)
    cells = cells.select("network", "noise", "x0", "x1", "y0", "y1", pl.col("share").round(3))
    points = view.table("points").join(cells.select("network", "noise").unique(), how="cross").sort("network", "noise", "point")
    both = pl.concat([cells, points.select("network", "noise", px="x", py="y", label=pl.col("label").cast(pl.Int8).cast(pl.String))], how="diagonal")
    x, y = (alt.X("x0:Q", title=None, scale=alt.Scale(domain=[-3, 3])), alt.Y("y0:Q", title=None, scale=alt.Scale(domain=[-3, 3])))
    colour = alt.Color("share:Q", title="variance / largest", scale=alt.Scale(scheme="viridis", type="sqrt"))
    square = alt.Chart().transform_filter("isValid(datum.x0)").mark_rect(aria=False).encode(x=x, x2="x1:Q", y=y, y2="y1:Q", color=colour)
    dots = alt.Chart().transform_filter("isValid(datum.px)").mark_point(filled=True, size=30, stroke="white", strokeWidth=0.7)
    dots = dots.encode(x="px:Q", y="py:Q", shape=alt.Shape("label:N", title="label"), fill=alt.value("crimson"))
    rows = alt.Row("network:N", title=None, sort=["one hidden layer", "one hidden layer, biases", "two hidden layers"])
    columns = alt.Column("noise:N", title=None, sort=list(NOISES.values()))
    return alt.layer(square, dots, data=both).properties(width=135, height=135).facet(column=columns, row=rows)


@figure("Variance by width")
def widths(view: View) -> alt.TopLevelMixin:
    """One hidden ReLU layer, one dot per seed. Dashed: predictions from one neuron (kernel noise, interaction) and infinite width (function noise)."""
    table = view.table("widths").unpivot(on=list(NOISES), index=["seed", "width"], variable_name="part", value_name="variance")
    table = named(table)
    limits = view.table("limits").join(table.select("width").unique(), how="cross")
    predicted = pl.concat(
        [
            limits.select("seed", "width", noise=pl.lit(NOISES["kernel"]), variance=pl.col("kernel") / pl.col("width")),
            limits.select("seed", "width", noise=pl.lit(NOISES["interaction"]), variance=pl.col("interaction") / pl.col("width")),
            limits.select("seed", "width", noise=pl.lit(NOISES["function"]), variance=pl.col("function")),
        ]
    )
    line = predicted.group_by("noise", "width").agg(pl.col("variance").mean()).sort("noise", "width")
    x = alt.X("width:Q", title="width n", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(values=sorted(table["width"].unique().to_list())))
    y = log_axis("variance", "variance, mean over test points")
    tooltip = ["noise", "seed", "width", "variance"]
    dots = alt.Chart(table.sort("noise", "seed", "width")).mark_circle(**SEED_DOTS).encode(x=x, y=y, color=noise_colour(), tooltip=tooltip)
    lines = alt.Chart(line).mark_line(strokeDash=[4, 3]).encode(x=x, y=y, color=noise_colour())
    return alt.layer(lines, dots).properties(width=520, height=320)


@figure("Trained ensembles and their kernel models")
def distances(view: View) -> alt.TopLevelMixin:
    """After full-batch gradient descent; one line per seed. The control compares gd with the model of gd-c."""
    names = {"gd": "gd and f^lin", "gd_c": "gd-c and f^lin-c", "gd_a": "gd-a and f_m + Q_ref(...)", "mismatched": "gd and f^lin-c (control)"}
    table = view.table("wide").unpivot(on=list(names), index=["seed", "width"], variable_name="pair", value_name="distance")
    table = table.with_columns(pl.col("pair").replace_strict(names)).sort("pair", "seed", "width")
    x = alt.X("width:Q", title="width n", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(values=sorted(table["width"].unique().to_list())))
    y = log_axis("distance", "distance / spread of the ensemble")
    colour = alt.Color("pair:N", title=None, sort=list(names.values()))
    line = alt.Chart(table).mark_line(opacity=0.5).encode(x=x, y=y, color=colour, detail="seed:N")
    dots = alt.Chart(table).mark_circle(**SEED_DOTS).encode(x=x, y=y, color=colour, tooltip=["pair", "seed", "width", "distance"])
    return alt.layer(line, dots).properties(width=520, height=260)


@figure("Detection by kernel models")
def kernel_detection(view: View) -> alt.TopLevelMixin:
    """AUROC of the variance for pictures of the other set: one dot per seed, the mean and its 95 % interval."""
    table = named(view.table("kernel_detection")).with_columns(data=pl.format("{} to {}", "inside", "outside"))
    return _forest(table.select("seed", "network", "noise", "data", "auroc"), "network", "noise", list(NOISES.values()))


@figure("Detection by trained ensembles")
def trained_detection(view: View) -> alt.TopLevelMixin:
    """Ten members, all variants at the same training loss: one dot per seed, the mean and its 95 % interval."""
    table = view.table("trained_detection").filter(pl.col("variant").is_in(VARIANTS))
    other = pl.when(pl.col("outside").is_in(table["inside"].unique().to_list())).then(pl.lit("the other set")).otherwise("outside")
    return _forest(table.select("seed", "variant", "auroc", outside=other, data=pl.format("trained on {}", "inside")), "outside", "variant", VARIANTS)


def _forest(table: pl.DataFrame, panel: str, group: str, order: list[str]) -> alt.TopLevelMixin:
    """Rows of dots with their mean and interval, one panel per setting."""
    keys = ["data", panel, group]
    groups = table.partition_by(keys, as_dict=True, maintain_order=True)
    intervals = {key: t_interval(rows["auroc"].to_numpy(), np.zeros(len(rows))) for key, rows in groups.items()}
    rows = [dict(zip(keys, key, strict=True)) | {"mean": i.estimate, "low": max(i.low, 0.0), "high": min(i.high, 1.0)} for key, i in intervals.items()]
    spread = pl.DataFrame(rows)
    both = pl.concat([table, spread], how="diagonal")
    y = alt.Y(f"{group}:N", title=None, sort=order)
    x = alt.X("auroc:Q", title="AUROC", scale=alt.Scale(zero=False))
    colour = alt.Color(f"{group}:N", title=None, sort=order, legend=None)
    dots = alt.Chart().transform_filter("isValid(datum.auroc)").mark_circle(**SEED_DOTS).encode(x=x, y=y, color=colour)
    bars = alt.Chart().transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", y=y, color=colour)
    ticks = alt.Chart().transform_filter("isValid(datum.mean)").mark_tick(thickness=3, size=12).encode(x="mean:Q", y=y, color=colour)
    chart = alt.layer(bars, ticks, dots, data=both).properties(width=230, height=alt.Step(20))
    return chart.facet(column=alt.Column("data:N", title=None), row=alt.Row(f"{panel}:N", title=None)).resolve_scale(x="shared")


@figure("The scale of the read-out")
def readouts(view: View) -> alt.TopLevelMixin:
    """The scale multiplies function noise and leaves kernel noise unchanged; mean over seeds."""
    table = view.table("kernel_readout").with_columns(data=pl.format("{} to {}", "inside", "outside"))
    mean = table.group_by("data", "network", "readout").agg(pl.col("auroc").mean()).sort("data", "network", "readout")
    x, y = alt.X("readout:Q", title="scale of the read-out"), alt.Y("auroc:Q", title="AUROC of all noise", scale=alt.Scale(zero=False))
    lines = alt.Chart(mean).mark_line(point=True).encode(x=x, y=y, color=alt.Color("network:N", title=None), tooltip=["network", "readout", "auroc"])
    return lines.encode(column=alt.Column("data:N", title=None)).properties(width=260, height=220)


@figure("Trained ensembles by read-out scale, width and depth")
def trained_sweep(view: View) -> alt.TopLevelMixin:
    """Rows give hidden layers and width; networks differ from the base in one aspect. All have the same training loss; one dot per seed, ticks at the mean."""
    scale = pl.when(pl.col("network").str.starts_with("readout")).then(pl.format("read-out × {}", "readout")).otherwise("network")
    table = view.table("sweep").with_columns(setting=pl.format("{}, {} of {}", scale, "depth", "width"))
    table = table.select("seed", "setting", "variant", "variance_inside", "auroc")
    order = table["setting"].unique(maintain_order=True).to_list()
    colour = alt.Color("variant:N", title=None, sort=VARIANTS)
    columns = {"variance_inside": ("variance inside", alt.Scale(type="log", nice=False, padding=8)), "auroc": ("AUROC, other set", alt.Scale(zero=False))}
    panels = []
    for column, (title, scale) in columns.items():
        x = alt.X(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(format="~g", tickCount=5))
        y = alt.Y("setting:N", title=None, sort=order)
        place = alt.YOffset("variant:N", sort=VARIANTS)
        dots = alt.Chart(table).mark_circle(**SEED_DOTS).encode(x=x, y=y, yOffset=place, color=colour, tooltip=["setting", "variant", "seed", column])
        means = alt.Chart(table).mark_tick(thickness=3, size=12).encode(x=alt.X(f"mean({column}):Q", title=title), y=y, yOffset=place, color=colour)
        panels.append(alt.layer(dots, means).properties(width=250, height=alt.Step(13)))
    return alt.hconcat(*panels)


@figure("Scores inside and outside")
def histograms(view: View) -> alt.TopLevelMixin:
    """Predictive variance of trained ensembles, all seeds together."""
    table = view.table("scores").sort("inside", "variant", "set", "bin")
    x, y = alt.X("low:Q", title="log10 of the predictive variance"), alt.Y("share:Q", title="share of pictures")
    steps = alt.Chart(table).mark_line(interpolate="step").encode(x=x, y=y, color=alt.Color("set:N", title=None), tooltip=["set", "low", "share"])
    panels = steps.encode(row=alt.Row("variant:N", title=None, sort=VARIANTS), column=alt.Column("inside:N", title="trained on"))
    return panels.properties(width=260, height=110)


FIGURES = [maps, widths, distances, kernel_detection, readouts, trained_detection, trained_sweep, histograms]
