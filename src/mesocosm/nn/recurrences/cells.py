r"""The states of a gated recurrence, $s_t = \phi(s_{t-1}, d_t + U h_{t-1})$, where $\phi$ acts on every channel by itself and $h$ is the first part of $s$.

A loop over time is bound by reading $U$. Here a step reads it once, in the order in which it is stored, and the derivative's products that need no loop are
made for all steps at once: the gradient of $U$ is one matrix product, instead of a sum of outer products that passes over all of $U$ in every step.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Cell = Callable[[Array, Array], Array]
"""From the states before (parts, ...) and the gates' inputs (gates, ...) to the states after (parts, ...)."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def recurrent_states(
    cell: Cell, drive: Float[Array, "time gates n"], recurrent: Float[Array, "rows n"], start: Float[Array, "parts n"]
) -> Float[Array, "time parts n"]:
    r"""All states. It can be differentiated in all modes and to all orders.

    Args:
        cell: $\phi$, the same function object at every call, so that it is compiled once.
        drive: $d_t$.
        recurrent: $U$, the rows of one gate after those of another; if it has fewer gates than the drive, the last ones get the drive alone.
        start: $s_0$.
    """
    columns = recurrent.T

    def step(state: Array, drive: Array) -> tuple[Array, Array]:
        state = cell(state, _add(drive, state[0] @ columns))
        return state, state

    return jax.lax.scan(step, start, drive)[1]


@recurrent_states.defjvp
def _derivative(cell: Cell, given: tuple[Array, Array, Array], moved: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """The linear recurrence of the tangents, whose coefficients are known for all steps before it begins."""
    drive, recurrent, start = given
    states = recurrent_states(cell, *given)
    before = jnp.concatenate([start[None], states[:-1]])
    hidden, add = before[:, 0], jax.vmap(_add)
    of_state, of_gates = jax.vmap(partial(_jacobians, cell))(before, add(drive, hidden @ recurrent.T))
    push = _times(of_gates, add(moved[0], hidden @ moved[1].T))
    of_products = of_gates[:, :, : len(recurrent) // recurrent.shape[1]]

    def step(tangent: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        push, of_state, of_products = at
        products = jax.lax.dot_general(tangent[0], recurrent, (((0,), (1,)), ((), ()))).reshape(of_products.shape[1:])  # whose transpose reads rows
        tangent = push + _times(of_state, tangent) + _times(of_products, products)
        return tangent, tangent

    return states, jax.lax.scan(step, moved[2], (push, of_state, of_products))[1]


def _add(drive: Float[Array, "gates n"], products: Float[Array, " rows"]) -> Float[Array, "gates n"]:
    return drive + jnp.pad(products, (0, drive.size - len(products))).reshape(drive.shape)


def _jacobians(
    cell: Cell, state: Float[Array, "parts n"], gates: Float[Array, "gates n"]
) -> tuple[Float[Array, "parts parts n"], Float[Array, "parts gates n"]]:
    """Derivatives of every part after; channels do not mix, so that one pass serves them all."""
    after, pull = jax.vjp(cell, state, gates)
    one_part = jnp.eye(len(after), dtype=after.dtype)[:, :, None]
    return jax.vmap(pull)(one_part * jnp.ones_like(after))


def _times(jacobian: Float[Array, "*time parts others n"], tangent: Float[Array, "*time others n"]) -> Float[Array, "*time parts n"]:
    return jnp.sum(jacobian * tangent[..., None, :, :], axis=-2)
