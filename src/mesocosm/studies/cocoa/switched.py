"""Trains policies on key-to-door whose treasure changes its sign: how soon they leave it (Fig. 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import numpy as np

from mesocosm.envs.key_to_door import KeyToDoor
from mesocosm.studies.cocoa.config import Features, LearnedEstimator, Switched
from mesocosm.studies.cocoa.learned import LearnedArm, learner_of_arm, treasure_only
from mesocosm.studies.cocoa.track import Track
from mesocosm.studies.interface import Context, Tables


@dataclass(frozen=True)
class SwitchedArm:
    """Training with one estimator."""

    estimator: LearnedEstimator
    sizes: Switched
    features: Features


def learn_switched(arm: SwitchedArm, context: Context) -> Tables:
    """Train, change the sign, and train on; features stay as they were learned before. The probability of the treasure is that of taking the key."""
    sizes, env = arm.sizes, KeyToDoor(arm.sizes.track.length, door=False, switching=True)
    track = Track(env, env.default_params, env.tabular())
    learner, tables = learner_of_arm(LearnedArm(arm.estimator, sizes.track, arm.features), context, track)
    options: Any = {"probe": (treasure_only, sizes.track.every), "per_seed": bool(tables)}
    before = context.fit("before", learner, sizes.track.steps, **options)
    other = eqx.tree_at(lambda each: each.params.treasure, learner, np.array(-np.asarray(learner.params.treasure)))
    after = context.fit("after", other, sizes.after, state=before.state, start=sizes.track.steps, **options)
    level = before.probes["treasure"][:, -1]
    since, treasure = np.asarray(after.probe_steps) - sizes.track.steps, after.probes["treasure"]
    left = treasure < sizes.adapted_at
    took = np.where(left.any(axis=1), since[np.argmax(left, axis=1)], sizes.after)
    curve = {"step": [*np.asarray(before.probe_steps).tolist(), *np.asarray(after.probe_steps)[1:].tolist()]}
    whole = np.concatenate([before.probes["treasure"], treasure[:, 1:]], axis=1)
    return tables | {
        "switched": context.rows(curve, estimator=arm.estimator, treasure=whole),
        "adapted": context.rows(estimator=arm.estimator, level=level, took=np.maximum(took, sizes.track.every), left=left.any(axis=1).astype(int)),
    }
