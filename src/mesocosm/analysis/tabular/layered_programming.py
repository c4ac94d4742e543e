"""Dynamic programming for environments whose states determine the time: one backward recursion without a linear solve, fast enough for a training loop.

The quantities are those of `dynamic_programming`; tests compare the two. Policies and results are tables over the states of the `TabularMDP`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mesocosm.envs.tabular import LayeredMDP
from mesocosm.numerics.precision import full_precision

Policy = Float[Array, "states actions"]


@full_precision
def layered_action_values(mdp: LayeredMDP, policy: Policy) -> Float[Array, "states actions"]:
    r"""$Q_t = \bar r_t + P_t V_{t+1}$, $V_t = \sum_a \pi Q_t$."""
    transition, probability = jnp.asarray(mdp.transition, policy.dtype), mdp.by_time(policy)
    reward = jnp.asarray(mdp.reward_probability, policy.dtype) @ jnp.asarray(mdp.reward_values, policy.dtype)

    def back(value: Array, here: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        transition, reward, probability = here
        action_value = reward + transition @ value
        return jnp.sum(probability * action_value, axis=-1), action_value

    nothing = jnp.zeros(transition.shape[1], policy.dtype)
    return mdp.by_state(jax.lax.scan(back, nothing, (transition, reward, probability), reverse=True)[1])


@full_precision
def layered_outcome_counts(mdp: LayeredMDP, policy: Policy, probability: Float[Array, "states outcomes"]) -> Float[Array, "states actions outcomes"]:
    r"""Expected future encounters, $O_t(s, a, u) = \sum_{s'} P_t(s' \mid s, a) [P(u \mid s') + \sum_{a'} \pi(a' \mid s') O_{t+1}(s', a', u)]$."""
    transition, chosen, now = jnp.asarray(mdp.transition, policy.dtype), mdp.by_time(policy), mdp.by_time(probability)

    def back(from_next: Array, here: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        transition, chosen, now = here
        counts = jnp.einsum("kaj,ju->kau", transition, from_next)
        return now + jnp.einsum("ka,kau->ku", chosen, counts), counts

    nothing = jnp.zeros((transition.shape[1], probability.shape[1]), policy.dtype)
    return mdp.by_state(jax.lax.scan(back, nothing, (transition, chosen, now), reverse=True)[1])


def reward_units(reward_values: Float[np.ndarray, " rewards"], unit: float) -> tuple[int, ...]:
    """Convert rewards to whole multiples of a unit.

    Raises:
        ValueError: a reward is negative or not a whole multiple.
    """
    multiples = np.asarray(reward_values, dtype=np.float64) / unit
    whole = np.rint(multiples).astype(int)
    if np.any(np.abs(multiples - whole) > 1e-6) or np.any(whole < 0):
        raise ValueError(f"the rewards {np.asarray(reward_values).tolist()} are not all non-negative whole multiples of {unit:g}")
    return tuple(whole.tolist())


def most_units(mdp: LayeredMDP, units: tuple[int, ...]) -> int:
    """An upper bound on the return, in units: the sum over steps of the largest possible reward."""
    possible = np.asarray(mdp.reward_probability) > 0
    return int(np.sum(np.max(possible * np.asarray(units), axis=(1, 2, 3))))


@full_precision
def layered_return_distribution(mdp: LayeredMDP, policy: Policy, units: tuple[int, ...], most: int) -> Float[Array, "states actions returns"]:
    r"""$p(Z_t = z \mid s, a)$ for $z$ = 0 .. `most` units of reward, $Z_t = \sum_{k \ge 0} R_{t+k}$.

    The recursion shifts the return distribution of the next state by each possible reward and mixes with the rewards' probabilities.

    Args:
        mdp: the process.
        policy: the behaviour policy.
        units: each reward in units (`reward_units`), fixed at compile time.
        most: the largest return in units (`most_units`).
    """
    transition, chosen = jnp.asarray(mdp.transition, policy.dtype), mdp.by_time(policy)
    rewards = jnp.asarray(mdp.reward_probability, policy.dtype)
    at_the_end = jnp.zeros(most + 1, policy.dtype).at[0].set(1.0)

    def back(from_next: Array, here: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        transition, rewards, chosen = here
        later = jnp.einsum("kaj,jz->kaz", transition, from_next) + (1.0 - jnp.sum(transition, axis=-1))[..., None] * at_the_end
        shifted = [rewards[..., r, None] * jnp.pad(later, ((0, 0), (0, 0), (unit, 0)))[..., : most + 1] for r, unit in enumerate(units)]
        found = sum(shifted[1:], start=shifted[0])
        return jnp.einsum("ka,kaz->kz", chosen, found), found

    end = jnp.broadcast_to(at_the_end, (transition.shape[1], most + 1))
    return mdp.by_state(jax.lax.scan(back, end, (transition, rewards, chosen), reverse=True)[1])
