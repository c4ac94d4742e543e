r"""Momentum, gradient noise and decoupled decay on two factors: the identity of their imbalance, and the floor at which it stops falling.

$$dH^A = \mu (G B\,dt + \sigma\,dW - H^A dt), \qquad dA = -\eta (H^A + \lambda A)\,dt, \qquad\text{likewise } B \text{ with } G^\top A.$$

Then, along every path,

$$D(t) = e^{-2\eta\lambda t} D(0) - \eta \int_0^t e^{-2\eta\lambda (t - s)} \left(H^{A\top} A + A^\top H^A - H^{B\top} B - B^\top H^B\right) ds.$$

The first part falls at rate $2\eta\lambda$; the second does not, and grows with $\sigma$: a floor. Without noise, velocities are gradients in the end and the
floor is gone.
One step of the simulation obeys the same identity without any error of discretisation (`imbalance_after_adamw_step`).

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), Prop. B.2, whose printed exponent lacks $t$.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mesocosm.analysis.spectra.low_rank_law import Factors, imbalance, imbalance_after_adamw_step
from mesocosm.numerics.precision import full_precision

Gradient = Callable[[Float[Array, "m n"]], Float[Array, "m n"]]
"""The product $W$ -> $\\partial L / \\partial W$."""


class Rates(NamedTuple):
    r"""The constants of the flow.

    Attributes:
        momentum: $\mu$.
        learning_rate: $\eta$.
        decay: $\lambda$.
        noise: $\sigma$.
        step: $dt$ of the simulation.
    """

    momentum: Any
    learning_rate: Any
    decay: Any
    noise: Any
    step: Any


class Path(NamedTuple):
    r"""Along the simulation, after every block of steps.

    Attributes:
        time: $t$.
        difference: $\|D(t)\|_F$.
        integral_error: $\|D - \text{the identity}\|_F / \|D(0)\|_F$, with the integral as a left sum: of the order of $dt$.
        step_error: the same with the exact law of every step instead of the integral: rounding only.
        factors: $A$ and $B$.
    """

    time: Float[Array, " times"]
    difference: Float[Array, " times"]
    integral_error: Float[Array, " times"]
    step_error: Float[Array, " times"]
    factors: Factors


class _State(NamedTuple):
    factors: Factors
    velocity: Factors
    by_integral: Float[Array, "r r"]
    by_steps: Float[Array, "r r"]


@full_precision
def simulate(start: Factors, gradient: Gradient, rates: Rates, *, blocks: int, block: int, key: Key[Array, ""]) -> Path:
    """Integrate by the method of Euler and Maruyama from velocities of zero, and both forms of the identity beside it.

    Args:
        start: $A$ and $B$ at time 0.
        gradient: that of the loss with respect to the product.
        rates: the constants.
        blocks, block: number of measurements, and of steps between two.
        key: of the noise.
    """
    first = imbalance(start)

    def step(state: _State, key: Any) -> tuple[_State, None]:
        (a, b), velocity = state.factors, state.velocity
        slope = gradient(a @ b.T)
        pushes = Factors(slope @ b, slope.T @ a)
        drawn = jax.random.normal(key, (a.shape[0] + b.shape[0], a.shape[1]), a.dtype)
        noise = Factors(drawn[: a.shape[0]], drawn[a.shape[0] :])
        moved = rates.learning_rate * rates.step  # what one step moves the factors by
        after = jax.tree.map(lambda x, h: x - moved * (h + rates.decay * x), state.factors, velocity)
        kept = jnp.exp(-2 * moved * rates.decay)
        by_integral = kept * (state.by_integral - moved * _mixed(state.factors, velocity))
        exact = imbalance_after_adamw_step(state.factors, velocity, moved, rates.decay)
        by_steps = exact + (1 - moved * rates.decay) ** 2 * (state.by_steps - imbalance(state.factors))
        accelerated = jax.tree.map(
            lambda h, push, xi: h + rates.momentum * (rates.step * (push - h) + rates.noise * jnp.sqrt(rates.step) * xi), velocity, pushes, noise
        )
        return _State(after, accelerated, by_integral, by_steps), None

    def measure(state: _State, keys: Any) -> tuple[_State, Path]:
        state, _ = jax.lax.scan(step, state, keys)
        found, size = imbalance(state.factors), jnp.linalg.norm(first)
        by_integral, by_steps = (jnp.linalg.norm(found - told) / size for told in (state.by_integral, state.by_steps))
        return state, Path(jnp.zeros(()), jnp.linalg.norm(found), by_integral, by_steps, state.factors)

    keys = jax.random.split(key, (blocks, block))
    _, path = jax.lax.scan(measure, _State(start, jax.tree.map(jnp.zeros_like, start), first, first), keys)
    return path._replace(time=rates.step * block * jnp.arange(1, blocks + 1))


def _mixed(factors: Factors, velocity: Factors) -> Float[Array, "r r"]:
    (a, b), (u, v) = factors, velocity
    return a.T @ u + u.T @ a - b.T @ v - v.T @ b
