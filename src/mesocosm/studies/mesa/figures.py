"""Figures of the mesa study: losses, weights before and after compression, and probes."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.studies.charts import log_axis, training
from mesocosm.studies.interface import View, figure
from mesocosm.studies.mesa.tables import PositionLoss

SEED_DOTS = {"size": 28, "opacity": 0.6}
MOST_CELLS = 4800  # Altair draws up to 5000 rows


@figure("Loss by network")
def loss_by_network(view: View) -> alt.TopLevelMixin:
    """Test loss on fresh systems; one dot per seed, ticks at the mean. Dashed: in-context regression without a network."""
    losses = view.table("loss").filter(~pl.col("trial").str.contains("fixed|fresh|contracting")).select("trial", "seed", "loss")
    order = losses.group_by("trial").agg(pl.col("loss").mean()).sort("loss", descending=True)["trial"].to_list()
    references = view.table("reference_position_loss").select(
        pl.col("gradient_step").mean().alias("one gradient step"), pl.col("ridge").mean().alias("ridge regression")
    )
    rules = references.unpivot(variable_name="reference", value_name="loss")
    if view.has("polynomial"):
        learned = view.table("polynomial").filter(pl.col("steps") == pl.col("steps").max())
        rules = pl.concat([rules, learned.select(pl.lit("learned polynomial, 6 steps").alias("reference"), pl.col("learned").mean().alias("loss"))])
    x = alt.X("loss:Q", title="test loss, mean over positions", scale=alt.Scale(type="log", nice=False, padding=12))
    y = alt.Y("trial:N", title=None, sort=order)
    dots = alt.Chart(losses).mark_circle(**SEED_DOTS).encode(x=x, y=y, tooltip=["trial", "seed", alt.Tooltip("loss", format=".4f")])
    means = alt.Chart(losses).mark_tick(thickness=3).encode(x=alt.X("mean(loss):Q"), y=y)
    lines = alt.Chart(rules).mark_rule(strokeDash=[4, 3]).encode(x="loss:Q", color=alt.Color("reference:N", title="reference"), tooltip=["reference", "loss"])
    return alt.layer(lines, means, dots).properties(width=520, height=alt.Step(34))


@figure("Loss by position")
def loss_by_position(view: View) -> alt.TopLevelMixin:
    """Mean over seeds; bands span the seeds. After n = 10 pairs, ridge regression has identified the system; one gradient step never does."""
    losses = view.table(PositionLoss.name).filter(~pl.col("trial").str.contains("fixed|fresh|contracting"))
    networks = losses.group_by("trial", "position").agg(loss=pl.col("network").mean(), low=pl.col("network").min(), high=pl.col("network").max())
    reference = view.table("reference_position_loss").group_by("position").agg(pl.col("ridge", "gradient_step").mean())
    lines = reference.unpivot(index="position", variable_name="reference", value_name="loss").with_columns(pl.col("reference").str.replace("_", " "))
    x, y = alt.X("position:Q", title="position in the sequence"), log_axis("loss", "test loss")
    colour = alt.Color("trial:N", title="network", legend=alt.Legend(symbolType="stroke", symbolOpacity=1))
    curves = alt.Chart(networks.sort("trial", "position")).mark_line().encode(x=x, y=y, color=colour)
    bands = alt.Chart(networks).mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    dashes = alt.StrokeDash("reference:N", title="reference", scale=alt.Scale(range=[[2, 3], [7, 3]]))
    dashed = alt.Chart(lines.sort("reference", "position")).mark_line(color="gray").encode(x=x, y=y, strokeDash=dashes)
    return alt.layer(bands, curves, dashed).properties(width=520, height=320)


@figure("Weights before and after compression")
def weights(view: View) -> alt.TopLevelMixin:
    """Weight products of one trained layer, first seed: query-key (row: query channel, column: key channel) and value-output (row: channel read, column:
    channel written), each divided by its largest weight. Below: one number per 10 x 10 block. Gradient descent uses one block of each.
    """
    whole = view.table("products", trial="linear-1").select("product", "head", "row", "column", "value", form=pl.lit("trained"))
    seed = view.table("products", trial="linear-1")["seed"][0]
    blocks = view.table("block_scalars", trial="linear-1", seed=seed)
    width = whole["row"].n_unique() // 4
    inside = pl.DataFrame({"i": range(width)})
    small = (
        blocks.join(inside, how="cross")
        .with_columns(row=pl.col("row") * width + pl.col("i"), column=pl.col("column") * width + pl.col("i"))
        .select("product", "head", "row", "column", "value", form=pl.lit("compressed"))
    )
    limits = whole.group_by("product", "head").agg(limit=pl.col("value").abs().max())
    cells = pl.concat([whole, small.cast(whole.schema)]).join(limits, on=["product", "head"])
    cells = cells.with_columns(share=pl.col("value") / pl.col("limit")).filter(pl.col("share").abs() > 0.02)
    cells = cells.sort(pl.col("share").abs(), descending=True).head(MOST_CELLS)
    cells = cells.sort("form", "product", "head", "row", "column").with_columns(panel=pl.format("{}, head {}", "product", pl.col("head") + 1))
    x, y = alt.X("column:O", title=None, axis=None), alt.Y("row:O", title=None, axis=None)
    colour = alt.Color("share:Q", title="weight / largest", scale=alt.Scale(domain=[-1, 1], domainMid=0))
    tooltip = ["panel", "form", "row", "column", alt.Tooltip("value", format=".4f")]
    squares = alt.Chart(cells).mark_rect().encode(x=x, y=y, color=colour, tooltip=tooltip).properties(width=150, height=150)
    return squares.facet(column=alt.Column("panel:N", title=None), row=alt.Row("form:N", title=None, sort=["trained", "compressed"]))


@figure("A second training and the compression of the first")
def second_training(view: View) -> alt.TopLevelMixin:
    """Losses of the network, of the average of its weight products with the first training's compression, and of that compression alone."""
    table = view.table("interpolation").select("seed", "step", "network", "interpolated", "compressed")
    long = table.unpivot(index=["seed", "step"], variable_name="predictor", value_name="loss").sort("predictor", "seed", "step")
    x, colour = alt.X("step:Q", title="step of the second training"), alt.Color("predictor:N", title=None)
    tooltip = ["predictor", "seed", "step", "loss"]
    lines = alt.Chart(long).mark_line(opacity=0.7).encode(x=x, y=log_axis("loss", "test loss"), color=colour, detail="seed:N", tooltip=tooltip)
    return lines.properties(width=520, height=260)


