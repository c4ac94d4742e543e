"""Measurements for the modular study's claims: tables to one number per replicate."""

from __future__ import annotations

from functools import partial

import polars as pl

from mesocosm.claims.measures import Measure, derived, instances, replicates
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.tables import Estimate, Value
from mesocosm.studies.modular.config import Method
from mesocosm.studies.modular.tables import Accuracy, Counterexamples, Descent, Imitation, Students, descended, identified, imitating, trained

OfSeeds = Measure[Replicates]

RIGHT = 1e-10
"""Relative loss below which a student is right on an unseen code."""
ALIGNED = 0.999
FITTED = 1e-5
"""Relative loss above which a student that was trained by gradient descent has not fitted its tasks."""


# --- students without training loss ---------------------------------------------------------------------------------------


def _shares(success: pl.Expr, among: pl.Expr, table: pl.DataFrame) -> Replicates:
    chosen = table.filter(pl.col("fitted") & among)
    if chosen.is_empty():
        raise NotJudged("there are no such students")
    read = sorted({*success.meta.root_names(), *among.meta.root_names()})
    if odd := [column for column in read if not chosen[column].is_finite().all()]:
        raise NotJudged(f"the {' and the '.join(odd)} of some students are not finite")
    usual = (success.sum() + 2) / (pl.len() + 4)  # of Agresti and Coull: a few students that agree do not make a share without error
    shares = chosen.group_by("seed").agg(share=success.mean(), error=(usual * (1 - usual) / (pl.len() + 4)).sqrt())
    return Replicates.of(shares, "share", error="error", own_data=True)


def share(condition: str | tuple[str, ...], success: pl.Expr, among: pl.Expr | None = None, modules: int = 4) -> OfSeeds:
    """The share of students without training loss that succeed, for each teacher that has such students; `among` leaves some out."""
    return derived(partial(_shares, success, pl.lit(True) if among is None else among), Students.rows(identified(modules), condition=condition))


GENERALISES = pl.col("unseen") < RIGHT
IDENTIFIES = pl.col("alignment") > ALIGNED
AGREES = GENERALISES == IDENTIFIES
AGREES_UNMAPPED = (pl.col("unmapped") > ALIGNED) == GENERALISES
WRONG = pl.col("unseen") >= RIGHT
UNSCALED = pl.col("scale") < 1e-6


def built(column: Value, student: str) -> Measure[Instances]:
    """A loss of a constructed student."""
    return instances(column, built=student)


def wrong(student: str) -> Measure[Instances]:
    """log10 of the loss of a constructed student on unseen codes."""

    def logarithm(table: pl.DataFrame) -> Instances:
        return Instances.of(table.with_columns(pl.col("unseen").log10()), "unseen")

    return derived(logarithm, Counterexamples.rows(built=student))


# --- gradient descent ---------------------------------------------------------------------------------------------------


def alignment(name: str) -> OfSeeds:
    """The alignment of each student, if all have fitted their tasks."""

    def of_fitted(table: pl.DataFrame) -> Replicates:
        if not (table[Descent.loss] <= FITTED).all():
            raise NotJudged(f"a student of {name} has not fitted its tasks: the largest loss is {table[Descent.loss].max():.1e}, not below {FITTED:.0e}")
        return Replicates.of(table, Descent.alignment, own_data=True)

    return derived(of_fitted, Descent.rows(descended(name)))


def misaligned(name: str, other: str) -> OfSeeds:
    """By how much less the second student is aligned."""
    return alignment(name).minus(alignment(other))


# --- hyperteacher -------------------------------------------------------------------------------------------------------


def accuracy(column: Estimate, problem: str, method: Method, variant: str = "") -> OfSeeds:
    """An accuracy of one network per replicate."""
    return replicates(column, trial=trained(problem, method, variant))


