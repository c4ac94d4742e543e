r"""Multi-head attention: with any mask, and a choice of normalisation, value network and positions.

References: Vaswani et al., "Attention is all you need" (2017); von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (2023), Sec. 2 and
App. E, for unit keys and sinusoidal channels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian
from mesocosm.nn.blocks.norms import unit_norm
from mesocosm.nn.blocks.positions import Position
from mesocosm.nn.mixer import Diagnostics, unbatched
from mesocosm.nn.mixers.projections import Projections, head_sizes, project, random_projections
from mesocosm.nn.mixers.scores import Normalisation, softmax
from mesocosm.nn.mixers.value_networks import LinearValues, ValueNetwork

Mask = Callable[[Int[Array, "q 1"], Int[Array, "1 k"]], Bool[Array, "q k"]]
"""(positions of queries, positions of keys) -> true where a query may look."""


@dataclass(frozen=True)
class ContextAndSelf:
    """A mask: every token sees the first `context` tokens and itself, so that several queries share a context and do not see each other.

    Raises:
        ValueError: the number of tokens is negative.
    """

    context: int

    def __post_init__(self) -> None:
        """Check the number."""
        if self.context < 0:
            raise ValueError(f"A context has no token or more, not {self.context}.")

    def __call__(self, queries: Int[Array, "q 1"], keys: Int[Array, "1 k"]) -> Bool[Array, "q k"]:
        """Where a query may look."""
        return (keys < self.context) | (keys == queries)


class KeyValueCache(NamedTuple):
    """Keys and values of the tokens so far (rows from `position` on are unused), and the number of tokens."""

    keys: Float[Array, "max_length heads key_dim"]
    values: Float[Array, "max_length heads value_dim"]
    position: Int[Array, ""]


class Biases(NamedTuple):
    """Biases of the maps."""

    query: Float[Array, "heads key_dim"]
    key: Float[Array, "heads key_dim"]
    value: Float[Array, "heads value_dim"]
    output: Float[Array, " dim"]


class Attention(Projections):
    r"""$y_t = \sum_h P_h \sum_s a_{hts} v_{h,s}$ with weights $a$ = `normalisation` of the scores $\langle q_{h,t}, k_{h,s} \rangle / \sqrt{n}$ over the
    positions s that t may look at, where n is the key size. Another `network` replaces the inner sum, as in HYLA.

    By default the layer is causal (s <= t). A causal layer streams with a cache of `max_length` tokens; outputs after that many tokens are NaN.
    With `unit_keys`, queries and keys are L2-normalised (and still divided by $\sqrt n$); without `scaled`, there is no $\sqrt n$.
    """

    biases: Biases | None = None
    position: Position | None = None
    normalisation: Normalisation = eqx.field(static=True, default=softmax)
    causal: bool = eqx.field(static=True, default=True)
    unit_keys: bool = eqx.field(static=True, default=False)
    max_length: int = eqx.field(static=True, default=1024)
    network: ValueNetwork = eqx.field(default_factory=LinearValues)
    mask: Mask | None = eqx.field(static=True, default=None)
    scaled: bool = eqx.field(static=True, default=True)

    @classmethod
    def create(
        cls,
        dim: int,
        *,
        heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        std: float | None = None,
        keys_start_as_queries: bool | None = None,
        bias: bool = False,
        position: Callable[..., Position] | None = None,
        normalisation: Normalisation = softmax,
        network: Callable[..., ValueNetwork] = LinearValues.create,
        causal: bool = True,
        mask: Mask | None = None,
        unit_keys: bool = False,
        scaled: bool = True,
        max_length: int = 1024,
        key: PRNGKeyArray,
    ) -> "Attention":
        """A layer with random maps.

        Args:
            dim: width of the tokens.
            heads: number of heads; default: 4, or fewer if 4 do not divide `dim` and `key_dim` is not given.
            key_dim, value_dim: size of a head's keys (default: dim / heads) and values (default: `key_dim`).
            std: standard deviation of all weights; default: 1 / sqrt(fan in).
            keys_start_as_queries: whether the key map starts as a copy of the query map; default: if `std` is not given.
            bias: whether the four maps have biases, which start at 0.
            position: (heads, key) -> position part, such as `Rotary.create` or `functools.partial(RelativeBias.create, buckets=16)`.
            normalisation: `softmax`, `unnormalised` or `rms_over_heads`.
            network: (heads, value_dim, key) -> value network: `LinearValues.create`, `NonlinearValues.create`, `TwoStepValues.create` or `DeepValues.create`.
            causal: whether tokens see only the past and themselves.
            mask: function of the positions of queries (q, 1) and keys (1, k) that is true where a query may also look, such as
                `lambda q, k: q - k < 64` or `ContextAndSelf(15)`; default: everywhere. It is static: pass the same function again, or programs recompile.
            unit_keys: whether queries and keys are L2-normalised.
            scaled: whether scores are divided by the square root of the key size.
            max_length: size of the cache when streaming.
        """
        weights_key, position_key, network_key, key_map_key = jax.random.split(key, 4)
        heads, key_dim, value_dim = head_sizes(dim, heads, key_dim, value_dim)
        part = None if position is None else position(heads, key=position_key)
        channels = 0 if part is None else part.channels()
        query, key_map, value, output = random_projections(dim, heads, key_dim, value_dim, std, weights_key, position_dim=channels)
        if keys_start_as_queries is not None and keys_start_as_queries != (std is None):
            key_map = jnp.copy(query) if keys_start_as_queries else gaussian(query.shape, 1.0, key_map_key)
        values = network(heads, value_dim, key=network_key)
        biases = Biases(jnp.zeros((heads, key_dim)), jnp.zeros((heads, key_dim)), jnp.zeros((heads, value_dim)), jnp.zeros(dim)) if bias else None
        return cls(query, key_map, value, output, biases, part, normalisation, causal, unit_keys, max_length, values, mask, scaled)

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, valid: Bool[Array, " time"] | None = None, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens. Tokens where `valid` is false (padding) are masked out as keys."""
        return self._attend(x, None, valid)[0]

    @unbatched
    def at(
        self, x: Float[Array, "time dim"], positions: Int[Array, " n"], *, valid: Bool[Array, " time"] | None = None, key: PRNGKeyArray | None = None
    ) -> Float[Array, "n dim"]:
        """The outputs at some positions, negative ones counted from the end; no others are computed."""
        return self._attend(x, positions, valid)[0]

    @unbatched
    def explain(self, x: Float[Array, "time dim"], *, valid: Bool[Array, " time"] | None = None) -> tuple[Float[Array, "time dim"], Diagnostics]:
        """Return the output and the weights a: for each pair of tokens, `attention[:, t, s]` is the latent code of its value network."""
        y, attention = self._attend(x, None, valid)
        return y, Diagnostics(attention=attention)

    def combine(self, weights: Float[Array, "heads q k"], values: Float[Array, "k heads value_dim"]) -> Float[Array, "q dim"]:
        """The value network's outputs, through the output maps, plus the output bias. An override changes all other methods accordingly."""
        y = self.merge(self.network(weights, values))
        return y if self.biases is None else y + self.biases.output

    def init_state(self) -> KeyValueCache:
        """An empty cache of `max_length` rows.

        Raises:
            ValueError: the layer is not causal.
        """
        if not self.causal:
            raise ValueError("Attention to later tokens cannot run one token at a time; create the layer with causal=True.")
        heads, key_dim, value_dim = *self.key.shape[:2], self.value.shape[1]
        dtype = self.key.dtype
        return KeyValueCache(
            jnp.zeros((self.max_length, heads, key_dim), dtype), jnp.zeros((self.max_length, heads, value_dim), dtype), jnp.zeros((), jnp.int32)
        )

    def step(self, state: KeyValueCache, x: Float[Array, " dim"]) -> tuple[KeyValueCache, Float[Array, " dim"]]:
        """Process one token: append key and value to the cache and attend over it."""
        at = state.position[None]
        keys, values = self._keys(x[None], at), self._values(x[None])
        state = KeyValueCache(
            state.keys.at[state.position].set(keys[0].astype(state.keys.dtype), mode="drop"),
            state.values.at[state.position].set(values[0].astype(state.values.dtype), mode="drop"),
            state.position + 1,
        )
        rows = jnp.arange(self.max_length)
        weights = self._weights(self._queries(x[None], at), state.keys, at, rows, self._mask(at, rows))
        y = self.combine(weights, state.values)[0]
        return state, jnp.where(state.position <= self.max_length, y, jnp.nan)

    def _attend(self, x: Array, positions: Array | None, valid: Array | None) -> tuple[Array, Array]:
        """Outputs and weights at some positions, or at all."""
        rows = jnp.arange(x.shape[0])
        positions = rows if positions is None else jnp.where(positions < 0, positions + x.shape[0], positions)
        chosen = x if positions is rows else x[positions]
        mask = self._mask(positions, rows)
        mask = mask if valid is None else mask & valid[None]
        weights = self._weights(self._queries(chosen, positions), self._keys(x, rows), positions, rows, mask)
        return self.combine(weights, self._values(x)), weights

    def _mask(self, queries: Array, keys: Array) -> Array:
        queries, keys = queries[:, None], keys[None, :]
        mask = keys <= queries if self.causal else jnp.ones_like(keys, bool)
        return mask if self.mask is None else mask & self.mask(queries, keys)

    def _queries(self, x: Array, positions: Array) -> Array:
        queries = self._placed(x, positions, self.query, None if self.biases is None else self.biases.query)
        return queries / math.sqrt(self.key.shape[1]) if self.scaled else queries

    def _keys(self, x: Array, positions: Array) -> Array:
        return self._placed(x, positions, self.key, None if self.biases is None else self.biases.key)

    def _values(self, x: Array) -> Array:
        values = project(x, self.value)
        return values if self.biases is None else values + self.biases.value

    def _placed(self, x: Array, positions: Array, weights: Array, bias: Array | None) -> Array:
        heads = project(x if self.position is None else self.position.extend(x, positions), weights)
        heads = heads if bias is None else heads + bias
        heads = unit_norm(heads) if self.unit_keys else heads
        return heads if self.position is None else self.position.rotate(heads, positions)

    def _weights(self, queries: Array, keys: Array, query_positions: Array, key_positions: Array, mask: Array) -> Array:
        scores = jnp.einsum("qhn,khn->hqk", queries, keys)
        bias = None if self.position is None else self.position.bias(query_positions, key_positions)
        return self.normalisation(scores if bias is None else scores + bias.astype(scores.dtype), mask)
