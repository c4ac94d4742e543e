"""Conjugate gradients for many small positive definite systems at once, each with its own stopping criterion."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from mesocosm.numerics.edges import ratio, root


class Solution(NamedTuple):
    """x: the solutions. residual: norm of the last residual divided by that of the first (0 if that is 0). steps: steps taken."""

    x: Float[Array, "*systems n"]
    residual: Float[Array, "*systems"]
    steps: Int[Array, "*systems"]


class _Search(NamedTuple):
    x: Array
    residual: Array
    direction: Array
    squared_norm: Array
    steps: Array


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)


def conjugate_gradient(
    operator: Callable[[Array], Array],
    rhs: Float[Array, "*systems n"],
    start: Float[Array, "*systems n"],
    *,
    steps: int,
    tolerance: ArrayLike = 0.0,
    unroll: bool = False,
) -> Solution:
    r"""Solve $A_i x_i = b_i$ for every system i; `operator` maps all search directions to all $A_i p_i$.

    A system stops as soon as $\|r\| \le$ tolerance $\|r_0\|$ and is frozen from then on, so its result does not depend on its neighbours.
    The loop ends when all have stopped or after `steps` steps.

    Args: unroll, take exactly `steps` steps in a loop that supports reverse-mode differentiation.
    Raises ValueError if `steps` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}.")
    residual = rhs - operator(start)
    first = _dot(residual, residual)
    limit = jnp.asarray(tolerance, rhs.dtype) ** 2 * first
    search = _Search(start, residual, residual, first, jnp.zeros(first.shape, jnp.int32))

    def advance(search: _Search) -> _Search:
        active = search.squared_norm > limit
        image = operator(search.direction)
        length = ratio(search.squared_norm, jnp.where(active, _dot(search.direction, image), 0))[..., None]
        x = search.x + length * search.direction
        residual = search.residual - length * image
        squared_norm = _dot(residual, residual)
        momentum = ratio(squared_norm, jnp.where(active, search.squared_norm, 0))[..., None]
        direction = jnp.where(active[..., None], residual + momentum * search.direction, search.direction)
        return _Search(x, residual, direction, squared_norm, search.steps + active)

    if unroll:
        search, _ = jax.lax.scan(lambda s, _: (advance(s), None), search, length=steps)
    elif steps:
        _, search = jax.lax.while_loop(
            lambda carry: (carry[0] < steps) & jnp.any(carry[1].squared_norm > limit), lambda carry: (carry[0] + 1, advance(carry[1])), (0, search)
        )
    return Solution(search.x, root(ratio(search.squared_norm, first)), search.steps)
