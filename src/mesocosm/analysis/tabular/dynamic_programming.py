r"""Exact quantities of a finite Markov decision process under a policy, by one linear solve: occupancy, successors, values, contribution coefficients.

All sums over the future start one step ahead: $k = 0$ is never part of a contribution. With a discount $\gamma$, step $k$ has weight $\gamma^k$, as in a
process that survives each step with probability $\gamma$.

Reference: Meulemans et al., "Would I have gotten that reward?" (2023), Sec. 3 and App. E.3.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mesocosm.envs.tabular import TabularMDP
from mesocosm.numerics.linear_algebra import solve
from mesocosm.numerics.precision import full_precision

Policy = Float[Array | np.ndarray, "states actions"]
Outcomes = Int[Array | np.ndarray, "states actions rewards"]
Successor = Float[Array, "states actions states"]


@full_precision
def state_transition(mdp: TabularMDP, policy: Policy) -> Float[Array, "states states"]:
    r"""$P_\pi(s' \mid s) = \sum_a \pi(a \mid s) P(s' \mid s, a)$."""
    return jnp.einsum("sa,saz->sz", policy, mdp.transition)


def occupancy(mdp: TabularMDP, policy: Policy) -> Float[Array, " states"]:
    r"""Expected number of visits, $d = d_0 (I - P_\pi)^{-1}$, including time 0."""
    system = jnp.eye(mdp.states) - state_transition(mdp, policy)
    return solve(system.T, jnp.asarray(mdp.initial, dtype=system.dtype))


def successor(mdp: TabularMDP, policy: Policy, discount: float | Array = 1.0) -> Successor:
    r"""Expected future visits, $M(s, a, s') = \sum_{k \ge 1} \gamma^k P(S_k = s' \mid s, a) = \gamma P (I - \gamma P_\pi)^{-1}$."""
    system = jnp.eye(mdp.states) - discount * state_transition(mdp, policy)
    flat = discount * jnp.asarray(mdp.transition, dtype=system.dtype).reshape(-1, mdp.states)
    return solve(system.T, flat.T).T.reshape(mdp.transition.shape)


@full_precision
def successor_by_recursion(mdp: TabularMDP, policy: Policy, steps: int, discount: float | Array = 1.0) -> Successor:
    r"""The first `steps` terms of the sum in `successor`, $\sum_{k=1}^{n} \gamma^k P P_\pi^{k-1}$, by recursion."""
    transition = discount * jnp.asarray(mdp.transition, dtype=float)
    forward = discount * state_transition(mdp, policy)

    def add(total: Array, _: None) -> tuple[Array, None]:
        return transition + jnp.einsum("saz,zy->say", total, forward), None

    return jax.lax.scan(add, jnp.zeros_like(transition), length=steps)[0]


@full_precision
def state_after(mdp: TabularMDP, policy: Policy, steps: int, discount: float | Array = 1.0) -> Successor:
    r"""$\gamma^n P(S_n = s' \mid s, a)$ for $n$ = `steps`, one or more."""
    at = discount * jnp.asarray(mdp.transition, dtype=float)
    forward = discount * state_transition(mdp, policy)
    return jax.lax.fori_loop(0, steps - 1, lambda _, at: jnp.einsum("saz,zy->say", at, forward), at)


@full_precision
def action_values(mdp: TabularMDP, policy: Policy, discount: float | Array = 1.0) -> Float[Array, "states actions"]:
    r"""$Q(s, a) = \bar r(s, a) + \sum_{s'} M(s, a, s') \sum_{a'} \pi(a' \mid s') \bar r(s', a')$."""
    reward = jnp.asarray(mdp.mean_reward, dtype=float)
    return reward + successor(mdp, policy, discount) @ jnp.sum(policy * reward, axis=1)


def state_values(policy: Policy, action_values: Float[Array, "states actions"]) -> Float[Array, " states"]:
    r"""$V(s) = \sum_a \pi(a \mid s) Q(s, a)$."""
    return jnp.sum(policy * action_values, axis=1)


@full_precision
def return_distribution(mdp: TabularMDP, policy: Policy, units: tuple[int, ...], most: int, steps: int) -> Float[Array, "states actions returns"]:
    r"""$p(Z_t = z \mid s, a)$ for z = 0 .. `most`, for rewards given as whole numbers `units` and episodes of at most `steps` steps."""
    transition, rewards = jnp.asarray(mdp.transition, dtype=float), jnp.asarray(mdp.reward_probability, dtype=float)
    at_the_end = jnp.zeros(most + 1).at[0].set(1.0)

    def back(_: Any, from_next: Array) -> Array:
        value = jnp.einsum("sa,saz->sz", policy, from_next)
        later = jnp.einsum("say,yz->saz", transition, value) + (1.0 - jnp.sum(transition, axis=2))[..., None] * at_the_end
        return sum(rewards[..., r, None] * jnp.pad(later, ((0, 0), (0, 0), (unit, 0)))[..., : most + 1] for r, unit in enumerate(units))  # type: ignore[return-value]

    return jax.lax.fori_loop(0, steps, back, jnp.broadcast_to(at_the_end, (*transition.shape[:2], most + 1)))


# --- contributions -----------------------------------------------------------------------------------------------------


@full_precision
def outcome_probability(mdp: TabularMDP, policy: Policy, outcomes: Outcomes, number: int) -> Float[Array, "states outcomes"]:
    r"""Probability of each outcome in a state, $\sum_{a, r} \pi(a \mid s) \rho(r \mid s, a) 1\{U(s, a, r) = u\}$."""
    weights = policy[..., None] * jnp.asarray(mdp.reward_probability, dtype=float)
    return jnp.einsum("sar,saru->su", weights, jax.nn.one_hot(outcomes, number, dtype=weights.dtype))


@full_precision
def outcome_counts(successor: Successor, probability: Float[Array, "states outcomes"]) -> Float[Array, "states actions outcomes"]:
    r"""Expected number of future encounters, $O(s, a, u) = \sum_{s'} M(s, a, s') P(u \mid s')$."""
    return successor @ probability


@full_precision
def coefficients(counts: Float[Array, "states actions outcomes"], policy: Policy) -> Float[Array, "states actions outcomes"]:
    r"""Contribution coefficients, $w(s, a, u) = O(s, a, u) / \sum_{a'} \pi(a' \mid s) O(s, a', u) - 1$; zero where the outcome cannot be reached."""
    mean = jnp.einsum("sa,sau->su", policy, counts)[:, None]
    reached = mean >= jnp.finfo(mean.dtype).tiny
    return jnp.where(reached, counts / jnp.where(reached, mean, 1.0) - 1.0, 0.0)


def hindsight(counts: Float[Array, "states actions outcomes"], policy: Policy) -> Float[Array, "states actions outcomes"]:
    r"""Hindsight distribution, $p(a \mid s, u) = \pi(a \mid s) (w(s, a, u) + 1)$."""
    return jnp.asarray(policy)[..., None] * (coefficients(counts, policy) + 1.0)


def exact_coefficients(
    mdp: TabularMDP, policy: Policy, outcomes: Outcomes, number: int, discount: float | Array = 1.0
) -> Float[Array, "states actions outcomes"]:
    r"""The contribution coefficients for any outcome encoding.

    Args:
        mdp: the process.
        policy: behaviour policy, exploration included.
        outcomes: the class of each (state, action, reward), counted from 0.
        number: the number of classes.
        discount: $\gamma$, 1 for no discount.
    """
    return coefficients(outcome_counts(successor(mdp, policy, discount), outcome_probability(mdp, policy, outcomes, number)), policy)


@full_precision
def outcome_rewards(mdp: TabularMDP, policy: Policy, outcomes: Outcomes, number: int, discount: float | Array = 1.0) -> Float[Array, "states outcomes"]:
    r"""Expected reward that comes with each outcome in the future, $E[\sum_{k \ge 1} \gamma^k 1\{U_k = u\} R_k \mid s]$."""
    weights = policy[..., None] * jnp.asarray(mdp.reward_probability, dtype=float) * jnp.asarray(mdp.reward_values, dtype=float)
    now = jnp.einsum("sar,saru->su", weights, jax.nn.one_hot(outcomes, number, dtype=weights.dtype))
    return jnp.einsum("sa,sau->su", policy, successor(mdp, policy, discount) @ now)


# --- gradients ---------------------------------------------------------------------------------------------------------


def policy_gradient(policy: Any, parameters: Any, contributions: Float[Array, "states actions"]) -> Any:
    r"""$\sum_s \sum_a \nabla_\theta \pi_\theta(a \mid s)\, C(s, a)$, with constant contributions.

    Args:
        policy: maps parameters to the probabilities in all states.
        parameters: the point at which to take the gradient.
        contributions: of each action, summed over visits; for an expected gradient, weighted by `occupancy`.
    """
    table, pull = jax.vjp(policy, parameters)
    return pull(jnp.asarray(contributions, dtype=table.dtype))[0]
