"""Nonlinear least squares by Levenberg and Marquardt's method, for many starts in one program by `vmap`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.numerics.linear_algebra import solve_positive
from mesocosm.numerics.precision import full_precision

Linearised = tuple[Float[Array, " residuals"], Float[Array, "residuals parameters"]]


class Minimum(NamedTuple):
    """Where the iteration ended.

    Attributes:
        parameters: the best parameters.
        loss: the sum of squares there.
    """

    parameters: Float[Array, " parameters"]
    loss: Float[Array, ""]


@full_precision
def levenberg_marquardt(
    linearise: Callable[[Float[Array, " parameters"]], Linearised],
    start: Float[Array, " parameters"],
    *,
    steps: int,
    damping: float = 1e-2,
    shrink: float = 0.4,
    grow: float = 3.0,
) -> Minimum:
    r"""Minimise $\|r(p)\|^2$ by steps $-(J^\top J + \lambda D)^{-1} J^\top r$ with $D = \mathrm{diag}(J^\top J)$.

    A step that lowers the loss is taken, and $\lambda$ shrinks; otherwise it grows. Starts of different luck need no synchronisation, so that `vmap` costs what
    they cost apart. Use float64: the normal equations square the condition number.

    Args:
        linearise: parameters -> (residuals, their Jacobian).
        start: the first parameters.
        steps: number of iterations, the same for all starts.
        damping: the first $\lambda$.
        shrink, grow: factors on $\lambda$ after a good and after a bad step.
    """

    def step(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], None]:
        parameters, residuals, jacobian, damping = carry
        gram = jacobian.T @ jacobian
        diagonal = jnp.diagonal(gram)
        floor = jnp.finfo(gram.dtype).eps * jnp.max(diagonal)  # parameters without effect, such as those of dead units, do not move
        move = solve_positive(gram + jnp.diag(damping * diagonal + floor), jacobian.T @ residuals)
        candidate = parameters - move
        moved_residuals, moved_jacobian = linearise(candidate)
        better = moved_residuals @ moved_residuals < residuals @ residuals  # false if the system had no solution
        moved = (candidate, moved_residuals, moved_jacobian, damping * shrink)
        kept = (parameters, residuals, jacobian, damping * grow)
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), moved, kept), None

    (parameters, residuals, _, _), _ = jax.lax.scan(step, (start, *linearise(start), jnp.asarray(damping, start.dtype)), length=steps)
    return Minimum(parameters, residuals @ residuals)
