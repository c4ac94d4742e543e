"""Figures of the incontext-composition study: ends of trainings against tasks seen beside the paper's, composition against fit, supports, references."""

from __future__ import annotations

import altair as alt
import polars as pl

from mesocosm.studies.charts import training
from mesocosm.studies.incontext_composition.config import PAPER_CURVES, PAPER_TASKS
from mesocosm.studies.interface import View, figure

SETS = {"train": "training's pairs", "held_out": "held-out pairs"}
DOTS = {"size": 30, "opacity": 0.6}
PAPER_DECAY = "as in the paper"
MODEL, DECAY = alt.Color("model:N", title=None), alt.Shape("decay:N", title="weight decay")


def _paper() -> pl.DataFrame:
    """The paper's curves in our columns."""
    return pl.DataFrame(
        [
            {"model": model, "decay": PAPER_DECAY, "tasks": PAPER_TASKS * step, "train": fit, "held_out": composed}
            for model, curve in PAPER_CURVES.items()
            for step, (fit, composed) in curve.items()
        ]
    )


def _ends(view: View) -> pl.DataFrame:
    """Ends of trainings on Connected+, with `decay`: whether a model has the paper's weight decay."""
    curves = view.table("curve").filter((pl.col("support") == "connected+") & (pl.col("step") > 0))
    last = curves.filter(pl.col("step") == pl.col("step").max().over("trial"))
    return last.with_columns(decay=pl.when(pl.col("trial").str.ends_with("decayed")).then(pl.lit("swapped")).otherwise(pl.lit(PAPER_DECAY)))


@figure("R² against tasks seen")
def curves(view: View) -> alt.TopLevelMixin:
    """Ends of trainings of several lengths, mean over teachers, support Connected+; each learning rate has come down to 0. Lines join trainings that differ in
    the number of steps alone. Dashed: the paper's curves, read from its figures. A step here shows several queries of each task, the paper's one.
    """
    ours = _ends(view).group_by("model", "decay", "tasks").agg(pl.col(*SETS).cast(pl.Float64).mean()).with_columns(origin=pl.lit("here"))
    paper = _paper().with_columns(origin=pl.lit("paper"))
    both = pl.concat([ours.select(paper.columns), paper]).with_columns(curve=pl.format("{}, {}, {}", "model", "decay", "origin"))
    long = both.unpivot(list(SETS), index=["model", "decay", "tasks", "origin", "curve"], variable_name="set", value_name="r2")
    long = long.with_columns(pl.col("set").replace(SETS)).sort("set", "curve", "tasks")
    x = alt.X("tasks:Q", title="tasks seen", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=4))
    y = alt.Y("r2:Q", title="R²", scale=alt.Scale(domain=[0.55, 1.0], clamp=True))
    base = alt.Chart().encode(x=x, y=y, color=MODEL, detail="curve:N", tooltip=["curve", "tasks", "r2"])
    lines = base.mark_line().encode(strokeDash=alt.StrokeDash("origin:N", title=None))
    ends = base.mark_point(filled=True, opacity=1).encode(shape=DECAY)
    return alt.layer(lines, ends, data=long).properties(width=300, height=260).facet(column=alt.Column("set:N", title=None, sort=list(SETS.values())[::-1]))


@figure("Held-out pairs against training's pairs")
def composition_against_fit(view: View) -> alt.TopLevelMixin:
    """A point is the end of a training on Connected+ of one teacher; lines join trainings of one teacher that differ in the number of steps alone. Thick and
    dashed: the paper's curves. At equal fit, a model that composes better lies higher.
    """
    ours = _ends(view).filter(pl.col("train") > 0.5).with_columns(unexplained=1 - pl.col("train"))
    paper = _paper().with_columns(unexplained=1 - pl.col("train"))
    x = alt.X("unexplained:Q", title="1 − R² on training's pairs", scale=alt.Scale(type="log", reverse=True), axis=alt.Axis(format="~g", tickCount=5))
    y = alt.Y("held_out:Q", title="R² on held-out pairs", scale=alt.Scale(domain=[0.35, 1.0]))
    base = alt.Chart(ours.select("trial", "model", "decay", "seed", "unexplained", "held_out", "step").sort("trial", "seed", "step"))
    lines = base.mark_line(opacity=0.35, strokeWidth=1).encode(x=x, y=y, color=MODEL, detail=["seed:N", "decay:N"], order="step:Q")
    ends = base.mark_point(filled=True, **DOTS).encode(x=x, y=y, color=MODEL, shape=DECAY, tooltip=["trial", "seed", "step"])
    reference = alt.Chart(paper).mark_line(strokeWidth=3, strokeDash=[6, 4]).encode(x=x, y=y, color=MODEL, order="tasks:Q")
    return alt.layer(lines, ends, reference).properties(width=460, height=320)


