r"""Gated sums of outer products over time, in chunk-parallel form.

$$H_t = \gamma_t H_{t-1} + \beta_t k_t k_t^\top, \qquad G_t = \gamma_t G_{t-1} + \beta_t v_t k_t^\top.$$

Linear attention reads $G_t$; the mesa layers solve with $H_t$ and read $G_t$. Time is divided into chunks: a scan over chunks gives the sums at the start of
each chunk, and masked products of chunk x chunk give the terms inside, so memory is linear in the length of the sequence.

References: von Oswald et al., "MesaNet: Sequence modeling by locally optimal test-time training" (2025), Sec. 3 and App. D; Yang et al., "Gated linear
attention transformers" (2024).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Num, Shaped

RESET = -100.0
"""A log forget gate of this size or less is a gate of 0, as it would be after exp in float32."""


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


def forget_gate(log_forget: Float[Array, "*time"]) -> Float[Array, "*time"]:
    """exp, with zeros for log gates of at most -100."""
    return jnp.where(log_forget > RESET, jnp.exp(log_forget), 0)


def check_gates(log_forget: Float[Array, "*time"] | None, input_gate: Float[Array, "*time"] | None = None) -> None:
    """Reject forget gates above 1, and input gates that are negative or infinite, where the values are known.

    Raises:
        ValueError: a log forget gate is above 0, an input gate is below 0 or infinite, or either is NaN.
    """
    if wrong := [x for x in _values(log_forget) if not x <= 0]:
        raise ValueError(f"a log forget gate must be at most 0, got {wrong[0]}: a gate above 1 does not forget")
    if wrong := [x for x in _values(input_gate) if not 0 <= x < math.inf]:
        raise ValueError(f"an input gate must be at least 0 and finite, got {wrong[0]}")


def check_positive(name: str, value: Float[Array, "..."] | float) -> None:
    """Reject what is not a positive number, where the values are known.

    Raises:
        ValueError: a value is 0, negative, infinite or NaN.
    """
    if wrong := [x for x in _values(value) if not 0 < x < math.inf]:
        raise ValueError(f"the {name} must be above 0 and finite, got {wrong[0]}")


def _values(x: Any) -> list[float]:
    """The entries of an array whose values are known; none if it is traced."""
    return [] if x is None or isinstance(x, Tracer) else np.ravel(x).tolist()


def balanced_chunk(length: int, chunk: int) -> int:
    """The smallest chunk size that needs no more chunks for `length` than `chunk` does, which minimises padding."""
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}.")
    return max(1, math.ceil(length / max(1, math.ceil(length / chunk))))


def split_chunks(x: Shaped[Array, "time *rest"], chunk: int) -> Shaped[Array, "chunks chunk *rest"]:
    """Split time into chunks and pad the last one with zeros; a token with key, value, input gate and log forget gate 0 changes nothing."""
    padding = -x.shape[0] % chunk
    x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)) if padding else x
    return x.reshape(-1, chunk, *x.shape[1:])


def join_chunks(x: Num[Array, "chunks chunk *rest"], length: int) -> Num[Array, "time *rest"]:
    """The inverse of `split_chunks`."""
    return x.reshape(-1, *x.shape[2:])[:length]


def chunk_gates(log_forget: Float[Array, "chunks chunk"], negative: Bool[Array, "chunks chunk"] | None = None) -> ChunkGates:
    """Compute gate products from log gates (of the absolute values, where some are `negative`), which may be -inf.

    Every pair sums the gates between its two tokens: differences of cumulative sums would lose digits after strong forgetting.
    """
    later = jnp.tril(jnp.ones((log_forget.shape[1],) * 2, bool), -1)
    between = jnp.cumsum(jnp.where(later, log_forget[:, :, None], 0), axis=1)
    pair = jnp.where(later | jnp.eye(log_forget.shape[1], dtype=bool), jnp.exp(between), 0)
    decay = jnp.exp(jnp.cumsum(log_forget, axis=1))
    if negative is not None:
        sign = jnp.cumprod(jnp.where(negative, -1.0, 1.0).astype(decay.dtype), axis=1)
        pair, decay = pair * sign[:, :, None] * sign[:, None, :], decay * sign
    return ChunkGates(decay=decay, remaining=pair[:, -1], total=decay[:, -1], pair=pair)


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
