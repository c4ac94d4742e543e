"""Measurements for the randomized study's claims. Each replicate has test inputs and test seeds of its own."""

from mesocosm.claims.measures import Measure, replicates
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.randomized.tables import Answers

OfSeeds = Measure[Replicates]


def answers(value: Value, trial: Trials, decision: str = "single") -> OfSeeds:
    """A column of `Answers`."""
    return replicates(value, own_data=True, trial=trial, decision=decision)


def loss(value: Value, trial: Trials) -> OfSeeds:
    """A column of `Losses`."""
    return replicates(value, own_data=True, trial=trial)


def vote_gain(trial: Trials, decision: str = "vote-30") -> OfSeeds:
    """By how much a vote succeeds more often than one seed, on average."""
    return answers(Answers.average, trial, decision).minus(answers(Answers.average, trial), same_data=False)


def tail_lead(trial: Trials, other: Trials, decision: str = "single") -> OfSeeds:
    """The tail of a network's single answers minus that of another's, decided as told."""
    return answers(Answers.tail, trial).minus(answers(Answers.tail, other, decision), same_data=False)


def loss_ratio(value: Value, trial: Trials, other: Trials) -> OfSeeds:
    """Log ratio of two networks' losses."""
    return loss(value, trial).log_ratio(loss(value, other), same_data=False)
