r"""Proximal policy optimisation in pools: whole games in minibatches, several steps on the same games, and their clipped terms.

With the ratio $\rho = \pi(a \mid h) / \pi_{\text{old}}(a \mid h)$ and old values $V_{\text{old}}$, the terms of `actor_critic_pool` become

$$\log \pi\, A \to \min\big(\rho A,\; \text{clip}(\rho, 1 - \varepsilon, 1 + \varepsilon) A\big), \qquad
(V - G)^2 \to \max\big((V - G)^2,\; (V_{\text{old}} + \text{clip}(V - V_{\text{old}}, -\varepsilon, \varepsilon) - G)^2\big).$$

Reference: Schulman et al., "Proximal policy optimization algorithms" (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from mesocosm.learning.actor_critic_pool import ActorCriticPool, Number, PerStep, PoolState


class Clipped(NamedTuple):
    """Weighted scores and squared errors of values, both clipped."""

    scored: PerStep
    errors: PerStep


def clipped_terms(new: PerStep, old: PerStep, weights: PerStep, values: PerStep, old_values: PerStep, targets: PerStep, clip: Number) -> Clipped:
    r"""The formula above.

    Args:
        new, old: $\log \pi$ and $\log \pi_{\text{old}}$ of the actions taken.
        weights: A.
        values, old_values: V.
        targets: G.
        clip: $\varepsilon$.
    """
    ratio = jnp.exp(new - old)
    near = old_values + jnp.clip(values - old_values, -clip, clip)
    scored = jnp.minimum(ratio * weights, jnp.clip(ratio, 1 - clip, 1 + clip) * weights)
    return Clipped(scored, jnp.maximum((values - targets) ** 2, (near - targets) ** 2))


def check_minibatches(naive: int, peers: int, minibatches: int) -> None:
    """Reject minibatches of unequal size.

    Raises:
        ValueError: the minibatches do not divide the games of each kind.
    """
    if naive % minibatches or peers % minibatches:
        raise ValueError(f"{minibatches} minibatches must divide the {naive} games against naive learners and the {peers} against agents")


def split_games(key: Key[Array, ""], naive: int, peers: int, minibatches: int) -> Int[Array, "minibatches part"]:
    """A random split into parts that have the same number of games of each kind, those against naive learners first."""
    kinds = [jnp.arange(naive), naive + jnp.arange(peers)]
    shuffled = [jax.random.permutation(key, kind).reshape(minibatches, -1) for kind, key in zip(kinds, jax.random.split(key), strict=True)]
    return jnp.concatenate(shuffled, axis=1)


def take_steps(
    pool: ActorCriticPool, state: PoolState, parts: Int[Array, "steps part"], loss: Callable[[Any, Int[Array, " part"]], Float[Array, ""]]
) -> tuple[PoolState, Float[Array, ""]]:
    """A step on each part of the games after the other: the state after them, and the mean loss.

    Args:
        pool: whose steps.
        state: before them.
        parts: the games of each step.
        loss: (agents, games) -> the loss.
    """
    trained, fixed = eqx.partition(state.agents, eqx.is_inexact_array)

    def step(carry: tuple[PyTree, PyTree], games: Int[Array, " part"]) -> tuple[tuple[PyTree, PyTree], Float[Array, ""]]:
        trained, optimizers = carry
        value, gradients = jax.value_and_grad(lambda leaves: loss(eqx.combine(leaves, fixed), games))(trained)
        return pool.take_step(trained, gradients, optimizers), value

    (trained, optimizers), losses = jax.lax.scan(step, (trained, state.optimizers), parts)
    return PoolState(eqx.combine(trained, fixed), optimizers), jnp.mean(losses)
