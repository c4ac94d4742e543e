"""Measurements for the gated-rnn study's claims: tables to one number per replicate."""

import numpy as np

from mesocosm.claims.measures import Measure, instances, replicates
from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.gated_rnn.tables import Loss, PromptLoss, Structure

OfSeeds = Measure[Replicates]


def log_largest(value: Value) -> Measure[Instances]:
    """log10 of the largest of a column of instances: one number for all of them."""
    plain = instances(value)
    return Measure(plain.reads, lambda view: Instances(np.log10([plain(view).values.max()]), exhaustive=True))


# --- students ---------------------------------------------------------------------------------------------------------


def log_loss(trial: Trials) -> OfSeeds:
    """log10 of a student's normalised loss."""
    return replicates(Loss.loss, error=Loss.error, trial=trial).map(np.log10)


def log_ratio(trial: Trials, other: Trials) -> OfSeeds:
    """log10 ratio of two students' losses on the same teachers."""
    return log_loss(trial).minus(log_loss(other))


def vanishing(trial: Trials) -> OfSeeds:
    """Whether a student's loss is below a thousandth of the targets' variance (1 or 0)."""
    return log_loss(trial).map(lambda loss: 1.0 * (loss < -3.0))


def far_behind(trial: Trials, other: Trials) -> OfSeeds:
    """Whether a student has more than ten times another's loss on the same teacher (1 or 0)."""
    return log_ratio(trial, other).map(lambda ratio: 1.0 * (ratio > 1.0))


def structure(value: Value, trial: Trials) -> OfSeeds:
    """A column of `Structure`."""
    return replicates(value, trial=trial)


def pruning_cost(loss: Value, trial: Trials) -> OfSeeds:
    """log10 ratio of losses, after pruning over as trained."""
    return structure(loss, trial).over(structure(Structure.loss, trial)).map(np.log10)


# --- regressors -------------------------------------------------------------------------------------------------------


def versus_step(trial: Trials) -> OfSeeds:
    """Log ratio of a regressor's loss to the best gradient step's."""
    return replicates(PromptLoss.versus_step, trial=trial)


def unexplained(trial: Trials) -> OfSeeds:
    """The fraction of a regressor's predictions that the terms of gradient descent leave unexplained."""
    return replicates(PromptLoss.unexplained, trial=trial)


def over_optimum(trial: Trials) -> OfSeeds:
    """Step size in a regressor's predictions over the optimal one."""
    return replicates(PromptLoss.slope, trial=trial).over(replicates(PromptLoss.step_size, trial=trial))
