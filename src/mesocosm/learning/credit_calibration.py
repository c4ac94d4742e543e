"""The hindsight network of a learned credit beside the exact hindsight distribution, in a finite environment."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mesocosm.analysis.tabular.calibration import Calibration, hindsight_calibration
from mesocosm.envs.tabular import TabularMDP
from mesocosm.learning.exact_credit import Steps, Table
from mesocosm.learning.learned_credit import CocoaOfClasses


def event_classes(credit: CocoaOfClasses, mdp: TabularMDP) -> Int[Array, "states actions rewards"]:
    """The outcome that a credit gives each (state, action, reward); -1 for one that gets no credit."""
    shape = mdp.reward_probability.shape
    states, actions, rewards = (part.reshape(-1) for part in jnp.meshgrid(*(jnp.arange(size) for size in shape), indexing="ij"))
    seen = credit.flat(jnp.asarray(mdp.observations, dtype=float))
    no_policy = jnp.zeros((len(states), shape[1]), seen.dtype)
    events = Steps(states, actions, jnp.asarray(mdp.reward_values, seen.dtype)[rewards], no_policy, jnp.ones(len(states), bool))
    return credit.classes(seen, events).reshape(shape)


def calibration_of(credit: CocoaOfClasses, coefficients: Float[Array, "states actions outcomes"], mdp: TabularMDP, policy: Table) -> Calibration:
    """Compare the coefficients of a learned credit (`Coefficients.w` of its models) with the exact ones.

    Args:
        credit: says which events are which outcome.
        coefficients: of all states of the environment.
        mdp: the environment in tabular form.
        policy: the behaviour policy, exploration included.
    """
    return hindsight_calibration(mdp, policy, event_classes(credit, mdp), coefficients)
