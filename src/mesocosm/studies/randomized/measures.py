"""Measurements for the randomized study's claims. Each replicate has test inputs and test seeds of its own."""

from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64

from mesocosm.claims.measures import Measure, replicates
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.randomized.tables import Answers, Hunts

OfSeeds = Measure[Replicates]


def answers(value: Value, trial: Trials, decision: str = "single") -> OfSeeds:
    """A column of `Answers`."""
    return of(value, trial, decision=decision)


def of(value: Value, trial: Trials, **where: Any) -> OfSeeds:
    """A column of another table."""
    return replicates(value, own_data=True, trial=trial, **where)


def lead(measure: OfSeeds, other: OfSeeds) -> OfSeeds:
    """The difference of two measurements."""
    return measure.minus(other, same_data=False)


def vote_gain(trial: Trials, decision: str = "vote-30") -> OfSeeds:
    """By how much a vote succeeds more often than one seed, on average."""
    return lead(answers(Answers.average, trial, decision), answers(Answers.average, trial))


def tail_lead(trial: Trials, other: Trials, decision: str = "single") -> OfSeeds:
    """The tail of a network's single answers minus that of another's, which decides in this way."""
    return lead(answers(Answers.tail, trial), answers(Answers.tail, other, decision))


def loss_ratio(value: Value, trial: Trials, other: Trials) -> OfSeeds:
    """Log ratio of two networks' losses."""
    return of(value, trial).log_ratio(of(value, other), same_data=False)


def evening(trial: Trials) -> OfSeeds:
    """By how much the mean over seeds evens out the first visits of cells: their standard deviation over cells, minus that under one seed."""
    return lead(of(Hunts.unevenness, trial), of(Hunts.walk_unevenness, trial))


def exceeds(measure: OfSeeds, threshold: float) -> OfSeeds:
    """Whether a measurement is above a threshold (1 or 0)."""
    return measure.map(partial(_exceed, threshold))


def stays_below(measure: OfSeeds, threshold: float) -> OfSeeds:
    """Whether a measurement is below a threshold (1 or 0)."""
    return measure.map(partial(_stay_below, threshold))


def _exceed(threshold: float, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return (values > threshold).astype(float)


def _stay_below(threshold: float, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return (values < threshold).astype(float)
