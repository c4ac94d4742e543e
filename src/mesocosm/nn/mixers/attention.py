"""Causal multi-head self-attention without biases, softmax and linear.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (2023), Sec. 2.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm.nn.mixer import Diagnostics, StreamingMixer
from mesocosm.nn.mixers.gated_linear_attention import gated_linear_attention

_LONGEST_DENSE = 256  # up to this length one masked time x time product is faster than chunks


def normalise(x: Float[Array, "*rows dim"]) -> Float[Array, "*rows dim"]:
    """x / ||x|| along the last axis; a zero vector stays zero, with zero gradient."""
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(squared > 0, x * jax.lax.rsqrt(jnp.where(squared > 0, squared, 1)), 0)


def sinusoidal_positions(positions: Int[Array, "*rows"], dim: int) -> Float[Array, "*rows dim"]:
    r"""$\sin(p\,\omega_i)$ and $\cos(p\,\omega_i)$ with $\omega_i = 10000^{-2i/\mathrm{dim}}$, sines in the first half of the channels, cosines in the
    second."""
    if dim % 2:
        raise ValueError(f"Sinusoidal positions come in pairs of channels: dim must be even, got {dim}.")
    angles = positions[..., None] * 10000.0 ** (-jnp.arange(0, dim, 2) / max(dim, 1))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Projections(StreamingMixer):
    r"""The maps that multi-head layers share: $q_{h,t} = W_{h,q} e_t$, likewise for keys and values, and the output $\sum_h P_h o_{h,t}$."""

    query: Float[Array, "heads key_dim place_dim"]
    key: Float[Array, "heads key_dim place_dim"]
    value: Float[Array, "heads value_dim dim"]
    output: Float[Array, "heads dim value_dim"]

    def __check_init__(self):
        heads = [w.shape[0] for w in (self.query, self.key, self.value, self.output)]
        if len(set(heads)) > 1:
            raise ValueError(f"Query, key, value and output have {heads} heads; they must have the same number.")
        if self.query.shape[1] != self.key.shape[1]:
            raise ValueError(f"Queries have {self.query.shape[1]} channels, keys {self.key.shape[1]}.")
        if self.output.shape[2] != self.value.shape[1]:
            raise ValueError(f"Values have {self.value.shape[1]} channels, the output map reads {self.output.shape[2]}.")

    def split(self, x: Float[Array, "*time dim"]) -> tuple[Float[Array, "*time heads n"], Float[Array, "*time heads n"], Float[Array, "*time heads m"]]:
        """Queries, keys and values of every head."""
        return _project(x, self.query), _project(x, self.key), _project(x, self.value)

    def merge(self, heads: Float[Array, "*time heads value_dim"]) -> Float[Array, "*time dim"]:
        """Map the outputs of the heads back and add them up."""
        return jnp.einsum("...hv,hdv->...d", heads, self.output)


def _project(x: Float[Array, "*time dim"], weights: Float[Array, "heads n dim"]) -> Float[Array, "*time heads n"]:
    return jnp.einsum("...d,hnd->...hn", x, weights)


def random_projections(
    dim: int, heads: int, key_dim: int, value_dim: int | None, std: float, key: PRNGKeyArray, *, position_dim: int = 0
) -> tuple[
    Float[Array, "heads key_dim place_dim"], Float[Array, "heads key_dim place_dim"], Float[Array, "heads value_dim dim"], Float[Array, "heads dim value_dim"]
]:
    """Query, key, value and output maps with independent entries N(0, std^2)."""
    value_dim = key_dim if value_dim is None else value_dim
    shapes = ((heads, key_dim, dim + position_dim), (heads, key_dim, dim + position_dim), (heads, value_dim, dim), (heads, dim, value_dim))
    query, key_map, value, output = (std * jax.random.normal(k, shape) for k, shape in zip(jax.random.split(key, 4), shapes, strict=True))
    return query, key_map, value, output


class LinearAttention(Projections):
    r"""Causal linear attention, $y_t = \sum_h P_h \sum_{s \le t} v_{h,s} \langle k_{h,s}, q_{h,t} \rangle$.

    There is no softmax and no $1/\sqrt{n}$: every token adds a rank-one update to the fast weights $S_t = \sum_{s \le t} v_s k_s^\top$, the streaming state
    (float32 or wider).

    Reference: von Oswald et al. (2023), Eq. 3.
    """

    @classmethod
    def create(cls, dim: int, *, heads: int, key_dim: int, value_dim: int | None = None, std: float = 0.05, key: PRNGKeyArray) -> "LinearAttention":
        """A layer with entries N(0, std^2); `value_dim` defaults to `key_dim`."""
        return cls(*random_projections(dim, heads, key_dim, value_dim, std, key))

    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens, with dense masked products for short sequences and chunks (memory linear in time) for long ones."""
        if x.shape[0] <= _LONGEST_DENSE:
            return self.explain(x)[0]
        queries, keys, values = self.split(x)
        heads = jax.vmap(lambda q, k, v: gated_linear_attention(q, k, v)[0], in_axes=1, out_axes=1)(queries, keys, values)
        return self.merge(heads)

    def explain(self, x: Float[Array, "time dim"]) -> tuple[Float[Array, "time dim"], Diagnostics]:
        """Return the output and the attention map <k_s, q_t>, s <= t."""
        queries, keys, values = self.split(x)
        causal = jnp.tril(jnp.ones((x.shape[0], x.shape[0]), x.dtype))
        attention = jnp.einsum("thk,shk->hts", queries, keys) * causal
        return self.merge(jnp.einsum("hts,shv->thv", attention, values)), Diagnostics(attention=attention)

    def init_state(self) -> Float[Array, "heads value_dim key_dim"]:
        """Fast weights of zero, one matrix per head."""
        return jnp.zeros((self.key.shape[0], self.value.shape[1], self.key.shape[1]), jnp.promote_types(self.key.dtype, jnp.float32))

    def step(
        self, state: Float[Array, "heads value_dim key_dim"], x: Float[Array, " dim"]
    ) -> tuple[Float[Array, "heads value_dim key_dim"], Float[Array, " dim"]]:
        """Process one token: write v k^T, read with q."""
        queries, keys, values = self.split(x)
        state = state + values[:, :, None] * keys[:, None, :]
        return state, self.merge(jnp.einsum("hvk,hk->hv", state, queries.astype(state.dtype)).astype(x.dtype))