def lead(problem: str, method: Method, other: Method, column: Estimate = Accuracy.held_out) -> OfSeeds:
    """The accuracy of one method minus that of another on the same tasks."""
    return accuracy(column, problem, method).minus(accuracy(column, problem, other))


def drop(problem: str, method: Method, column: Estimate = Accuracy.held_out) -> OfSeeds:
    """Accuracy on known combinations minus that on others."""
    return accuracy(Accuracy.known, problem, method).minus(accuracy(column, problem, method))


def better(variant: str) -> OfSeeds:
    """The accuracy of the linear hypernetwork on held-out combinations minus that of a variant, K = 2."""
    usual, other = (accuracy(Accuracy.held_out, "k2", "linear", name) for name in ("", variant))
    return usual.minus(other, same_data=False)


def r2(problem: str, method: Method, column: Value = Accuracy.r2) -> OfSeeds:
    """How well codes of combinations, held-out ones by default, are decoded from a hypernetwork."""
    return replicates(column, trial=trained(problem, method), own_data=True)


def r2_drop(problem: str, other: str, method: Method, column: Value = Accuracy.r2) -> OfSeeds:
    """By how much worse they are decoded on the second problem."""
    return r2(problem, method, column).minus(r2(other, method, column), same_data=False)


# --- preferences and goals ---------------------------------------------------------------------------------------------


def imitated(column: Estimate, world: str, method: str = "linear") -> OfSeeds:
    """A loss or an accuracy of one network per replicate."""
    return replicates(column, trial=imitating(world, method))


def loss_over(method: str, other: str, column: Estimate = Imitation.held_out_loss) -> OfSeeds:
    """log of a loss of a hypernetwork over the loss of another network, both on random held-out mixtures."""
    return imitated(column, "preferences-random", method).log_ratio(imitated(Imitation.held_out_loss, "preferences-random", other))


def rise(column: Estimate, world: str, other: str) -> OfSeeds:
    """log of the linear hypernetwork's loss in the second world over that in the first."""
    return imitated(column, other).log_ratio(imitated(column, world), same_data=False)


def unexplained(world: str, other: str) -> OfSeeds:
    """`rise` of the loss on held-out mixtures, over the variance of the targets there."""
    return rise(Imitation.held_out_loss, world, other).minus(rise(Imitation.held_out_spread, world, other))


def seen() -> OfSeeds:
    """The same inside a network that was trained on random mixtures: those with the last preference, which it has seen, over held-out ones."""
    loss, spread = (
        imitated(last, "preferences-random").log_ratio(imitated(held_out, "preferences-random"))
        for last, held_out in ((Imitation.last_loss, Imitation.held_out_loss), (Imitation.last_spread, Imitation.held_out_spread))
    )
    return loss.minus(spread)


def lengthened() -> OfSeeds:
    """log of the loss of the linear hypernetwork over that of one with shorter codes, on random held-out mixtures."""
    return imitated(Imitation.held_out_loss, "preferences-random").log_ratio(imitated(Imitation.held_out_loss, "preferences-random", "linear-short"))


def goal_lead(column: Estimate, world: str, method: Method, other: Method) -> OfSeeds:
    """The accuracy of one method minus that of another."""
    return imitated(column, world, method).minus(imitated(column, world, other))


def lost(column: Estimate, method: Method, other: Method) -> OfSeeds:
    """What one method loses from random goals to a held-out quadrant, minus what another one loses."""
    return goal_lead(column, "goals-random", method, other).minus(goal_lead(column, "goals-non-compositional", method, other), same_data=False)


def scaled(column: Estimate) -> OfSeeds:
    """The accuracy on random goals of the linear hypernetwork of another size minus that of the usual one."""
    return imitated(column, "goals-random", "linear-scaled").minus(imitated(column, "goals-random"))


def held_back(column: Estimate) -> OfSeeds:
    """What the linear hypernetwork gains from random goals to a held-out quadrant: a loss."""
    return imitated(column, "goals-non-compositional").minus(imitated(column, "goals-random"), same_data=False)
