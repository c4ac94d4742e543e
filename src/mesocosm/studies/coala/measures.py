"""Measurements for the coala study's claims: tables to one number per replicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mesocosm.claims.measures import Measure, replicates
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.coala.tables import Balances, LookAhead, NaiveMeans, Pools, mixed

OfSeeds = Measure[Replicates]


def of(value: Value, arm: str) -> OfSeeds:
    """A column of one arm."""
    return replicates(value, arm=arm)


def change(value: Value, arm: str, other: str) -> OfSeeds:
    """A column of one arm minus that of another."""
    return of(value, arm).minus(of(value, other))


def extortion(arm: str) -> OfSeeds:
    """What the agents earn beside naive learners, minus what these earn."""
    return of(Pools.ego, arm).minus(of(Pools.naive, arm))


def beyond_defecting(arm: str) -> OfSeeds:
    """The same minus what always defecting gains from the same learners, so that who merely defects has 0."""
    return extortion(arm).minus(of(Pools.defecting_gain, arm))


def nearness(arm: str) -> OfSeeds:
    """Log of the distance from extortion, over that of random policies."""
    return of(Pools.distance, arm).log_ratio(of(Pools.random, arm))


def exploits(arm: str) -> OfSeeds:
    """What an agent trained by LOLA-DICE earns beside a naive learner at the end of its learning, minus what the learner earns."""
    return of(LookAhead.ego, arm).minus(of(LookAhead.naive, arm))


def of_agents(value: Value, trial: str) -> OfSeeds:
    """A column of a pool of agents with memory."""
    return replicates(value, trial=Trials(trial))


def lead(value: Value, trial: str, other: str) -> OfSeeds:
    """A column of one pool minus that of another."""
    return of_agents(value, trial).minus(of_agents(value, other))


def balance(method: str, other: str) -> OfSeeds:
    """How the parts of the gradient relate in mixed pools, one method minus another."""
    return of_agents(Balances.balance, mixed(method)).minus(of_agents(Balances.balance, mixed(other)))


def exploiting(trial: str) -> OfSeeds:
    """Cooperation with naive learners in the first inner episode minus in the last."""
    return of_agents(NaiveMeans.first, trial).minus(of_agents(NaiveMeans.last, trial))


def exceeds(measure: OfSeeds, threshold: float) -> OfSeeds:
    """Whether a number is above a threshold (1 or 0)."""
    return measure.map(_step(threshold))


def _step(threshold: float) -> Callable[[Any], Any]:
    return lambda value: np.where(value > threshold, 1.0, 0.0)
