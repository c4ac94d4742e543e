r"""Gradients that pass through the learning of a co-player: LOLA, LOLA-DICE, and shaping a learner from its first parameters on.

They take a function `value(own, other, key)` that maps the PyTrees of both players' parameters to their returns $J^i, J^{-i}$: exact ones, which ignore the key
(`analysis.memory_one.values`), or DiCE returns of sampled play (`dice_return`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

Value = Callable[[Any, Any, Any], Any]
Number = float | Float[Array, ""]


def lola(value: Value, own: PyTree, other: PyTree, rate: Number, key: Key[Array, ""] | None = None) -> PyTree:
    r"""LOLA's gradient, $\nabla_i J^i + \alpha\, (\nabla_{-i} J^i)^\top \nabla_i \nabla_{-i} J^{-i}$, to be ascended.

    Reference: Foerster et al., "Learning with opponent-learning awareness" (2018), Eq. 4.2.

    Args:
        value: (own, other, key) -> returns of both.
        own, other: parameters.
        rate: $\alpha$, the step size that the other is thought to use.
        key: passed on.
    """
    gradient, toward = jax.grad(lambda own, other: value(own, other, key)[0], argnums=(0, 1))(own, other)

    def shaped(own: PyTree) -> Any:
        return _dot(toward, _ascent(value, own, other, key))

    return jax.tree.map(lambda straight, shaping: straight + rate * shaping, gradient, jax.grad(shaped)(own))


def lola_dice(value: Value, own: PyTree, other: PyTree, rate: Number, steps: int, key: Key[Array, ""] | None = None) -> Float[Array, ""]:
    r"""$J^i(\phi^i, q_K)$ with $q_0 = \phi^{-i}$ and $q_{k+1} = q_k + \alpha \nabla_q J^{-i}(\phi^i, q_k)$: differentiate it in `own`.

    With `steps` 0 its gradient is the partial one, $\nabla_i J^i$.

    Reference: Foerster et al., "DiCE: the infinitely differentiable Monte Carlo estimator" (2018), Sec. 5; Meulemans et al. (2025), Eq. 4, whose update has
    $J^i$ for $J^{-i}$ by mistake.

    Args:
        value: (own, other, key) -> returns of both.
        own, other: parameters; those of the other are constants.
        rate: $\alpha$.
        steps: K, number of look-ahead steps.
        key: split over the K + 1 evaluations; None if `value` needs none.
    """
    keys = _keys(key, steps + 1)
    learned, _ = jax.lax.scan(
        lambda q, key: (_improved(value, own, q, rate, key), None), jax.lax.stop_gradient(other), None if keys is None else keys[:-1], steps
    )
    return value(own, learned, None if keys is None else keys[-1])[0]


def lifetime(value: Value, own: PyTree, learner: PyTree, rate: Number, updates: int, key: Key[Array, ""] | None = None) -> Float[Array, "moments 2"]:
    r"""$J^i(\phi^i, q_m)$ and $J^{-i}(\phi^i, q_m)$ for $m = 0 \ldots M$, against a learner that makes M gradient steps of its own.

    Args:
        value: (own, other, key) -> returns of both.
        own: the parameters of the agent, which does not learn meanwhile.
        learner: $q_0$, a constant.
        rate: the learner's step size.
        updates: M.
        key: split over the M + 1 evaluations; None if `value` needs none.
    """
    keys = _keys(key, updates + 1)

    def learn(q: PyTree, key: Any) -> tuple[PyTree, Any]:
        return _improved(value, own, q, rate, key), jnp.stack(value(own, q, key))

    learned, returns = jax.lax.scan(learn, jax.lax.stop_gradient(learner), None if keys is None else keys[:-1], updates)
    return jnp.concatenate([returns, jnp.stack(value(own, learned, None if keys is None else keys[-1]))[None]])


def shaping_return(value: Value, own: PyTree, learner: PyTree, rate: Number, updates: int, key: Key[Array, ""] | None = None) -> Float[Array, ""]:
    r"""$\frac{1}{M + 1} \sum_{m = 0}^{M} J^i(\phi^i, q_m)$, the mean of the agent's returns over a `lifetime`; differentiate it in `own`.

    Reference: Balaguer et al., "The Good Shepherd: an oracle agent for mechanism design" (2022); Meulemans et al. (2025), Eq. 1.
    """
    return jnp.mean(lifetime(value, own, learner, rate, updates, key)[:, 0])


def dice_return(
    log_probabilities: Float[Array, "batch time"],
    rewards: Float[Array, "batch time"],
    discount: Number = 1.0,
    values: Float[Array, "batch time"] | None = None,
    weights: Float[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    r"""A return of sampled play whose derivatives of every order estimate those of the expected return.

    $$\sum_n w_n \sum_t \gamma^t \big[ \square_{\le t}\, r_t + (1 - \square_t) V_t \big], \qquad \square = \exp(\tau - \text{stop}(\tau)),$$

    where $\tau_{\le t}$ is the log probability of all actions up to t and $\tau_t$ that of the actions at t.

    Reference: Foerster et al., "DiCE" (2018), Eq. 4-7.

    Args:
        log_probabilities: of the joint action of all players at each step, differentiable; actions themselves are constants.
        rewards: of one player.
        discount: $\gamma$.
        values: $V_t$, a constant baseline that does not depend on the actions at t; it changes no expectation.
        weights: $w_n$; None for the mean. Over all possible plays with their probabilities (constant), the result is exact.
    """
    powers = discount ** jnp.arange(rewards.shape[1], dtype=rewards.dtype)
    terms = _box(jnp.cumsum(log_probabilities, axis=1)) * rewards
    if values is not None:
        terms += (1 - _box(log_probabilities)) * jax.lax.stop_gradient(values)
    totals = terms @ powers
    return jnp.mean(totals) if weights is None else weights @ totals


def _box(log_probability: Array) -> Array:
    """The magic box: 1, with the derivatives of the probability relative to it."""
    return jnp.exp(log_probability - jax.lax.stop_gradient(log_probability))


def _ascent(value: Value, own: PyTree, other: PyTree, key: Any) -> PyTree:
    """The other's gradient of its own return."""
    return jax.grad(lambda q: value(own, q, key)[1])(other)


def _improved(value: Value, own: PyTree, other: PyTree, rate: Number, key: Any) -> PyTree:
    return jax.tree.map(lambda q, g: q + rate * g, other, _ascent(value, own, other, key))


def _keys(key: Any, number: int) -> Any:
    return None if key is None else jax.random.split(key, number)


def _dot(a: PyTree, b: PyTree) -> Any:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))
