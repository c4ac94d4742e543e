"""The mean contribution of an estimator with learned models at the first step, by dynamic programming: its bias without sampling."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.analysis.tabular.layered_programming import layered_action_values, layered_outcome_counts
from mesocosm.envs.tabular import LayeredMDP
from mesocosm.learning.exact_credit import Credit, Reinforce
from mesocosm.learning.learned_credit import Coefficients, LearnedAdvantage, LearnedCocoa, LearnedQCritic, LearnedTrajCV
from mesocosm.learning.outcome_credit import LearnedCocoaOfStates, LearnedCocoaOfVectors

Policy = Float[Array, "states actions"]


def expected_contributions(credit: Credit, models: Any, mdp: LayeredMDP, policy: Policy) -> Float[Array, " actions"] | None:
    """$E[C_0(a)]$ given the models; None if it is not known. The first step has no reward of its own."""
    if isinstance(credit, LearnedCocoa | LearnedCocoaOfVectors) or type(credit) is LearnedCocoaOfStates:
        coefficients: Coefficients = models
        return first_contributions(mdp, policy, coefficients.w, rewards_by_outcome(credit, mdp, policy))
    if isinstance(credit, Reinforce | LearnedAdvantage | LearnedTrajCV):
        return layered_action_values(mdp, policy)[0]  # less a value that is the same for all actions
    if isinstance(credit, LearnedQCritic):
        return models[0]
    return None


def rewards_by_outcome(credit: LearnedCocoa | LearnedCocoaOfVectors | LearnedCocoaOfStates, mdp: LayeredMDP, policy: Policy) -> Float[Array, "states outcomes"]:
    """The mean reward that comes with each outcome in each state."""
    values = jnp.asarray(mdp.reward_values, policy.dtype)
    weights = policy[..., None] * mdp.by_state(jnp.asarray(mdp.reward_probability, policy.dtype)) * values
    if isinstance(credit, LearnedCocoa):
        return jnp.einsum("sar,ru->su", weights, jax.nn.one_hot(credit.outcomes(values), credit.number, dtype=policy.dtype))
    if isinstance(credit, LearnedCocoaOfVectors):
        return jnp.einsum("sar,sau->su", weights, jax.nn.one_hot(jnp.asarray(credit.table), credit.number, dtype=policy.dtype))
    return jnp.diag(jnp.sum(weights, axis=(1, 2)))


def first_contributions(
    mdp: LayeredMDP, policy: Policy, learned: Float[Array, "states actions outcomes"], rewards: Float[Array, "states outcomes"]
) -> Float[Array, " actions"]:
    r"""$\sum_u \hat w(s_0, a, u)\, E[\sum_{k \ge 1} 1\{U_k = u\} R_k \mid s_0]$ for the mean rewards of `rewards_by_outcome`."""
    counts = layered_outcome_counts(mdp, policy, rewards)
    return learned[0] @ (policy[0] @ counts[0])


def relative_bias(policy: Float[Array, " actions"], expected: Float[Array, " actions"], true: Float[Array, " actions"]) -> Float[Array, ""]:
    """Squared distance of the expected gradient of the first state's logits from the true one, over the latter's square."""

    def gradient(contribution: Array) -> Array:
        return policy * (contribution - contribution @ policy)

    return jnp.sum((gradient(expected) - gradient(true)) ** 2) / jnp.sum(gradient(true) ** 2)
