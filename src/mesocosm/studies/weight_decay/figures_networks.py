"""Figures of the study's transformers: ranks against decay, the panels of the paper's Fig. 2, and perplexity by decay, where the paper has its Table 1."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.claims.replicates import NotJudged
from mesocosm.studies.charts import log_axis
from mesocosm.studies.interface import View, figure

PRODUCTS = {"QK": "W_Kᵀ W_Q", "VO": "P W_V"}
TASKS = {"recall": "associative recall", "language": "text", "pictures": "digits"}
DECAYS = alt.Color("attention:O", title="decay of attention", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(symbolType="stroke", symbolOpacity=1))
PANELS = (
    ("QK", "rank", "pseudo rank of W_Kᵀ W_Q"),
    ("VO", "rank", "pseudo rank of P W_V"),
    ("VO", "difference", "imbalance, ‖PᵀP − W_V W_Vᵀ‖"),
    ("VO", "gap", "gap of P W_V to the nuclear norm"),
)
SMALLEST = 1e-6  # below it, rounding in float32 dominates a gap


def _usual(view: View, name: str) -> pl.DataFrame:
    """Rows of the networks in which only the decay of attention is varied."""
    usual = {task: getattr(view.config, task).others for task in TASKS}
    kept = view.table(name).filter(pl.col("elsewhere") == pl.col("task").replace_strict(usual, return_dtype=pl.Float64))
    if kept.is_empty():
        raise NotJudged("no network was trained")
    return kept


@figure("Rank and balance during associative recall")
def recall(view: View) -> alt.TopLevelMixin:
    """Fig. 2 of the paper: both products in the first layer during training, mean over heads and seeds. Imbalance and gap shrink with the weights, too."""
    table = _usual(view, "attention_products").filter((pl.col("task") == "recall") & (pl.col("layer") == 1))
    panels = []
    for product, column, title in PANELS:
        means = table.filter(pl.col("product") == product).group_by("attention", "step", maintain_order=True).agg(pl.col(column).mean())
        means = means.sort("attention", "step")
        y = alt.Y(f"{column}:Q", title=title) if column == "rank" else log_axis(column, title, "~e")
        line = alt.Chart(means.select("attention", "step", pl.col(column).clip(SMALLEST))).mark_line()
        panels.append(
            line.encode(x=alt.X("step:Q", axis=alt.Axis(tickCount=4)), y=y, color=DECAYS, tooltip=["attention", "step", column]).properties(
                width=150, height=220
            )
        )
    return alt.hconcat(*panels)


@figure("Rank against the decay of attention")
def ranks(view: View) -> alt.TopLevelMixin:
    """Pseudo ranks after training, mean over layers and heads (on recall, in the first layer), one dot per seed, against λ times the sum of learning rates.

    The paper's decay of 0.1 of a language model is at about 3.
    """
    table = _usual(view, "attention_products").filter((pl.col("task") != "recall") | (pl.col("layer") == 1))
    table = table.filter(pl.col("step") == pl.col("step").max().over("task"))
    each = table.group_by("task", "product", "attention", "clock", "seed", maintain_order=True).agg(pl.col("rank").mean())
    each = each.with_columns(pl.col("task").replace(TASKS), pl.col("product").replace(PRODUCTS)).sort("task", "product", "clock", "seed")
    mean = each.group_by("task", "product", "clock", maintain_order=True).agg(pl.col("rank").mean().alias("mean"))
    data = each.join(mean, on=["task", "product", "clock"], maintain_order="left")
    x = alt.X("clock:Q", title="λ Σ η", scale=alt.Scale(type="symlog", constant=0.1), axis=alt.Axis(values=[0, 1, 10]))
    colour = alt.Color("product:N", title=None)
    dots = (
        alt.Chart().mark_circle(size=26, opacity=0.5).encode(x=x, y=alt.Y("rank:Q", title="pseudo rank"), color=colour, tooltip=["seed", "attention", "rank"])
    )
    lines = alt.Chart().mark_line().encode(x=x, y="mean:Q", color=colour)
    return alt.layer(lines, dots, data=data).properties(width=170, height=220).facet(column=alt.Column("task:N", title=None, sort=list(TASKS.values())))


@figure("Perplexity by the decay of attention")
def perplexity(view: View) -> alt.TopLevelMixin:
    """On held-out text of a small decoder, where the paper has its Table 1: one dot per seed, lines connect means. No claim is judged by it.

    The decay is given as λ times the sum of learning rates, in which the paper's 0.1 is about 3. The MLPs decay at the usual rate, or in place of attention.
    """
    table = view.table("held_out", task="language").select("seed", "attention", "clock", "elsewhere", "perplexity")
    data = table.with_columns(mean=pl.col("perplexity").mean().over("attention", "elsewhere")).sort("elsewhere", "attention", "seed")
    x = alt.X("clock:Q", title="λ Σ η of attention", scale=alt.Scale(type="symlog", constant=0.5))
    colour = alt.Color("elsewhere:O", title="decay of MLPs", scale=alt.Scale(scheme="viridis"))
    y = alt.Y("perplexity:Q", title="perplexity of byte pairs", scale=alt.Scale(zero=False))
    dots = alt.Chart().mark_circle(size=26, opacity=0.5).encode(x=x, y=y, color=colour, tooltip=["seed", "attention", "elsewhere", "perplexity"])
    lines = alt.Chart().mark_line().encode(x=x, y="mean:Q", color=colour)
    return alt.layer(lines, dots, data=data).properties(width=420, height=260)


NETWORKS = [recall, ranks, perplexity]
