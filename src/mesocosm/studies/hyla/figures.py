"""Figures of the hyla study: generalisation by what is held out and by size, latent codes in the plane, decodability by layer, similarity of rules,
a matrix, perplexities.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from mesocosm.studies.charts import training
from mesocosm.studies.hyla.config import WithSweeps
from mesocosm.studies.hyla.tables import percent
from mesocosm.studies.interface import View, figure

SEED_DOTS = {"size": 30, "opacity": 0.6}


@figure("Generalisation by what is held out")
def held_out(view: View) -> alt.TopLevelMixin:
    """R² on fuzzy logic. One dot per split; lines join means. Left: by the fraction of combinations that is held out; right: by the number of tokens."""
    table = view.table("explained").filter(variables=view.config.fuzzy.variables)
    length, fraction = view.config.fuzzy.length, view.config.fuzzy.held_out
    several = (pl.col("held_out_fraction").n_unique().over("variant") > 1) | (table["held_out_fraction"].n_unique() == 1)
    by_fraction = _scores(table.filter((pl.col("length") == length) & several), "held_out_fraction", "fraction held out", ".1f")
    lengths = (pl.col("length").n_unique().over("variant") > 1) | (pl.lit(table["length"].n_unique()) == 1)
    by_length = _scores(table.filter((pl.col("held_out_fraction") == fraction) & lengths), "length", "context and query tokens", "d")
    return alt.hconcat(by_fraction, by_length)


def _scores(table: pl.DataFrame, x: str, title: str, number: str, score: str = "R²") -> Any:
    names = {"train": "training's combinations", "held_out": "held-out combinations"}
    long = table.select("seed", "variant", x, *names).unpivot(list(names), index=["seed", "variant", x], variable_name="set", value_name="score")
    long = long.with_columns(pl.col("set").replace(names)).sort("set", "variant", x, "seed")
    across = alt.X(f"{x}:Q", title=title, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(values=sorted(set(table[x])), format=number))
    up = alt.Y("score:Q", title=score, scale=alt.Scale(zero=False))
    colour = alt.Color("variant:N", title="attention")
    dots = alt.Chart().mark_circle(**SEED_DOTS).encode(x=across, y=up, color=colour, tooltip=["seed", "variant", x, alt.Tooltip("score", format=".3f")])
    lines = alt.Chart().mark_line().encode(x=across, y=alt.Y("mean(score):Q"), color=colour)
    return alt.layer(lines, dots, data=long).properties(width=200, height=220).facet(column=alt.Column("set:N", title=None))


@figure("R² of each layer")
def variants(view: View) -> alt.TopLevelMixin:
    """Fuzzy logic, one dot per split, ticks at the mean: combinations of training, held-out combinations of known terms, and unknown terms."""
    names = {"train": "training's combinations", "held_out": "held-out combinations", "unknown": "unknown terms"}
    config = view.config.fuzzy
    table = view.table("explained").filter(length=config.length, held_out_fraction=config.held_out, variables=config.variables)
    long = table.select("seed", "variant", *names).unpivot(list(names), index=["seed", "variant"], variable_name="set", value_name="r2")
    long = long.with_columns(pl.col("set").replace(names)).sort("set", "variant", "seed")
    across = alt.X("r2:Q", title="R²")
    dots = alt.Chart().mark_circle(**SEED_DOTS).encode(x=across, y=alt.Y("variant:N", title=None), tooltip=["seed", alt.Tooltip("r2", format=".3f")])
    ticks = alt.Chart().mark_tick(thickness=2).encode(x=alt.X("mean(r2):Q"), y="variant:N")
    panels = alt.Column("set:N", title=None, sort=list(names.values()))
    return alt.layer(ticks, dots, data=long).properties(width=200, height=alt.Step(24)).facet(column=panels).resolve_scale(x="independent")


@figure("Latent codes")
def plane(view: View) -> alt.TopLevelMixin:
    """Codes of the last layer in two dimensions (t-SNE), first seed. On fuzzy logic, the last query of a held-out function looks at itself, and the colour is
    its first term; on Raven matrices, the last answer looks at the panels before it, and the colour is its rule.
    """
    table = view.table("plane")
    charts = []
    for trial in sorted(set(table["trial"])):
        title = "rule" if "raven" in trial else "first term"
        x, y = (alt.X("x:Q", title=None, axis=None), alt.Y("y:Q", title=None, axis=None))
        dots = alt.Chart(table.filter(pl.col("trial") == trial)).mark_circle(size=18, opacity=0.7)
        colour = alt.Color("label:N", title=title, scale=alt.Scale(scheme="tableau20"))
        charts.append(dots.encode(x=x, y=y, color=colour, tooltip=["label"]).properties(width=240, height=240, title=trial.removeprefix("codes-")))
    return alt.hconcat(*charts).resolve_scale(color="independent")


@figure("Clusters of codes by layer")
def clusters(view: View) -> alt.TopLevelMixin:
    """Silhouettes of codes on Raven matrices, grouped by the rule and by the symbol to predict: 1 for separate clusters, 0 for none. One dot per seed, lines
    are means.
    """
    names = {"rule_silhouette": "rule", "target_silhouette": "symbol"}
    table = (
        view.table("causes").select("seed", pl.col("layer") + 1, *names).unpivot(list(names), index=["seed", "layer"], variable_name="by", value_name="score")
    )
    x, y = alt.X("layer:O", axis=alt.Axis(labelAngle=0)), alt.Y("score:Q", title="silhouette")
    dots = (
        alt.Chart().mark_circle(**SEED_DOTS).encode(x=x, y=y, color=alt.Color("by:N", title="grouped by"), tooltip=["seed", alt.Tooltip("score", format=".3f")])
    )
    lines = alt.Chart().mark_line().encode(x=x, y=alt.Y("mean(score):Q"), color="by:N")
    rows = table.with_columns(pl.col("by").replace(names)).sort("by", "layer", "seed")
    return alt.layer(lines, dots, data=rows).properties(width=200, height=200)


@figure("Decoding by layer")
def decoding(view: View) -> alt.TopLevelMixin:
    """Macro F1 on held-out combinations, of probes for the terms or the rule. One dot per seed, lines are means; grey: probes fitted on other examples'
    labels.
    """
    table = (
        view.table("decoded")
        .with_columns(layer=pl.col("layer") + 1, panel=pl.col("trial").str.strip_prefix("codes-"))
        .sort("panel", "network", "layer", "seed")
    )
    x, y = alt.X("layer:O", axis=alt.Axis(labelAngle=0)), alt.Y("f1:Q", title="macro F1", scale=alt.Scale(zero=False))
    dots = alt.Chart().mark_circle(**SEED_DOTS).encode(x=x, y=y, color="network:N", tooltip=["seed", "network", alt.Tooltip("f1", format=".3f")])
    lines = alt.Chart().mark_line().encode(x=x, y=alt.Y("mean(f1):Q"), color="network:N")
    chance = alt.Chart().mark_line(color="gray", strokeDash=[4, 3]).encode(x=x, y=alt.Y("mean(shuffled_f1):Q"))
    charts = alt.layer(chance, lines, dots, data=table).properties(width=180, height=200)
    return charts.facet(column=alt.Column("panel:N", title=None)).resolve_scale(x="independent")


@figure("Similarity of rules")
def rules(view: View) -> alt.TopLevelMixin:
    """Cosine of the mean codes of two rules in the last layer, minus the mean over rules; mean over seeds."""
    table = view.table("similarity", trial="codes-raven-softmax").group_by("first", "second", maintain_order=True).agg(pl.col("cosine").mean())
    order = table["first"].unique(maintain_order=True).to_list()
    x, y = alt.X("first:N", title=None, sort=order), alt.Y("second:N", title=None, sort=order)
    base = alt.Chart(table).encode(x=x, y=y, tooltip=["first", "second", alt.Tooltip("cosine", format=".2f")])
    colour = alt.Color("cosine:Q", scale=alt.Scale(scheme="redblue", domain=[-1, 1]))
    squares = base.mark_rect().encode(color=colour)
    return alt.layer(squares, base.mark_text(fontSize=9).encode(text=alt.Text("cosine:Q", format=".1f"))).properties(width=alt.Step(40), height=alt.Step(28))


@figure("Rules alike, by training")
def rules_by_matrices(view: View) -> alt.TopLevelMixin:
    """Cosine of the mean codes of addition and another rule in the last layer, after different numbers of matrices. One dot per split, lines are means."""
    table = view.table("similarity").filter((pl.col("first") == "addition") & pl.col("second").is_in(["difference", "constant"]))
    x = _matrices_axis(table)
    y = alt.Y("cosine:Q", title="cosine with addition", scale=alt.Scale(domain=[-1, 1]))
    colour = alt.Color("second:N", title="rule")
    dots = alt.Chart().mark_circle(**SEED_DOTS).encode(x=x, y=y, color=colour, tooltip=["seed", "second", alt.Tooltip("cosine", format=".2f")])
    lines = alt.Chart().mark_line().encode(x=x, y=alt.Y("mean(cosine):Q"), color=colour)
    rows = table.select("seed", "second", "matrices", "cosine").sort("second", "matrices", "seed")
    return alt.layer(lines, dots, data=rows).properties(width=260, height=200)


def _matrices_axis(table: pl.DataFrame) -> alt.X:
    values = sorted(set(table["matrices"]))
    return alt.X("matrices:Q", title="training's matrices", scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(values=values, format="~s"))


@figure("Raven matrices by training and size")
def curves(view: View) -> alt.TopLevelMixin:
    """Fraction of held-out matrices that are solved. One dot per split, lines join means. Left: by the number of training's matrices, each with a schedule of
    its own; right: by the width of the tokens, with as many more heads.
    """
    config = view.config
    network, judged = config.raven_network, config.raven_training.steps * config.raven_training.batch_size
    heads = pl.col("heads") * network.dim == pl.col("width") * network.heads
    judged_size = {"features": config.raven.features, "layers": network.layers, "tied": False, "copies": 0}
    others = [name for name, held_out in _by_fraction(config).items() if held_out != config.raven.held_out]
    table = view.table("solved").filter(heads & pl.col("variant").is_in(config.scaled) & ~pl.col("trial").is_in(others), **judged_size)
    columns = ["seed", "variant", "matrices", "width", "held_out"]
    y = alt.Y("held_out:Q", title="held-out matrices solved", scale=alt.Scale(domainMin=0))
    colour = alt.Color("variant:N", title="attention")

    def panel(rows: pl.DataFrame, x: alt.X) -> Any:
        dots = alt.Chart().mark_circle(**SEED_DOTS).encode(x=x, y=y, color=colour, tooltip=[*columns[:4], alt.Tooltip("held_out", format=".3f")])
        lines = alt.Chart().mark_line().encode(x=x, y=alt.Y("mean(held_out):Q"), color=colour)
        return alt.layer(lines, dots, data=rows.select(columns).sort(columns)).properties(width=240, height=220)

    widths = table.filter(matrices=judged)
    width = alt.X(
        "width:Q",
        title="width of the tokens",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(values=sorted(set(widths["width"])), format="d"),
    )
    by_matrices = table.filter(width=network.dim)
    return alt.hconcat(panel(by_matrices, _matrices_axis(by_matrices)), panel(widths, width))


def _by_fraction(config: WithSweeps) -> dict[str, float]:
    """The trials on Raven matrices that differ in nothing but the layer and the fraction of the multisets of rules held out, and that fraction."""
    found = {f"raven-{name}": config.raven.held_out for name in ("softmax", "hyla")}
    return found | {f"raven-{name}-held-{percent(fraction)}": fraction for fraction in config.raven_held_outs for name in ("softmax", "hyla")}


@figure("Raven matrices by what is held out")
def multisets_held_out(view: View) -> alt.TopLevelMixin:
    """Fraction of matrices that are solved, by the fraction of the multisets of rules that is held out. One dot per split, lines join means."""
    fractions = _by_fraction(view.config)
    table = view.table("solved").filter(pl.col("trial").is_in(list(fractions)))
    return _scores(table.with_columns(fraction=pl.col("trial").replace_strict(fractions)), "fraction", "fraction held out", ".2f", "matrices solved")


@figure("Perplexity of decoders")
def perplexities(view: View) -> alt.TopLevelMixin:
    """Held-out text, one dot per split, ticks at the mean; a token is a byte or a frequent pair."""
    table = view.table("perplexity").select("seed", "variant", "perplexity").sort("variant", "seed")
    x, y = alt.X("perplexity:Q", title="perplexity per token", scale=alt.Scale(zero=False)), alt.Y("variant:N", title=None)
    dots = alt.Chart(table).mark_circle(**SEED_DOTS).encode(x=x, y=y, tooltip=["seed", "variant", alt.Tooltip("perplexity", format=".2f")])
    ticks = alt.Chart(table).mark_tick(thickness=2).encode(x=alt.X("mean(perplexity):Q"), y=y)
    return alt.layer(ticks, dots).properties(width=360, height=alt.Step(28))


@figure("Matrices and their answers")
def matrices(view: View) -> alt.TopLevelMixin:
    """Matrices with held-out combinations of rules, first seed, as the network sees them: in each column, the features are in another order. The last panel
    is the answer, with the network's in brackets.
    """
    table = view.table("matrix", trial="raven-softmax")
    table = table.filter(pl.col("seed") == table["seed"].min())
    last = (pl.col("row") == 2) & (pl.col("column") == 2)
    text = pl.when(last).then(pl.format("{} ({})", "symbol", "predicted")).otherwise(pl.col("symbol").cast(pl.String))
    kind = pl.when(last).then(pl.lit("answer")).otherwise(pl.lit("shown"))
    line = pl.col("row") * (pl.col("place").max() + 2) + pl.col("place")
    shown = table.with_columns(text=text, kind=kind, line=line, panel=pl.col("example") + 1).sort("example", "row", "column", "place")
    x, y = alt.X("column:O", title=None, axis=None), alt.Y("line:Q", axis=None, scale=alt.Scale(reverse=True))
    words = alt.Chart(shown).mark_text(fontSize=14).encode(x=x, y=y, text="text:N", color=alt.Color("kind:N", title=None))
    return words.properties(width=180, height=170).facet(column=alt.Column("panel:N", title=None))


FIGURES = [held_out, variants, plane, clusters, decoding, rules, rules_by_matrices, curves, multisets_held_out, matrices, perplexities, training]
