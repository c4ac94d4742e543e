"""Measurements for the modular study's claims: tables to one number per replicate."""

from __future__ import annotations

from functools import partial

import polars as pl

from mesocosm.claims.measures import Measure, derived, instances, replicates
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.tables import Estimate, Value
from mesocosm.studies.modular.config import Method
from mesocosm.studies.modular.tables import Accuracy, Counterexamples, Descent, Imitation, Students, descended, imitating, trained

OfSeeds = Measure[Replicates]

RIGHT = 1e-10
"""Relative loss below which a student is right on an unseen code."""
ALIGNED = 0.999


# --- students without training loss ---------------------------------------------------------------------------------------


def _shares(success: pl.Expr, among: pl.Expr, table: pl.DataFrame) -> Replicates:
    chosen = table.filter(pl.col("fitted") & among)
    if chosen.is_empty():
        raise NotJudged("there are no such students")
    usual = (success.sum() + 2) / (pl.len() + 4)  # of Agresti and Coull: a few students that agree do not make a share without error
    shares = chosen.group_by("seed").agg(share=success.mean(), error=(usual * (1 - usual) / (pl.len() + 4)).sqrt())
    return Replicates.of(shares, "share", error="error", own_data=True)


def share(condition: str | tuple[str, ...], success: pl.Expr, among: pl.Expr | None = None) -> OfSeeds:
    """The share of students without training loss that succeed, for each teacher that has such students; `among` leaves some out."""
    return derived(partial(_shares, success, pl.lit(True) if among is None else among), Students.rows(condition=condition))


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
    """The alignment of each student."""
    return replicates(Descent.alignment, trial=descended(name), own_data=True)


def misaligned(name: str, other: str) -> OfSeeds:
    """By how much less the second student is aligned."""
    return alignment(name).minus(alignment(other))


# --- hyperteacher -------------------------------------------------------------------------------------------------------


def accuracy(column: Estimate, problem: str, method: Method) -> OfSeeds:
    """An accuracy of one network per replicate."""
    return replicates(column, trial=trained(problem, method))


def lead(problem: str, method: Method, other: Method, column: Estimate = Accuracy.held_out) -> OfSeeds:
    """The accuracy of one method minus that of another on the same tasks."""
    return accuracy(column, problem, method).minus(accuracy(column, problem, other))


def drop(problem: str, method: Method, column: Estimate = Accuracy.held_out) -> OfSeeds:
    """Accuracy on known combinations minus that on others."""
    return accuracy(Accuracy.known, problem, method).minus(accuracy(column, problem, method))


def r2(problem: str) -> OfSeeds:
    """How well codes of held-out combinations are decoded from the linear hypernetwork."""
    return replicates(Accuracy.r2, trial=trained(problem, "linear"), own_data=True)


def r2_drop(problem: str, other: str) -> OfSeeds:
    """By how much worse they are decoded on the second problem."""
    return r2(problem).minus(r2(other), same_data=False)


# --- preferences and goals ---------------------------------------------------------------------------------------------


def imitated(column: Estimate, world: str, method: str = "linear") -> OfSeeds:
    """A loss or an accuracy of one network per replicate."""
    return replicates(column, trial=imitating(world, method))


def loss_over(world: str, other: Method) -> OfSeeds:
    """log of the linear hypernetwork's loss on held-out mixtures over that of another method."""
    return imitated(Imitation.held_out_loss, world).log_ratio(imitated(Imitation.held_out_loss, world, other))


def rise(column: Estimate, world: str, other: str) -> OfSeeds:
    """log of the linear hypernetwork's loss in the second world over that in the first."""
    return imitated(column, other).log_ratio(imitated(column, world), same_data=False)


def goal_lead(column: Estimate, world: str, other: Method) -> OfSeeds:
    """The linear hypernetwork's accuracy minus that of another method."""
    return imitated(column, world).minus(imitated(column, world, other))


def lost(column: Estimate, other: Method) -> OfSeeds:
    """What the linear hypernetwork loses from random goals to a held-out quadrant, minus what another method loses."""
    return goal_lead(column, "goals-random", other).minus(goal_lead(column, "goals-non-compositional", other), same_data=False)


def grown(column: Estimate) -> OfSeeds:
    """What the larger hypernetwork gains on random goals."""
    return imitated(column, "goals-random", "linear-wide").minus(imitated(column, "goals-random"))


def held_back(column: Estimate) -> OfSeeds:
    """What the linear hypernetwork gains from random goals to a held-out quadrant: a loss."""
    return imitated(column, "goals-non-compositional").minus(imitated(column, "goals-random"), same_data=False)