@figure("Linear probes of each layer")
def probes(view: View) -> alt.TopLevelMixin:
    """Held-out losses in the deepest network, mean over seeds; layer 0 is the input."""
    table = view.table("probes").filter(~pl.col("trial").str.contains("contracting"))
    table = table.filter(pl.col("layers") == pl.col("layers").max())
    long = (
        table.select("seed", "layer", "position", pl.col("target").alias("next state"), pl.col("preconditioned").alias("preconditioned input"))
        .unpivot(index=["seed", "layer", "position"], variable_name="probe", value_name="loss")
        .filter(pl.col("position") >= 10)
    )
    mean = long.group_by("probe", "layer", "position").agg(pl.col("loss").mean()).sort("probe", "position", "layer")
    x, y = alt.X("layer:O", title="after layer"), log_axis("loss", "held-out probe loss")
    colour = alt.Color("position:Q", title="position", scale=alt.Scale(scheme="viridis"))
    line = alt.Chart().mark_line(point=True).encode(x=x, y=y, color=colour, detail="position:N", tooltip=["probe", "layer", "position", "loss"])
    return alt.layer(line, data=mean).properties(width=250, height=240).facet(column=alt.Column("probe:N", title=None)).resolve_scale(y="independent")


@figure("What tokens hold after the first layer")
def binding(view: View) -> alt.TopLevelMixin:
    """Held-out errors of linear probes for earlier observations, of networks that see one observation per token; mean over seeds, points are seeds."""
    table = view.table("binding").filter((pl.col("layer") == 1) & ~pl.col("trial").str.contains("dim|few-shot")).select("trial", "seed", "back", "error")
    x, y = alt.X("back:O", title="tokens before the current one"), log_axis("error", "error of the probe")
    colour = alt.Color("trial:N", title="network")
    points = alt.Chart(table).mark_circle(opacity=0.4, size=18).encode(x=x, y=y, color=colour, tooltip=["trial", "seed", "back", "error"])
    mean = alt.Chart(table.group_by("trial", "back").agg(pl.col("error").mean()).sort("trial", "back")).mark_line().encode(x=x, y=y, color=colour)
    return alt.layer(points, mean).properties(width=480, height=280)


