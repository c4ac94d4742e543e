"""Outcome encodings: which later events count as the same outcome, as classes counted from 0.

A table over (state, action, reward class) gives the class of every event; `outcome_of` reads it along an episode. Unbiased contributions need an encoding
that fully predicts the reward ("fully predictive"): the reward itself, the state and action, or anything in between.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mesocosm.envs.tabular import TabularMDP


class Encoding(NamedTuple):
    """An outcome encoding of a finite environment.

    Attributes:
        classes: the class of each (state, action, reward), counted from 0.
        number: the number of classes.
    """

    classes: Int[Array | np.ndarray, "states actions rewards"]
    number: int


def reward_outcomes(mdp: TabularMDP) -> Encoding:
    """U = R, as in COCOA-reward."""
    return Encoding(np.broadcast_to(np.arange(len(mdp.reward_values)), mdp.reward_probability.shape), len(mdp.reward_values))


def state_outcomes(mdp: TabularMDP) -> Encoding:
    """U = S', the later state without its action, as in HCA+."""
    return Encoding(np.broadcast_to(np.arange(mdp.states)[:, None, None], mdp.reward_probability.shape), mdp.states)


def grouped_outcomes(mdp: TabularMDP, groups: Int[Array | np.ndarray, "states actions"], number: int) -> Encoding:
    """U = a class of (state, action): features of a network (COCOA-feature) or groups of a tree."""
    return Encoding(jnp.broadcast_to(jnp.asarray(groups)[..., None], mdp.reward_probability.shape), number)


def binned_outcomes(mdp: TabularMDP, edges: Float[np.ndarray, " edges"]) -> Encoding:
    """U = bin of R between sorted edges, which reduces variance but adds bias if a bin contains different rewards.

    Raises:
        ValueError: the edges are not sorted.
    """
    if np.any(np.diff(edges) <= 0):
        raise ValueError(f"bins need sorted edges, not {np.asarray(edges).tolist()}")
    bins = np.searchsorted(edges, np.asarray(mdp.reward_values), side="right")
    return Encoding(np.broadcast_to(bins, mdp.reward_probability.shape), len(edges) + 1)


def reward_class(rewards: Float[Array, " time"], values: Float[Array | np.ndarray, " rewards"]) -> Int[Array, " time"]:
    """The class of the nearest reward in the finite set, which is robust to rounding."""
    return jnp.argmin(jnp.abs(rewards[:, None] - jnp.asarray(values, dtype=rewards.dtype)), axis=1).astype(jnp.int32)


def outcome_of(
    encoding: Encoding,
    states: Int[Array, " time"],
    actions: Int[Array, " time"],
    rewards: Float[Array, " time"],
    values: Float[Array | np.ndarray, " rewards"],
) -> Int[Array, " time"]:
    """The outcomes along an episode."""
    return jnp.asarray(encoding.classes)[states, actions, reward_class(rewards, values)]
