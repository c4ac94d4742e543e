"""The key-to-door tracks of the study, what is known exactly of them, and the policy that learns on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.envs.key_to_door import OPEN_DOOR, TAKE_KEY, KeyToDoor, KeyToDoorParams, KeyToDoorState
from mesocosm.envs.tabular import LayeredMDP, TabularMDP
from mesocosm.nn.policy import NetworkPolicy
from mesocosm.studies.cocoa.config import LearnedModels

FEATURES, ACTIONS = 9, 4


class Process(NamedTuple):
    """A finite environment, and the same arranged by time."""

    mdp: TabularMDP
    layered: LayeredMDP


class Track(NamedTuple):
    """Key-to-door with one layout for all seeds, as in the paper."""

    env: KeyToDoor
    params: KeyToDoorParams
    mdp: TabularMDP

    @property
    def process(self) -> Process:
        """Both tabular forms."""
        return Process(self.mdp, LayeredMDP.of(self.mdp))

    @property
    def rewards(self) -> tuple[float, ...]:
        """The rewards other than 0."""
        return tuple(float(value) for value in self.mdp.reward_values if value)


def track_of(sizes: LearnedModels) -> Track:
    """The track of these sizes."""
    env = KeyToDoor(sizes.length)
    params = env.params(aliasing=sizes.aliasing)
    return Track(env, params, env.tabular(params))


def build_network_policy(arm: Any, key: PRNGKeyArray) -> NetworkPolicy:
    """Two hidden layers of 64 units (paper)."""
    return NetworkPolicy.create(FEATURES, ACTIONS, key=key)


def success(env: Any, policy: Float[Array, "states actions"]) -> dict[str, Float[Array, ""]]:
    """The exact probabilities of taking the key and of reaching the treasure in a `KeyToDoor`; only two decisions matter."""
    takes = policy[0, TAKE_KEY]
    if not env.door:
        return {"key": takes, "treasure": takes}
    at_the_door = env.index(KeyToDoorState(jnp.int32(env.length - 2), jnp.array(True), jnp.array(False)))
    return {"key": takes, "treasure": takes * policy[at_the_door, OPEN_DOOR]}
