r"""Gated linear recurrences on fast weights without a solve: gated linear attention and the (gated) delta rule.

They share queries, keys, values and gates with the gated mesa layer and differ from it only in the memory: linear attention adds, the delta rule takes one
online gradient step on the regression loss, and the mesa layer minimises it.

References: Yang et al., "Gated linear attention transformers with hardware-efficient training" (2024); Yang et al., "Parallelizing linear transformers with
the delta rule" (2024)
and "Gated delta networks" (2025); von Oswald et al., "MesaNet" (2025), Table 1.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mesocosm.nn.mixers.gated_sums import balanced_chunk, check_gates, chunk_gates, entry_states, join_chunks, outer_sums, read_chunks, split_chunks


def gated_linear_attention(
    query: Float[Array, "time key_dim"],
    key: Float[Array, "time key_dim"],
    value: Float[Array, "time value_dim"],
    log_forget: Float[Array, " time"] | None = None,
    input_gate: Float[Array, " time"] | None = None,
    state: Float[Array, "value_dim key_dim"] | None = None,
    *,
    chunk: int = 64,
) -> tuple[Float[Array, "time value_dim"], Float[Array, "value_dim key_dim"]]:
    r"""$G_t = \gamma_t G_{t-1} + \beta_t v_t k_t^\top$, $o_t = G_t q_t$, chunk-parallel, one head (use `jax.vmap`).

    Args: log_forget, $\log \gamma_t \le 0$, -inf for a reset (None: 0); input_gate, $\beta_t$ (None: 1); state, $G_0$ (None: 0).
    Returns the outputs in the dtype of `query`, and the last state in float32 or wider.
    """
    length, dtype = query.shape[0], jnp.promote_types(query.dtype, jnp.float32)
    q, k, v = (x.astype(dtype) for x in (query, key, value))
    log_forget, input_gate = fill_gates(length, dtype, log_forget, input_gate)
    state = jnp.zeros((v.shape[1], k.shape[1]), dtype) if state is None else state.astype(dtype)
    chunk = balanced_chunk(length, chunk)
    gates = chunk_gates(split_chunks(log_forget, chunk))
    gate = split_chunks(input_gate, chunk)
    entry, final = entry_states(outer_sums(v, k, gates.remaining * gate), gates.total, state)
    out = read_chunks(split_chunks(q, chunk), split_chunks(k, chunk), split_chunks(v, chunk), gates.pair * gate[:, None, :], gates.decay, entry)
    return join_chunks(out, length).astype(query.dtype), final


def delta_rule(
    query: Float[Array, "time key_dim"],
    key: Float[Array, "time key_dim"],
    value: Float[Array, "time value_dim"],
    log_forget: Float[Array, " time"] | None = None,
    input_gate: Float[Array, " time"] | None = None,
    state: Float[Array, "value_dim key_dim"] | None = None,
) -> tuple[Float[Array, "time value_dim"], Float[Array, "value_dim key_dim"]]:
    r"""$G_t = \gamma_t G_{t-1} (I - \beta_t k_t k_t^\top) + \beta_t v_t k_t^\top$, $o_t = G_t q_t$: online gradient descent on $\|v_t - G k_t\|^2 / 2$ with
    step size $\beta_t$.

    This is DeltaNet without `log_forget`, and gated DeltaNet with it. It runs the recursion token by token, for one head (use `jax.vmap`). Arguments and
    results are those of `gated_linear_attention`.
    """
    length, dtype = query.shape[0], jnp.promote_types(query.dtype, jnp.float32)
    q, k, v = (x.astype(dtype) for x in (query, key, value))
    log_forget, input_gate = fill_gates(length, dtype, log_forget, input_gate)
    state = jnp.zeros((v.shape[1], k.shape[1]), dtype) if state is None else state.astype(dtype)

    def step(memory: Array, token: tuple[Array, ...]) -> tuple[Array, Array]:
        q, k, v, forget, write = token
        memory = forget * memory
        memory = memory + write * (v - memory @ k)[:, None] * k
        return memory, memory @ q

    final, out = jax.lax.scan(step, state, (q, k, v, jnp.exp(log_forget), input_gate))
    return out.astype(query.dtype), final


def fill_gates(
    length: int, dtype: DTypeLike, log_forget: Float[Array, " time"] | None, input_gate: Float[Array, " time"] | None
) -> tuple[Float[Array, " time"], Float[Array, " time"]]:
    """Convert gates to the dtype of the computation; a missing forget gate becomes log gate 0 (keep everything), a missing input gate 1.

    Raises:
        ValueError: a log forget gate that is not traced is above 0.
    """
    check_gates(log_forget)
    log_forget = jnp.zeros(length, dtype) if log_forget is None else log_forget.astype(dtype)
    return log_forget, jnp.ones(length, dtype) if input_gate is None else input_gate.astype(dtype)