@figure("R² of each model")
def models(view: View) -> alt.TopLevelMixin:
    """One dot per teacher, ticks at the mean: training's pairs, held-out pairs, and tasks with modules of their own, support Connected+. Ridge regression on
    the context and the search for the code through the teacher's modules (oracle) are not trained; a hypernetwork that is given the code sees no context.
    """
    names = SETS | {"unstructured": "modules of their own"}
    table = _scored(view, *names, of="trial").filter(support="connected+")
    long = table.unpivot(list(names), index=["of", "seed"], variable_name="set", value_name="r2").with_columns(pl.col("set").replace(names))
    x, y = alt.X("r2:Q", title="R²", scale=alt.Scale(zero=False)), alt.Y("of:N", title=None)
    dots = alt.Chart().mark_circle(**DOTS).encode(x=x, y=y, tooltip=["seed", "of", alt.Tooltip("r2", format=".3f")])
    ticks = alt.Chart().mark_tick(thickness=2).encode(x="mean(r2):Q", y="of:N")
    panels = alt.layer(ticks, dots, data=long.sort("set", "of", "seed")).properties(width=210, height=alt.Step(20))
    return panels.facet(column=alt.Column("set:N", title=None, sort=list(names.values()))).resolve_scale(x="independent")


@figure("Connected and disconnected supports")
def supports(view: View) -> alt.TopLevelMixin:
    """R² after training on six pairs, on all nine held-out pairs and on the seven that both supports hold out; each line is one teacher. Ridge regression on
    the context knows no training tasks, so that its lines show how hard the pairs are.
    """
    sets = {"held_out": "all held-out pairs", "shared": "the same seven"}
    table = _scored(view, *sets, of="model").filter((pl.col("support") != "connected+") & (pl.col("of") != "oracle"))
    long = table.unpivot(list(sets), index=["seed", "of", "support"], variable_name="set", value_name="r2").with_columns(pl.col("set").replace(sets))
    x, y = alt.X("support:N", title=None, axis=alt.Axis(labelAngle=0)), alt.Y("r2:Q", title="R²", scale=alt.Scale(zero=False))
    lines = alt.Chart(long.sort("set", "of", "seed", "support")).mark_line(point=True, opacity=0.5)
    lines = lines.encode(x=x, y=y, detail="seed:N", tooltip=["seed", "support", "r2"]).properties(width=150, height=160)
    order = ["hypernet", "vanilla", "given code", "ridge", "ridge on random features"]
    return lines.facet(column=alt.Column("of:N", title=None, sort=order), row=alt.Row("set:N", title=None, sort=list(sets.values())))


def _scored(view: View, *sets: str, of: str) -> pl.DataFrame:
    """R² on these sets of models in context, by their column `of`, of hypernetworks that are given the code, and of predictors that are not trained."""
    parts = [view.table("executed").with_columns(of=pl.lit("given code"))]
    parts.append(view.table("references", pairs=view.config.prompting.pairs).with_columns(of="predictor"))
    if view.has("explained"):
        parts.append(view.table("explained").with_columns(of=of))
    return pl.concat([part.select("seed", "of", "support", *sets) for part in parts])


@figure("The code in the residual stream")
def codes(view: View) -> alt.TopLevelMixin:
    """R² of the code on held-out pairs at the end of each training on Connected+, read linearly where the model is read, by a probe that is fitted on
    training's pairs. The model that is told the code is left out.
    """
    table = _ends(view).filter(pl.col("model") != "told").select("model", "decay", "seed", "tasks", "decoded").sort("model", "decay", "seed", "tasks")
    x = alt.X("tasks:Q", title="tasks seen", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=4))
    y = alt.Y("decoded:Q", title="R² of the code")
    dots = alt.Chart(table).mark_point(filled=True, **DOTS).encode(x=x, y=y, color=MODEL, shape=DECAY, tooltip=["model", "decay", "seed", "tasks", "decoded"])
    lines = alt.Chart(table).mark_line().encode(x=x, y="mean(decoded):Q", color=MODEL, detail="decay:N")
    return alt.layer(lines, dots).properties(width=420, height=240)


@figure("Units of the modules")
def modules(view: View) -> alt.TopLevelMixin:
    """Largest cosine of a teacher's unit with a unit of the student, mean over units, for the student's own teacher and for another. One dot per teacher, ticks
    at the mean. A hypernetwork that is given the code has nothing to infer: it shows how far these cosines go after such a training.
    """
    teachers = {"own": "its own teacher", "foreign": "another teacher"}
    long = view.table("modules").unpivot(list(teachers), index=["trial", "seed"], variable_name="teacher", value_name="cosine")
    long = long.with_columns(pl.col("teacher").replace(teachers)).sort("trial", "teacher", "seed")
    x = alt.X("cosine:Q", title="largest cosine", scale=alt.Scale(domain=[0.0, 1.0]), axis=alt.Axis(tickCount=5))
    y, colour = alt.Y("trial:N", title=None), alt.Color("teacher:N", title=None)
    dots = alt.Chart(long).mark_circle(**DOTS).encode(x=x, y=y, color=colour, tooltip=["trial", "seed", "teacher", alt.Tooltip("cosine", format=".3f")])
    ticks = alt.Chart(long).mark_tick(thickness=2).encode(x="mean(cosine):Q", y="trial:N", color=colour)
    return alt.layer(ticks, dots).properties(width=420, height=alt.Step(20))


FIGURES = [curves, composition_against_fit, models, supports, codes, modules, training]