@figure("Loss by position, one observation per token")
def raw_loss_by_position(view: View) -> alt.TopLevelMixin:
    """Mean test loss over seeds of networks that see one observation per token; bands span the seeds. Dashed: ridge regression in context."""
    losses = view.table("raw_curve").filter(~pl.col("trial").str.contains("dim|few-shot|partial|nonlinear"))
    networks = losses.group_by("trial", "position").agg(pl.col("loss").mean(), low=pl.col("loss").min(), high=pl.col("loss").max()).sort("trial", "position")
    x, y = alt.X("position:Q", title="position in the sequence"), log_axis("loss", "test loss")
    colour = alt.Color("trial:N", title="network", legend=alt.Legend(symbolType="stroke", symbolOpacity=1))
    curves = alt.Chart(networks).mark_line().encode(x=x, y=y, color=colour, tooltip=["trial", "position", "loss"])
    bands = alt.Chart(networks).mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    ridge = view.table("reference_position_loss").group_by("position").agg(loss=pl.col("ridge").mean()).sort("position")
    dashed = alt.Chart(ridge).mark_line(color="gray", strokeDash=[4, 3]).encode(x=x, y=y)
    return alt.layer(bands, curves, dashed).properties(width=520, height=320)


@figure("Two algorithms over the dimension")
def dimensions(view: View) -> alt.TopLevelMixin:
    """Test losses per component without training, on sequences of four times the dimension; mean over replicates, points are replicates."""
    table = view.table("dimension").select("seed", "dim", "noise", pl.col("least_squares").alias("ridge regression"), pl.col("kernel").alias("softmax kernel"))
    long = table.unpivot(index=["seed", "dim", "noise"], variable_name="algorithm", value_name="loss")
    x, y = alt.X("dim:Q", title="dimension"), log_axis("loss", "test loss per component")
    colour, dash = alt.Color("algorithm:N", title=None), alt.StrokeDash("noise:O", title="noise")
    points = alt.Chart(long).mark_circle(opacity=0.4, size=18).encode(x=x, y=y, color=colour, tooltip=["algorithm", "seed", "dim", "noise", "loss"])
    mean = long.group_by("algorithm", "dim", "noise").agg(pl.col("loss").mean()).sort("algorithm", "noise", "dim")
    return alt.layer(points, alt.Chart(mean).mark_line().encode(x=x, y=y, color=colour, strokeDash=dash)).properties(width=500, height=280)


@figure("Few-shot regression by a network trained on systems")
def few_shots(view: View) -> alt.TopLevelMixin:
    """Mean losses over seeds at every pair: of the network with three prompts, and of ridge regression on all neighbouring tokens of the plain prompt."""
    table = view.table("few_shot")
    names = {"plain": "plain", "separator": "tuned separator", "prefix": "tuned separator and prefix"}
    parts = [table.filter(pl.col("prompt") == prompt).select("pair", pl.col("one").alias("loss"), curve=pl.lit(name)) for prompt, name in names.items()]
    plain = table.filter(pl.col("prompt") == "plain")
    parts.append(plain.select("pair", pl.col("neighbours").alias("loss"), curve=pl.lit("ridge regression")))
    parts.append(plain.select("pair", pl.col("two").alias("loss"), curve=pl.lit("plain, two tasks")))
    mean = pl.concat(parts).group_by("curve", "pair").agg(pl.col("loss").mean()).sort("curve", "pair")
    x, y, colour = alt.X("pair:Q", title="pair"), alt.Y("loss:Q", title="loss"), alt.Color("curve:N", title=None)
    return alt.Chart(mean).mark_line().encode(x=x, y=y, color=colour, tooltip=["curve", "pair", "loss"]).properties(width=520, height=280)


@figure("Layers replaced by linear attention")
def replaced_layers(view: View) -> alt.TopLevelMixin:
    """Test losses of softmax networks with one layer replaced by a pupil, over the whole network's; dots are seeds, ticks their mean."""
    groups = view.table("distilled").group_by("dim", "layer", "pupil", "seed").agg(pl.col("replaced").mean() / pl.col("whole").mean())
    table = groups.with_columns(place=pl.format("layer {} by {}", "layer", "pupil")).sort("place", "dim", "seed")
    x, y = alt.X("replaced:Q", title="loss over the whole network's", scale=alt.Scale(zero=False)), alt.Y("place:N", title=None)
    row = alt.Row("dim:O", title="dimension")
    dots = alt.Chart().mark_circle(**SEED_DOTS).encode(x=x, y=y, tooltip=["dim", "place", "seed", "replaced"])
    means = alt.Chart().mark_tick(thickness=3).encode(x=alt.X("mean(replaced):Q"), y=y)
    return alt.layer(means, dots, data=table).properties(width=420, height=alt.Step(26)).facet(row=row)


