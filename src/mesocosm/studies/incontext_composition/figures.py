"""Figures of the incontext-composition study: curves against tasks seen beside the paper's, composition against fit, supports, references."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.studies.charts import training
from mesocosm.studies.incontext_composition.config import PAPER_CURVES, PAPER_TASKS
from mesocosm.studies.interface import View, figure

SETS = {"train": "training's pairs", "held_out": "held-out pairs"}
DOTS = {"size": 30, "opacity": 0.6}


def _paper() -> pl.DataFrame:
    """The paper's curves in our columns."""
    return pl.DataFrame(
        [
            {"trial": model, "tasks": PAPER_TASKS * step, "train": fit, "held_out": composed}
            for model, curve in PAPER_CURVES.items()
            for step, (fit, composed) in curve.items()
        ]
    )


def _curves(view: View) -> pl.DataFrame:
    """Curves of the models on Connected+, from the first measurement on."""
    return view.table("curve").filter((pl.col("support") == "connected+") & (pl.col("step") > 0))


@figure("R² against tasks seen")
def curves(view: View) -> alt.TopLevelMixin:
    """Mean over teachers, support Connected+. Dashed: the paper's, read from its figures. A step here shows several queries of each task, the
    paper's one; learning rates end at 0 with the last step, so that points before it lie lower than a run of that length would.
    """
    ours = _curves(view).group_by("trial", "tasks").agg(pl.col(*SETS).cast(pl.Float64).mean()).with_columns(origin=pl.lit("here"))
    paper = _paper().with_columns(origin=pl.lit("paper"))
    both = pl.concat([ours.select(paper.columns), paper])
    long = both.unpivot(list(SETS), index=["trial", "tasks", "origin"], variable_name="set", value_name="r2")
    long = long.with_columns(pl.col("set").replace(SETS), curve=pl.format("{}, {}", "trial", "origin")).sort("set", "curve", "tasks")
    x = alt.X("tasks:Q", title="tasks seen", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=4))
    y = alt.Y("r2:Q", title="R²", scale=alt.Scale(domain=[0.55, 1.0], clamp=True))
    lines = (
        alt.Chart()
        .mark_line(point=True)
        .encode(
            x=x,
            y=y,
            color=alt.Color("trial:N", title=None),
            strokeDash=alt.StrokeDash("origin:N", title=None),
            detail="curve:N",
            tooltip=["curve", "tasks", "r2"],
        )
    )
    return alt.layer(lines, data=long).properties(width=300, height=260).facet(column=alt.Column("set:N", title=None, sort=list(SETS.values())[::-1]))


@figure("Held-out pairs against training's pairs")
def composition_against_fit(view: View) -> alt.TopLevelMixin:
    """Each line is one teacher's curve during training on Connected+; thick and dashed: the paper's. At equal fit, a model that composes better lies higher."""
    ours = _curves(view).filter(pl.col("train") > 0.5).with_columns(unexplained=1 - pl.col("train"))
    paper = _paper().with_columns(unexplained=1 - pl.col("train"))
    x = alt.X("unexplained:Q", title="1 − R² on training's pairs", scale=alt.Scale(type="log", reverse=True), axis=alt.Axis(format="~g", tickCount=5))
    y, colour = alt.Y("held_out:Q", title="R² on held-out pairs", scale=alt.Scale(domain=[0.35, 1.0])), alt.Color("trial:N", title=None)
    lines = alt.Chart(ours.select("trial", "seed", "unexplained", "held_out", "step").sort("trial", "seed", "step"))
    drawn = lines.mark_line(opacity=0.35, strokeWidth=1).encode(x=x, y=y, color=colour, detail="seed:N", order="step:Q", tooltip=["trial", "seed", "step"])
    ends = lines.transform_filter(alt.datum.step == view.config.training.steps).mark_circle(**DOTS).encode(x=x, y=y, color=colour)
    reference = alt.Chart(paper).mark_line(strokeWidth=3, strokeDash=[6, 4]).encode(x=x, y=y, color=colour, order="tasks:Q")
    return alt.layer(drawn, ends, reference).properties(width=460, height=320)


@figure("R² of each model")
def models(view: View) -> alt.TopLevelMixin:
    """One dot per teacher, ticks at the mean: training's pairs, held-out pairs, and tasks with modules of their own. Ridge regression on the context and the
    search for the code through the teacher's modules (oracle) are not trained.
    """
    names = SETS | {"unstructured": "modules of their own"}
    explained = view.table("explained").select("trial", "seed", *names)
    references = view.table("references").filter(pl.col("pairs") == view.config.prompting.pairs).with_columns(trial="predictor")
    table = pl.concat([explained, references.select("trial", "seed", *names)])
    long = table.unpivot(list(names), index=["trial", "seed"], variable_name="set", value_name="r2").with_columns(pl.col("set").replace(names))
    x, y = alt.X("r2:Q", title="R²", scale=alt.Scale(zero=False)), alt.Y("trial:N", title=None)
    dots = alt.Chart().mark_circle(**DOTS).encode(x=x, y=y, tooltip=["seed", "trial", alt.Tooltip("r2", format=".3f")])
    ticks = alt.Chart().mark_tick(thickness=2).encode(x="mean(r2):Q", y="trial:N")
    panels = alt.layer(ticks, dots, data=long.sort("set", "trial", "seed")).properties(width=210, height=alt.Step(20))
    return panels.facet(column=alt.Column("set:N", title=None, sort=list(names.values()))).resolve_scale(x="independent")


@figure("Connected and disconnected supports")
def supports(view: View) -> alt.TopLevelMixin:
    """R² on held-out pairs after training on six pairs; each line is one teacher."""
    explained = view.table("explained").filter(pl.col("support") != "connected+").select("seed", "support", "held_out", "model")
    executed = view.table("executed").filter(pl.col("support") != "connected+").select("seed", "support", "held_out", model=pl.lit("given code"))
    table = pl.concat([explained, executed]).sort("model", "seed", "support")
    x, y = alt.X("support:N", title=None, axis=alt.Axis(labelAngle=0)), alt.Y("held_out:Q", title="R² on held-out pairs", scale=alt.Scale(zero=False))
    lines = alt.Chart(table).mark_line(point=True, opacity=0.5).encode(x=x, y=y, detail="seed:N", tooltip=["seed", "support", "held_out"])
    return lines.properties(width=170, height=220).facet(column=alt.Column("model:N", title=None, sort=["hypernet", "vanilla", "given code"]))


@figure("The code in the residual stream")
def codes(view: View) -> alt.TopLevelMixin:
    """R² of the code on held-out pairs during training, read linearly where the model is read, by a probe that is fitted on training's pairs. The model that is
    told the code is left out.
    """
    table = _curves(view).filter(pl.col("model") != "told").select("trial", "seed", "tasks", "told").sort("trial", "seed", "tasks")
    x, y = alt.X("tasks:Q", title="tasks seen", axis=alt.Axis(format="~s", tickCount=4)), alt.Y("told:Q", title="R² of the code")
    dots = alt.Chart(table).mark_circle(**DOTS).encode(x=x, y=y, color=alt.Color("trial:N", title=None), tooltip=["trial", "seed", "tasks", "told"])
    lines = alt.Chart(table).mark_line().encode(x=x, y="mean(told):Q", color="trial:N")
    return alt.layer(lines, dots).properties(width=420, height=240)


FIGURES = [curves, composition_against_fit, models, supports, codes, training]
