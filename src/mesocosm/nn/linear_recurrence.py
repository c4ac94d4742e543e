r"""The diagonal linear recurrence, real or complex, in three orders of work that give the same numbers.

$$h_t = \lambda_t \odot h_{t-1} + g_t, \qquad h_0 \text{ given}.$$

The state is inclusive: $h_t$ already contains $g_t$. One step after the other costs the fewest operations but runs T small ones; the associative scan runs
$\log T$ large ones, several times as many in all; blocks of about $\sqrt T$ steps, all blocks at once and then their carries, stand between the two and were
the fastest on CPU for long sequences (`benchmarks/linear_recurrence.py`).

References: Blelloch, "Prefix sums and their applications" (1990); Martin and Cundy, "Parallelizing linear recurrent neural nets over sequence length" (2018).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

Decay = Inexact[Array, " n"] | Inexact[Array, "time n"]

SHORTEST_BLOCKED = 256
"""From this length on blocks are faster than single steps on a CPU, at 64 and at 512 channels."""


def linear_recurrence(decay: Decay, inputs: Inexact[Array, "time n"], initial: Inexact[Array, " n"] | None = None) -> Inexact[Array, "time n"]:
    r"""$h_t = \lambda_t \odot h_{t-1} + g_t$ for t = 1..T, in the order that was measured to be the fastest.

    Args:
        decay: $\lambda$, the same at all times or one a time.
        inputs: $g_1 \dots g_T$.
        initial: $h_0$; zero if not given.
    """
    order = sequential_recurrence if inputs.shape[0] < SHORTEST_BLOCKED else blocked_recurrence
    return order(decay, inputs, initial)


def sequential_recurrence(decay: Decay, inputs: Inexact[Array, "time n"], initial: Inexact[Array, " n"] | None = None) -> Inexact[Array, "time n"]:
    """One step after the other."""
    start = _start(decay, inputs, initial)
    if decay.ndim == 1:
        return jax.lax.scan(lambda state, add: _twice(decay * state + add), start, inputs)[1]
    return jax.lax.scan(lambda state, at: _twice(at[0] * state + at[1]), start, (decay, inputs))[1]


def associative_recurrence(decay: Decay, inputs: Inexact[Array, "time n"], initial: Inexact[Array, " n"] | None = None) -> Inexact[Array, "time n"]:
    r"""A parallel prefix over the pairs $(\lambda_t, g_t)$, which compose as $(\lambda, g) \cdot (\lambda', g') = (\lambda \lambda', \lambda' g + g')$."""
    start = _start(decay, inputs, initial)
    factors = jnp.broadcast_to(decay, inputs.shape).astype(start.dtype)
    products, states = jax.lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (factors, inputs.astype(start.dtype)))
    return states + products * start


def blocked_recurrence(
    decay: Decay, inputs: Inexact[Array, "time n"], initial: Inexact[Array, " n"] | None = None, *, block: int | None = None
) -> Inexact[Array, "time n"]:
    r"""All blocks of `block` steps at once from a state of zero, then the state at the entry of each block, whose part is added.

    Args:
        block: steps of a block; about $\sqrt T$ if not given.
    """
    start, length = _start(decay, inputs, initial), inputs.shape[0]
    block = max(1, math.isqrt(length)) if block is None else block
    if block < 1:
        raise ValueError(f"a block has at least 1 step, not {block}")
    blocks = -(-length // block)
    within = _by_block(inputs.astype(start.dtype), blocks, block)
    factors = decay if decay.ndim == 1 else _by_block(decay, blocks, block)

    def step(carry: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        state, product = carry
        factor, add = at
        return _twice((factor * state + add, factor * product))

    first = (jnp.zeros_like(within[0]), jnp.ones_like(within[0]))
    per_step = jnp.broadcast_to(factors, within.shape) if decay.ndim > 1 else None
    if per_step is None:
        (ends, totals), (local, products) = jax.lax.scan(lambda carry, add: step(carry, (decay, add)), first, within)
    else:
        (ends, totals), (local, products) = jax.lax.scan(step, first, (per_step, within))
    _, entries = jax.lax.scan(lambda state, at: (at[0] * state + at[1], state), start, (totals, ends))
    states = jnp.swapaxes(local + products * entries, 0, 1)
    return states.reshape(blocks * block, -1)[:length]


def _by_block(x: Array, blocks: int, block: int) -> Array:
    """(time, n) to (block, blocks, n); what is missing at the end is zero."""
    padded = jnp.pad(x, [(0, blocks * block - x.shape[0]), (0, 0)])
    return jnp.swapaxes(padded.reshape(blocks, block, -1), 0, 1)


def _start(decay: Array, inputs: Array, initial: Array | None) -> Array:
    if decay.shape[-1] != inputs.shape[-1]:
        raise ValueError(f"decays of {decay.shape[-1]} channels do not fit inputs of {inputs.shape[-1]}")
    dtype = jnp.result_type(decay, inputs, *(() if initial is None else (initial,)))
    return jnp.zeros(inputs.shape[1:], dtype) if initial is None else initial.astype(dtype)


def _twice(state):
    return state, state