class KeyValueCache(NamedTuple):
    """Keys and values of the tokens so far (rows from `position` on are unused), and the number of tokens."""

    keys: Float[Array, "max_length heads key_dim"]
    values: Float[Array, "max_length heads value_dim"]
    position: Int[Array, ""]


class SoftmaxAttention(Projections):
    r"""Causal softmax attention, $y_t = \sum_h P_h V_{h,\le t}\, \mathrm{softmax}(K_{h,\le t}^\top q_{h,t} / \sqrt{n})$, where n is the key size.

    With `position_dim` > 0, that many sinusoidal channels are appended to the input of the query and key maps, but not of the value map.
    With `unit_keys`, queries and keys are L2-normalised. `max_length` bounds the streaming cache; a longer stream gives NaN from there on.

    Reference: von Oswald et al. (2023), Eq. 2 and App. E.
    """

    position_dim: int = eqx.field(static=True, default=0)
    unit_keys: bool = eqx.field(static=True, default=False)
    max_length: int = eqx.field(static=True, default=1024)

    @classmethod
    def create(
        cls,
        dim: int,
        *,
        heads: int,
        key_dim: int,
        value_dim: int | None = None,
        std: float = 0.05,
        position_dim: int = 0,
        unit_keys: bool = False,
        max_length: int = 1024,
        key: PRNGKeyArray,
    ) -> "SoftmaxAttention":
        """A layer with entries N(0, std^2); `value_dim` defaults to `key_dim`."""
        weights = random_projections(dim, heads, key_dim, value_dim, std, key, position_dim=position_dim)
        return cls(*weights, position_dim=position_dim, unit_keys=unit_keys, max_length=max_length)

    def _split_at(self, x: Float[Array, "*time dim"], positions: Int[Array, "*time"]) -> tuple[Array, Array, Array]:
        place = x
        if self.position_dim:
            place = jnp.concatenate([x, sinusoidal_positions(positions, self.position_dim).astype(x.dtype)], axis=-1)
        queries, keys = _project(place, self.query), _project(place, self.key)
        if self.unit_keys:
            queries, keys = normalise(queries), normalise(keys)
        return queries / math.sqrt(self.key.shape[1]), keys, _project(x, self.value)

    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        return self.explain(x)[0]

    def explain(self, x: Float[Array, "time dim"]) -> tuple[Float[Array, "time dim"], Diagnostics]:
        """Return the output and the attention map, whose rows sum to 1."""
        queries, keys, values = self._split_at(x, jnp.arange(x.shape[0]))
        causal = jnp.tril(jnp.ones((x.shape[0], x.shape[0]), bool))
        attention = _masked_softmax(jnp.einsum("thk,shk->hts", queries, keys), causal)
        return self.merge(jnp.einsum("hts,shv->thv", attention, values)), Diagnostics(attention=attention)

    def init_state(self) -> KeyValueCache:
        """An empty cache of `max_length` rows."""
        heads, key_dim, value_dim = *self.key.shape[:2], self.value.shape[1]
        dtype = self.key.dtype
        return KeyValueCache(
            jnp.zeros((self.max_length, heads, key_dim), dtype), jnp.zeros((self.max_length, heads, value_dim), dtype), jnp.zeros((), jnp.int32)
        )

    def step(self, state: KeyValueCache, x: Float[Array, " dim"]) -> tuple[KeyValueCache, Float[Array, " dim"]]:
        """Process one token: append key and value to the cache and attend over it."""
        queries, keys, values = self._split_at(x, state.position)
        state = KeyValueCache(
            state.keys.at[state.position].set(keys.astype(state.keys.dtype), mode="drop"),
            state.values.at[state.position].set(values.astype(state.values.dtype), mode="drop"),
            state.position + 1,
        )
        seen = jnp.arange(self.max_length) < state.position
        attention = _masked_softmax(jnp.einsum("hk,shk->hs", queries, state.keys), seen)
        y = self.merge(jnp.einsum("hs,shv->hv", attention, state.values))
        return state, jnp.where(state.position <= self.max_length, y, jnp.nan)


def _masked_softmax(logits: Float[Array, "heads *rows"], mask: Array) -> Float[Array, "heads *rows"]:
    """Softmax along the last axis over the positions where the mask is true, in float32 or wider."""
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jax.nn.softmax(jnp.where(mask, wide, -1e30), axis=-1).astype(logits.dtype)
