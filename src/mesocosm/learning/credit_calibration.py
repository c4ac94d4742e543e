"""The networks of a learned credit beside what dynamic programming gives in a finite environment: the hindsight distribution, or values."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mesocosm.analysis.tabular.calibration import Calibration, hindsight_calibration
from mesocosm.analysis.tabular.dynamic_programming import action_values, occupancy, state_values
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

    Raises:
        ValueError: as `hindsight_calibration`, or the credit has another number of outcomes.
    """
    if coefficients.shape[-1] != credit.number:
        raise ValueError(f"there are coefficients of {coefficients.shape[-1]} outcomes, and the credit has {credit.number}")
    return hindsight_calibration(mdp, policy, event_classes(credit, mdp), coefficients)


class ValueErrors(NamedTuple):
    """Root mean squares over the states of an episode, each as often as it is expected, and over the policy's actions.

    Attributes:
        value_error: of the learned value less the exact one.
        value_size: of the exact value.
    """

    value_error: Float[Array, ""]
    value_size: Float[Array, ""]


def value_errors(values: Float[Array, " states"] | Table, mdp: TabularMDP, policy: Table) -> ValueErrors:
    """Compare learned values with the exact ones of the present policy.

    Args:
        values: of all states (V), or of all states and actions (Q).
        mdp: the environment in tabular form.
        policy: the behaviour policy, exploration included.

    Raises:
        ValueError: the values have another shape.
    """
    exact = action_values(mdp, policy)
    if values.shape not in (exact.shape, exact.shape[:1]):
        raise ValueError(f"the shape of the values is {list(values.shape)}, neither {list(exact.shape[:1])} (V) nor {list(exact.shape)} (Q)")
    visits = occupancy(mdp, policy)
    weights = visits[:, None] * policy / jnp.sum(visits)
    if values.ndim == 1:
        values, exact = values[:, None], state_values(policy, exact)[:, None]
    error, size = (jnp.sqrt(jnp.sum(weights * part**2)) for part in (values - exact, exact))
    return ValueErrors(error, size)