@figure("Parity beyond the training length")
def parity(view: View) -> alt.TopLevelMixin:
    """Accuracy of the parity of all bits of strings that are as long as in training, and longer; dots are seeds, lines their mean."""
    names = {"parity-signed": "gates between -1 and 1", "parity-unsigned": "gates between 0 and 1"}
    table = view.table("parity").with_columns(gates=pl.col("trial").replace_strict(names)).select("gates", "seed", "factor", "accuracy")
    x, y = alt.X("factor:O", title="length, in training lengths"), alt.Y("accuracy:Q", scale=alt.Scale(domain=[0.4, 1.0]))
    colour = alt.Color("gates:N", title=None)
    dots = alt.Chart(table).mark_circle(**SEED_DOTS).encode(x=x, y=y, color=colour, tooltip=["gates", "seed", "factor", "accuracy"])
    return alt.layer(dots, alt.Chart(table).mark_line().encode(x=x, y=alt.Y("mean(accuracy):Q"), color=colour)).properties(width=500, height=280)


@figure("Steps of the solver")
def solver(view: View) -> alt.TopLevelMixin:
    """Loss and mean number of steps of networks of mesa layers on recall, under a tolerance of the solver or a number of steps; points are seeds, lines their
    mean from one bound to the next. Each panel has its own scale of losses."""
    table = view.table("solver").with_columns(problem=pl.col("trial").str.strip_suffix("-mesa").str.replace("-", " "))
    stop = pl.when(pl.col("bound").str.ends_with("steps")).then(pl.lit("a number of steps")).otherwise(pl.lit("a tolerance"))
    table = table.with_columns(stop=stop).select("problem", "stop", "bound", "seed", "steps", "loss")
    mean = table.group_by("problem", "stop", "bound").agg(pl.col("steps", "loss").mean()).with_columns(pl.lit(None, pl.Int64).alias("seed"))
    rows = pl.concat([part.select("problem", "stop", "bound", pl.col("seed").cast(pl.Int64), "steps", "loss") for part in (table, mean)])
    x = alt.X("steps:Q", title="mean steps", scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(values=[1, 2, 3, 5, 10, 20, 30]))
    y = alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False))
    colour, tooltip = alt.Color("stop:N", title="stopped by"), ["stop", "bound", "seed", "steps", "loss"]
    dots = alt.Chart().mark_circle(**SEED_DOTS).encode(x=x, y=y, color=colour, tooltip=tooltip).transform_filter("isValid(datum.seed)")
    lines = alt.Chart().mark_line(point=True).encode(x=x, y=y, color=colour, tooltip=tooltip).transform_filter("!isValid(datum.seed)")
    panels = alt.layer(dots, lines, data=rows).properties(width=300, height=260).facet(column=alt.Column("problem:N", title=None))
    return panels.resolve_scale(y="independent")


@figure("Decoders on text")
def decoders(view: View) -> alt.TopLevelMixin:
    """Loss on held-out text in each eighth of a window: every seed, and their mean."""
    table = view.table("language").with_columns(decoder=pl.col("trial").str.strip_prefix("language-"))
    seeds = table.group_by("decoder", "eighth", "seed").agg(pl.col("loss").mean())
    mean = seeds.group_by("decoder", "eighth").agg(pl.col("loss").mean()).with_columns(pl.lit(None, pl.Int64).alias("seed"))
    rows = pl.concat([part.select("decoder", "eighth", pl.col("seed").cast(pl.Int64), "loss") for part in (seeds, mean)])
    x, y = alt.X("eighth:O", title="eighth of the window"), alt.Y("loss:Q", title="loss, nats a token", scale=alt.Scale(zero=False))
    colour, tooltip = alt.Color("decoder:N"), ["decoder", "eighth", "seed", "loss"]
    dots = alt.Chart().mark_circle(**SEED_DOTS).encode(x=x, y=y, color=colour, tooltip=tooltip).transform_filter("isValid(datum.seed)")
    lines = alt.Chart().mark_line(point=True).encode(x=x, y=y, color=colour, tooltip=tooltip).transform_filter("!isValid(datum.seed)")
    return alt.layer(dots, lines, data=rows).properties(width=520, height=300)


FIGURES = [
    *(loss_by_network, loss_by_position, weights, second_training, probes),
    *(raw_loss_by_position, binding, replaced_layers, dimensions, few_shots, solver, parity, decoders),
    training,
]
