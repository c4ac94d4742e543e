r"""LSTM and GRU as mixers, in the equations of PyTorch and cuDNN, with a linear readout.

References: Hochreiter and Schmidhuber, "Long short-term memory" (1997); Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian
from mesocosm.nn.mixer import StreamingMixer, unbatched
from mesocosm.nn.renamed import renamed


class LSTMState(NamedTuple):
    """hidden: h_t, the output. cell: c_t, the memory."""

    hidden: Float[Array, " n"]
    cell: Float[Array, " n"]


class LSTM(StreamingMixer):
    r"""$i, f, o = \sigma(W x_t + U h_{t-1} + b)$, $g = \tanh(W_g x_t + U_g h_{t-1} + b_g)$, each with its own $W, U, b$;
    $c_t = f \odot c_{t-1} + i \odot g$, $h_t = o \odot \tanh(c_t)$, $y_t = D h_t$.

    The rows of the weights are those of $i, f, g, o$ in this order, as in PyTorch; `bias` is the sum of PyTorch's two biases.
    """

    input_weight: Float[Array, "four_n dim"]
    recurrent_weight: Float[Array, "four_n n"]
    bias: Float[Array, " four_n"]
    readout: Float[Array, "out n"]

    @classmethod
    @renamed(hidden="state_dim")
    def create(
        cls, dim: int, *, state_dim: int | None = None, out_dim: int | None = None, forget_bias: float = 1.0, gain: float = 1.0, key: PRNGKeyArray
    ) -> "LSTM":
        """A layer with Gaussian weights of standard deviation gain / sqrt(fan in).

        Args:
            dim: width of the tokens.
            state_dim: number of cells; default: `dim`.
            out_dim: width of the output; default: `dim`.
            forget_bias: bias of the forget gates, whose default starts with a memory of a few steps; all other biases are 0.
            gain: factor of all standard deviations.
        """
        size, keys = dim if state_dim is None else state_dim, jax.random.split(key, 3)
        bias = jnp.zeros(4 * size).at[size : 2 * size].set(forget_bias)
        inward, back = gaussian((4 * size, dim), gain, keys[0]), gaussian((4 * size, size), gain, keys[1])
        return cls(inward, back, bias, gaussian((dim if out_dim is None else out_dim, size), gain, keys[2]))

    def states(self, x: Float[Array, "time dim"]) -> Float[Array, "time n"]:
        """$h_t$ at every time."""
        return jax.lax.scan(lambda state, drive: self._next(state, drive), _at_least(self.init_state(), x), x @ self.input_weight.T + self.bias)[1]

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time out"]:
        """Map tokens to outputs."""
        return (self.states(x) @ self.readout.T).astype(jnp.result_type(x, self.readout))

    def init_state(self) -> LSTMState:
        """A state of zeros, in float32 or wider."""
        zeros = jnp.zeros(self.recurrent_weight.shape[1], jnp.promote_types(self.recurrent_weight.dtype, jnp.float32))
        return LSTMState(zeros, zeros)

    @unbatched
    def step(self, state: LSTMState, x: Float[Array, " dim"]) -> tuple[LSTMState, Float[Array, " out"]]:
        """Process one token."""
        state, hidden = self._next(state, self.input_weight @ x + self.bias)
        return state, (self.readout @ hidden).astype(jnp.result_type(x, self.readout))

    def _next(self, state: LSTMState, drive: Float[Array, " four_n"]) -> tuple[LSTMState, Float[Array, " n"]]:
        i, f, g, o = jnp.split(drive + self.recurrent_weight @ state.hidden, 4)
        cell = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        state = _like(state, LSTMState(hidden, cell))
        return state, state.hidden


class GRU(StreamingMixer):
    r"""$r, z = \sigma(W x_t + U h_{t-1} + b)$, $n = \tanh(W_n x_t + b_n + r \odot (U_n h_{t-1} + b_{hn}))$, $h_t = (1 - z) \odot n + z \odot h_{t-1}$,
    $y_t = D h_t$.

    The rows of the weights are those of $r, z, n$ in this order, as in PyTorch; `bias` is the sum of its two biases, except $b_{hn}$.
    """

    input_weight: Float[Array, "three_n dim"]
    recurrent_weight: Float[Array, "three_n n"]
    bias: Float[Array, " three_n"]
    recurrent_bias: Float[Array, " n"]
    readout: Float[Array, "out n"]

    @classmethod
    @renamed(hidden="state_dim")
    def create(cls, dim: int, *, state_dim: int | None = None, out_dim: int | None = None, gain: float = 1.0, key: PRNGKeyArray) -> "GRU":
        """A layer with Gaussian weights of standard deviation gain / sqrt(fan in) and biases of 0.

        Args:
            dim: width of the tokens.
            state_dim: number of neurons; default: `dim`.
            out_dim: width of the output; default: `dim`.
            gain: factor of all standard deviations.
        """
        size, keys = dim if state_dim is None else state_dim, jax.random.split(key, 3)
        inward, back = gaussian((3 * size, dim), gain, keys[0]), gaussian((3 * size, size), gain, keys[1])
        return cls(inward, back, jnp.zeros(3 * size), jnp.zeros(size), gaussian((dim if out_dim is None else out_dim, size), gain, keys[2]))

    def states(self, x: Float[Array, "time dim"]) -> Float[Array, "time n"]:
        """$h_t$ at every time."""
        return jax.lax.scan(lambda state, drive: self._next(state, drive), _at_least(self.init_state(), x), x @ self.input_weight.T + self.bias)[1]

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time out"]:
        """Map tokens to outputs."""
        return (self.states(x) @ self.readout.T).astype(jnp.result_type(x, self.readout))

    def init_state(self) -> Float[Array, " n"]:
        """A state of zeros, in float32 or wider."""
        return jnp.zeros(self.recurrent_bias.shape, jnp.promote_types(self.recurrent_bias.dtype, jnp.float32))

    @unbatched
    def step(self, state: Float[Array, " n"], x: Float[Array, " dim"]) -> tuple[Float[Array, " n"], Float[Array, " out"]]:
        """Process one token."""
        state, _ = self._next(state, self.input_weight @ x + self.bias)
        return state, (self.readout @ state).astype(jnp.result_type(x, self.readout))

    def _next(self, state: Float[Array, " n"], drive: Float[Array, " three_n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        size = state.shape[0]
        back = self.recurrent_weight @ state
        r, z = jnp.split(jax.nn.sigmoid(drive[: 2 * size] + back[: 2 * size]), 2)
        new = jnp.tanh(drive[2 * size :] + r * (back[2 * size :] + self.recurrent_bias))
        state = _like(state, (1 - z) * new + z * state)
        return state, state


def _at_least(state: Any, x: Array) -> Any:
    """The state, as wide as the tokens."""
    return jax.tree.map(lambda part: part.astype(jnp.promote_types(part.dtype, x.dtype)), state)


def _like(state: Any, after: Any) -> Any:
    """The next state in the precision of the last, as a scan requires."""
    return jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)
