"""Measurements for the gated-rnn study's claims: tables to one number per replicate."""

import numpy as np
import polars as pl

from mesocosm.claims.measures import Measure, derived, instances, replicates
from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.gated_rnn.tables import Loss, PromptLoss, Structure

OfSeeds = Measure[Replicates]


def log_instances(value: Value) -> Measure[Instances]:
    """log10 of a column of instances."""
    plain = instances(value)
    return Measure(plain.reads, lambda view: Instances(np.log10(plain(view).values)))


# --- students ---------------------------------------------------------------------------------------------------------


def log_loss(trial: Trials) -> OfSeeds:
    """log10 of a student's normalised loss."""
    return replicates(Loss.loss, error=Loss.error, trial=trial).map(np.log10)


def log_ratio(trial: Trials, other: Trials) -> OfSeeds:
    """log10 ratio of two students' losses on the same teachers, for the seeds that both have."""

    def measure(*tables: pl.DataFrame) -> Replicates:
        seeds = set(tables[0]["seed"]) & set(tables[1]["seed"])
        losses = [Replicates.of(table.filter(table["seed"].is_in(sorted(seeds))), Loss.loss, error=Loss.error) for table in tables]
        return losses[0].over(losses[1]).map(np.log10)

    return derived(measure, Loss.rows(trial), Loss.rows(other))


def structure(value: Value, trial: Trials) -> OfSeeds:
    """A column of `Structure`."""
    return replicates(value, trial=trial)


def pruning_cost(trial: Trials) -> OfSeeds:
    """log10 ratio of losses, pruned and snapped student over as trained."""
    return structure(Structure.snapped_loss, trial).over(structure(Structure.loss, trial)).map(np.log10)


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
