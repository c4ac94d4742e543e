r"""Gated sums of outer products over time, in chunk-parallel form, and the closed-form gradient shared by all layers that solve a regression on them.

$$H_t = \gamma_t H_{t-1} + \beta_t k_t k_t^\top, \qquad G_t = \gamma_t G_{t-1} + \beta_t v_t k_t^\top.$$

Linear attention reads $G_t$; the mesa layers solve with $H_t$ and read $G_t$. Time is divided into chunks: a scan over chunks gives the sums at the start of
each chunk, and masked products of chunk x chunk give the terms inside, so memory is linear in the length of the sequence.

References: von Oswald et al., "MesaNet: Sequence modeling by locally optimal test-time training" (2025), Sec. 3 and App. D; Yang et al., "Gated linear
attention transformers" (2024).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

SMALLEST_LOG_FORGET = -100.0  # exp(-100) is zero in float32, but differences of its cumulative sums stay finite and accurate


class RegressionSums(NamedTuple):
    """The sufficient statistics of a running regression of values on keys: gram = H_t, cross = G_t."""

    gram: Float[Array, "*chunks key_dim key_dim"]
    cross: Float[Array, "*chunks value_dim key_dim"]


class ChunkGates(NamedTuple):
    """Products of forget gates inside each chunk (c_t: cumulative log gate since the start of the chunk).

    decay: exp(c_t), from the start to t. remaining: exp(c_end - c_s), from s to the end. total: exp(c_end). pair: exp(c_t - c_s) for s <= t, else 0.
    """

    decay: Float[Array, "chunks chunk"]
    remaining: Float[Array, "chunks chunk"]
    total: Float[Array, " chunks"]
    pair: Float[Array, "chunks chunk chunk"]


def balanced_chunk(length: int, chunk: int) -> int:
    """The smallest chunk size that needs no more chunks for `length` than `chunk` does, which minimises padding."""
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}.")
    return max(1, math.ceil(length / max(1, math.ceil(length / chunk))))


def split_chunks(x: Float[Array, "time *rest"], chunk: int) -> Float[Array, "chunks chunk *rest"]:
    """Split time into chunks and pad the last one with zeros; a token with key, value, input gate and log forget gate 0 changes nothing."""
    padding = -x.shape[0] % chunk
    x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)) if padding else x
    return x.reshape(-1, chunk, *x.shape[1:])


def join_chunks(x: Num[Array, "chunks chunk *rest"], length: int) -> Num[Array, "time *rest"]:
    """The inverse of `split_chunks`."""
    return x.reshape(-1, *x.shape[2:])[:length]


def chunk_gates(log_forget: Float[Array, "chunks chunk"]) -> ChunkGates:
    """Compute gate products from log gates; only differences are exponentiated, after masking, so that strong forgetting cannot overflow."""
    c = jnp.cumsum(log_forget, axis=1)
    causal = jnp.tril(jnp.ones((c.shape[1], c.shape[1]), bool))
    pair = jnp.exp(jnp.where(causal, c[:, :, None] - c[:, None, :], -jnp.inf))
    return ChunkGates(decay=jnp.exp(c), remaining=jnp.exp(c[:, -1:] - c), total=jnp.exp(c[:, -1]), pair=pair)


def entry_states(
    writes: Float[Array, "chunks rows columns"], total: Float[Array, " chunks"], initial: Float[Array, "rows columns"], *, reverse: bool = False
) -> tuple[Float[Array, "chunks rows columns"], Float[Array, "rows columns"]]:
    """Scan S <- total S + write over the chunks; return S before each chunk, and after the last (in reverse: before the first)."""
    final, entries = jax.lax.scan(lambda s, step: (step[1] * s + step[0], s), initial, (writes, total), reverse=reverse)
    return entries, final


def outer_sums(
    left: Float[Array, "time left_dim"],
    right: Float[Array, "time right_dim"],
    weights: Float[Array, "chunks chunk"],
) -> Float[Array, "chunks left_dim right_dim"]:
    """Per chunk, sum_s weights_s left_s right_s^T."""
    chunk = weights.shape[1]
    return jnp.einsum("csi,csj->cij", split_chunks(left, chunk) * weights[..., None], split_chunks(right, chunk))


def read_chunks(
    query: Float[Array, "chunks chunk key_dim"],
    key: Float[Array, "chunks chunk key_dim"],
    value: Float[Array, "chunks chunk value_dim"],
    weights: Float[Array, "chunks chunk chunk"],
    decay: Float[Array, "chunks chunk"],
    entry: Float[Array, "chunks value_dim key_dim"],
) -> Float[Array, "chunks chunk value_dim"]:
    """S_t q_t for every t, where S_t is the sum of outer products value key^T: the part before the chunk plus masked products inside it."""
    before = jnp.einsum("ctk,cvk->ctv", query * decay[..., None], entry)
    return before + jnp.einsum("cts,csv->ctv", jnp.einsum("ctk,csk->cts", query, key) * weights, value)


def gradient_through_sums(
    key: Float[Array, "time key_dim"],
    value: Float[Array, "time value_dim"],
    log_forget: Float[Array, " time"],
    input_gate: Float[Array, " time"],
    initial: RegressionSums,
    solution: Float[Array, "time key_dim"],
    adjoint: Float[Array, "time key_dim"],
    cotangent: Float[Array, "time value_dim"],
    final_gradient: RegressionSums,
    *,
    chunk: int,
) -> tuple[Float[Array, "time key_dim"], Float[Array, "time value_dim"], Float[Array, " time"], Float[Array, " time"], RegressionSums]:
    r"""Gradient of a loss that depends on the sums through $o_t = G_t q^*_t$ with $q^*_t = (H_t + \Lambda)^{-1} q_t$ (MesaNet, App. D).

    With the cotangent $e_t = \partial L / \partial o_t$ and the adjoint solution $e^*_t = (H_t + \Lambda)^{-1} G_t^\top e_t$, and
    $\zeta_{ts} = \prod_{r=s+1}^t \gamma_r$, $a_{ts} = q^*_t \cdot k_s$, $b_{ts} = e^*_t \cdot k_s$, $c_{ts} = e_t \cdot v_s$:

    $$dv_s = \beta_s \sum_{t \ge s} \zeta_{ts} a_{ts} e_t, \quad dk_s = \beta_s \sum_{t \ge s} \zeta_{ts} [(c_{ts} - b_{ts}) q^*_t - a_{ts} e^*_t], \quad
    d\beta_s = \sum_{t \ge s} \zeta_{ts} (c_{ts} - b_{ts}) a_{ts},$$
    $$d\log\gamma_r = \sum_{t \ge r} \sum_{s < r} \zeta_{ts} \beta_s (c_{ts} - b_{ts}) a_{ts}, \quad \text{initial sums counted as } s = 0.$$

    (In the same notation, $dq_t = e^*_t$ and $d\Lambda = -\sum_t q^*_t e^{*\top}_t$, which are not computed here.) The solve must have converged.

    Args: initial, the sums before the first token; final_gradient, the loss gradient with respect to the sums after the last token.
    Returns the gradients of key, value, log_forget, input_gate and initial.
    """
    length = key.shape[0]
    gates = chunk_gates(split_chunks(log_forget, chunk))
    gate = split_chunks(input_gate, chunk)
    written = gates.remaining * gate
    entry_gram, _ = entry_states(outer_sums(key, key, written), gates.total, initial.gram)
    entry_cross, _ = entry_states(outer_sums(value, key, written), gates.total, initial.cross)
    exit_gram, initial_gram = entry_states(-outer_sums(adjoint, solution, gates.decay), gates.total, final_gradient.gram, reverse=True)
    exit_cross, initial_cross = entry_states(outer_sums(cotangent, solution, gates.decay), gates.total, final_gradient.cross, reverse=True)

    k, v, q, a, e = (split_chunks(x, chunk) for x in (key, value, solution, adjoint, cotangent))
    read = jnp.einsum("cti,csi->cts", q, k)
    missed = jnp.einsum("cti,csi->cts", e, v) - jnp.einsum("cti,csi->cts", a, k)
    weighted_read, weighted_missed = gates.pair * read, gates.pair * missed
    later_value = jnp.einsum("csi,cji->csj", k, exit_cross)
    later_cross = jnp.einsum("csj,cji->csi", v, exit_cross)
    later_gram = jnp.einsum("csj,cji->csi", k, exit_gram)

    dvalue = jnp.einsum("cts,ctv->csv", weighted_read, e) + gates.remaining[..., None] * later_value
    dkey = jnp.einsum("cts,cti->csi", weighted_missed, q) - jnp.einsum("cts,cti->csi", weighted_read, a)
    dkey += gates.remaining[..., None] * (later_cross + later_gram + jnp.einsum("csj,cij->csi", k, exit_gram))
    pairs = weighted_missed * read
    later = gates.remaining * jnp.sum((later_cross + later_gram) * k, axis=-1)
    dinput_gate = pairs.sum(1) + later

    earlier = gates.decay * (jnp.einsum("ctv,cvi,cti->ct", e, entry_cross, q) - jnp.einsum("ctj,cji,cti->ct", a, entry_gram, q))
    across = gates.total * (jnp.sum(exit_cross * entry_cross, (1, 2)) + jnp.sum(exit_gram * entry_gram, (1, 2)))
    pairs = pairs * gate[:, None, :]
    later = later * gate
    from_here = jax.lax.cumsum(earlier + pairs.sum(2) - pairs.sum(1), axis=1, reverse=True)
    dlog_forget = across[:, None] + from_here + jnp.cumsum(later, axis=1) - later

    gradients = (dkey * gate[..., None], dvalue * gate[..., None], dlog_forget, dinput_gate)
    dkey, dvalue, dlog_forget, dinput_gate = (join_chunks(g, length) for g in gradients)
    return dkey, dvalue, dlog_forget, dinput_gate, RegressionSums(initial_gram, initial_cross)
