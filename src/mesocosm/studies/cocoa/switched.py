"""Trains policies on key-to-door whose treasure changes its sign: how soon they leave it (Fig. 10)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import numpy as np
import polars as pl

from mesocosm.envs.key_to_door import KeyToDoor, KeyToDoorParams
from mesocosm.learning.actor_credit import ActorCredit
from mesocosm.studies.cocoa.config import ExactAndLearned, Features, LearnedEstimator, Switched, rate_of
from mesocosm.studies.cocoa.learned import LearnedArm, learner_of, learner_of_arm, treasure_only
from mesocosm.studies.cocoa.signal import exact_credit
from mesocosm.studies.cocoa.tables import EXACT
from mesocosm.studies.cocoa.track import Track
from mesocosm.studies.interface import Context, Tables


@dataclass(frozen=True)
class SwitchedArm:
    """Training with one estimator."""

    estimator: LearnedEstimator
    sizes: Switched
    features: Features


@dataclass(frozen=True)
class ExactSwitchedArm:
    """Training with one estimator and exact models, which know the reward before and after the switch."""

    estimator: ExactAndLearned
    sizes: Switched


def learn_switched(arm: SwitchedArm, context: Context) -> Tables:
    """Train, change the sign, and train on; features stay as they were learned before. The probability of the treasure is that of taking the key."""
    learner, tables = learner_of_arm(LearnedArm(arm.estimator, arm.sizes.track, arm.features), context, _track(arm.sizes))
    return tables | _train(arm.estimator, arm.sizes, learner, replace(learner, params=_switch(learner.params)), context, per_seed=bool(tables))


def learn_switched_exactly(arm: ExactSwitchedArm, context: Context) -> Tables:
    """The same with exact models."""
    sizes, track = arm.sizes, _track(arm.sizes)
    rate, after = rate_of(sizes.track.learning_rates, arm.estimator), track._replace(params=_switch(track.params))
    learner, other = (learner_of(sizes.track, rate, each, exact_credit(arm.estimator, each.env, each.params)) for each in (track, after))
    return _train(f"{EXACT}{arm.estimator}", sizes, learner, other, context)


def _switch(params: KeyToDoorParams) -> KeyToDoorParams:
    return eqx.tree_at(lambda each: each.treasure, params, np.array(-np.asarray(params.treasure)))


def _track(sizes: Switched) -> Track:
    env = KeyToDoor(sizes.track.length, door=False, switching=True)
    return Track(env, env.default_params, env.tabular())


def _train(name: str, sizes: Switched, learner: ActorCredit, other: ActorCredit, context: Context, *, per_seed: bool = False) -> dict[str, pl.DataFrame]:
    options: Any = {"probe": (treasure_only, sizes.track.every), "per_seed": per_seed}
    before = context.fit("before", learner, sizes.track.steps, **options)
    after = context.fit("after", other, sizes.after, state=before.state, start=sizes.track.steps, **options)
    level = before.probes["treasure"][:, -1]
    since, treasure = np.asarray(after.probe_steps) - sizes.track.steps, after.probes["treasure"]
    left = treasure < sizes.adapted_at
    took = np.where(left.any(axis=1), since[np.argmax(left, axis=1)], sizes.after)
    curve = {"step": [*np.asarray(before.probe_steps).tolist(), *np.asarray(after.probe_steps)[1:].tolist()]}
    whole = np.concatenate([before.probes["treasure"], treasure[:, 1:]], axis=1)
    return {
        "switched": context.rows(curve, estimator=name, treasure=whole),
        "adapted": context.rows(estimator=name, level=level, took=np.maximum(took, sizes.track.every), left=left.any(axis=1).astype(int)),
    }
