r"""The real-gated linear recurrent unit and Hawk's blocks: a linear recurrence with a token-dependent decay, for long streams.

Reference: De et al., "Griffin: Mixing gated linear recurrences with local attention for efficient language models" (arXiv 2402.19427), Sec. 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.feed_forward import GatedFeedForward
from mesocosm.nn.blocks.linear import gaussian
from mesocosm.nn.blocks.norms import rms_normalise
from mesocosm.nn.mixer import StreamingMixer, unbatched
from mesocosm.nn.recurrences.linear_recurrence import linear_recurrence
from mesocosm.nn.renamed import renamed
from mesocosm.numerics.precision import widened

SHARPNESS = 8.0
_SMALLEST = 1e-7  # below this, 1 - a^2 is rounding error; a line continues the square root, so that its slope stays finite


class RGLRU(StreamingMixer):
    r"""$r_t = \sigma(W_a x_t + b_a)$, $i_t = \sigma(W_x x_t + b_x)$, $a_t = \sigma(\Lambda)^{8 r_t}$,
    $h_t = a_t \odot h_{t-1} + \sqrt{1 - a_t^2} \odot (i_t \odot x_t)$.

    $0 < a_t < 1$ for all parameters and tokens, and the input is scaled so that states are as large as inputs: a stream of any length stays
    finite. The gates' matrices are block diagonal, one block per head. States are float32 or wider.
    """

    recurrence_gate: Float[Array, "heads size size"]
    recurrence_bias: Float[Array, "heads size"]
    input_gate: Float[Array, "heads size size"]
    input_bias: Float[Array, "heads size"]
    memory: Float[Array, " dim"]

    @classmethod
    def create(cls, dim: int, *, heads: int = 1, shortest: float = 0.9, longest: float = 0.999, key: PRNGKeyArray) -> "RGLRU":
        r"""A layer whose gates have weights N(0, 1 / size) and biases 0.

        Args:
            dim: width of the tokens, and of the state.
            heads: number of blocks of the gates' matrices.
            shortest, longest: bounds of the decay $\sigma(\Lambda)^8$, which is uniform between them.

        Raises:
            ValueError: `dim` is not a multiple of `heads`.
        """
        if dim % heads:
            raise ValueError(f"{dim} channels cannot be split into {heads} heads of the same size")
        size, keys = dim // heads, jax.random.split(key)
        gates = gaussian((2, heads, size, size), 1.0, keys[0])
        log_retained = jnp.log(jax.random.uniform(keys[1], (dim,), minval=shortest, maxval=longest)) / SHARPNESS
        zeros = jnp.zeros((heads, size))
        return cls(gates[0], zeros, gates[1], zeros, log_retained - jnp.log(-jnp.expm1(log_retained)))

    def gates(self, x: Float[Array, "*time dim"]) -> tuple[Float[Array, "*time dim"], Float[Array, "*time dim"]]:
        r"""The decay $a_t$ and the scaled input $\sqrt{1 - a_t^2} \odot i_t \odot x_t$."""
        x = widened(x)
        r, i = (
            jax.nn.sigmoid(self._by_head(x, w) + b.reshape(-1)) for w, b in ((self.recurrence_gate, self.recurrence_bias), (self.input_gate, self.input_bias))
        )
        log_decay = SHARPNESS * r * jax.nn.log_sigmoid(widened(self.memory))
        return jnp.exp(log_decay), _root(-jnp.expm1(2 * log_decay)) * i * x

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        return linear_recurrence(*self.gates(x)).astype(x.dtype)

    def init_state(self) -> Float[Array, " dim"]:
        """A state of zeros."""
        return jnp.zeros(self.memory.shape, jnp.promote_types(self.memory.dtype, jnp.float32))

    def step(self, state: Float[Array, " dim"], x: Float[Array, " dim"]) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
        """Process one token."""
        decay, added = self.gates(x)
        state = decay * state + added
        return state, state.astype(x.dtype)

    def _by_head(self, x: Float[Array, "*time dim"], weights: Float[Array, "heads size size"]) -> Float[Array, "*time dim"]:
        heads = x.reshape(*x.shape[:-1], *weights.shape[:2])
        return jnp.einsum("...hi,hoi->...ho", heads, weights).reshape(x.shape)


def _root(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(x > _SMALLEST, jnp.sqrt(jnp.maximum(x, _SMALLEST)), x * _SMALLEST**-0.5)


class HawkState(NamedTuple):
    """history: the last inputs of the convolution. memory: the state of the recurrence."""

    history: Float[Array, "past width"]
    memory: Float[Array, " width"]


class RecurrentBlock(StreamingMixer):
    r"""$W_o\big(\mathrm{gelu}(W_g x) \odot \mathrm{RGLRU}(\mathrm{conv}_4(W_r x))\big)$, the part of Hawk that mixes tokens.

    conv_4 is a causal convolution over the last four tokens, with one filter per channel and a bias.
    """

    gate: Float[Array, "width dim"]
    branch: Float[Array, "width dim"]
    filters: Float[Array, "taps width"]
    filter_bias: Float[Array, " width"]
    recurrence: RGLRU
    output: Float[Array, "dim width"]

    @classmethod
    @renamed(width="state_dim")
    def create(cls, dim: int, *, state_dim: int | None = None, heads: int = 1, taps: int = 4, key: PRNGKeyArray) -> "RecurrentBlock":
        """A layer with Gaussian weights of standard deviation 1 / sqrt(fan in).

        Args:
            dim: width of the tokens.
            state_dim: width of the recurrence; default: `dim`.
            heads: number of blocks of the gates' matrices.
            taps: number of tokens that the convolution reads.
        """
        width, keys = dim if state_dim is None else state_dim, jax.random.split(key, 4)
        gate, branch = gaussian((2, width, dim), 1.0, keys[0])
        filters = jax.random.normal(keys[1], (taps, width)) / taps**0.5
        return cls(gate, branch, filters, jnp.zeros(width), RGLRU.create(width, heads=heads, key=keys[2]), gaussian((dim, width), 1.0, keys[3]))

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        taps = self.filters.shape[0]
        padded = jnp.pad(x @ self.branch.T, [(taps - 1, 0), (0, 0)])
        convolved = jnp.asarray(sum(padded[i : i + x.shape[0]] * f for i, f in enumerate(self.filters))) + self.filter_bias
        return self._merge(self.recurrence(convolved), x)

    def init_state(self) -> HawkState:
        """A state of zeros."""
        taps, width = self.filters.shape
        return HawkState(jnp.zeros((taps - 1, width), self.filters.dtype), self.recurrence.init_state())

    def step(self, state: HawkState, x: Float[Array, " dim"]) -> tuple[HawkState, Float[Array, " dim"]]:
        """Process one token."""
        window = jnp.concatenate([state.history, (self.branch @ x)[None].astype(state.history.dtype)])
        memory, mixed = self.recurrence.step(state.memory, jnp.sum(window * self.filters, axis=0) + self.filter_bias)
        return HawkState(window[1:], memory), self._merge(mixed, x)

    def _merge(self, mixed: Float[Array, "*time width"], x: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        return (jax.nn.gelu(x @ self.gate.T) * mixed) @ self.output.T


class HawkBlock(StreamingMixer):
    r"""$u = x + \mathrm{Recurrent}(\mathrm{norm}(x))$, $y = u + W_o(\mathrm{gelu}(W_g \mathrm{norm}(u)) \odot W_v \mathrm{norm}(u))$.

    One residual block of Hawk: the recurrent block, then a gated MLP three times as wide as the tokens.
    """

    mixing: RecurrentBlock
    norm_scales: Float[Array, "two dim"]
    feed: GatedFeedForward

    @classmethod
    @renamed(width="state_dim")
    def create(cls, dim: int, *, state_dim: int | None = None, heads: int = 1, expansion: int = 3, key: PRNGKeyArray) -> "HawkBlock":
        """A block with random weights.

        Args:
            dim: width of the tokens.
            state_dim, heads: see `RecurrentBlock.create`.
            expansion: width of the MLP in units of `dim`.
        """
        mixing_key, feed_key = jax.random.split(key)
        feed = GatedFeedForward.create(dim, hidden=expansion * dim, activation=jax.nn.gelu, key=feed_key)
        return cls(RecurrentBlock.create(dim, state_dim=state_dim, heads=heads, key=mixing_key), jnp.ones((2, dim)), feed)

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        return self._feed(x + self.mixing(rms_normalise(x, self.norm_scales[0])))

    def init_state(self) -> HawkState:
        """A state of zeros."""
        return self.mixing.init_state()

    def step(self, state: HawkState, x: Float[Array, " dim"]) -> tuple[HawkState, Float[Array, " dim"]]:
        """Process one token."""
        state, mixed = self.mixing.step(state, rms_normalise(x, self.norm_scales[0]))
        return state, self._feed(x + mixed)

    def _feed(self, u: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        return u + self.feed(rms_normalise(u, self.norm_scales[1]))
