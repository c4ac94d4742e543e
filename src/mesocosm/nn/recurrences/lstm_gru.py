r"""LSTM and GRU as mixers, in the equations of PyTorch and cuDNN, with a linear readout.

References: Hochreiter and Schmidhuber, "Long short-term memory" (1997); Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian
from mesocosm.nn.mixer import StreamingMixer, unbatched
from mesocosm.nn.recurrences.cells import recurrent_states
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
        start = jnp.stack(self.init_state()).astype(_wide(self.recurrent_weight, x))
        drive = (x @ self.input_weight.T + self.bias).astype(start.dtype)
        return _lstm_hidden(drive, self.recurrent_weight.astype(start.dtype), start)

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
        gates = self.input_weight @ x + self.bias + self.recurrent_weight @ state.hidden
        state = LSTMState(*_lstm(jnp.stack(state), gates.reshape(4, -1)).astype(state.hidden.dtype))
        return state, (self.readout @ state.hidden).astype(jnp.result_type(x, self.readout))


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
        start = self.init_state()[None].astype(_wide(self.recurrent_weight, x))
        drive = self._drive(x).astype(start.dtype)
        return recurrent_states(_gru, drive, self.recurrent_weight.astype(start.dtype), start)[:, 0]

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
        products = (self.recurrent_weight @ state).reshape(3, -1)
        gates = self._drive(x) + jnp.pad(products, ((0, 1), (0, 0)))
        state = _gru(state[None], gates)[0].astype(state.dtype)
        return state, (self.readout @ state).astype(jnp.result_type(x, self.readout))

    def _drive(self, x: Float[Array, "*time dim"]) -> Float[Array, "*time 4 n"]:
        """Of r, z, the state's part of n, which gets no input, and the input's part of n."""
        size = len(self.recurrent_bias)
        drive = x @ self.input_weight.T + self.bias
        back = jnp.broadcast_to(self.recurrent_bias, (*x.shape[:-1], size))
        return jnp.concatenate([drive[..., : 2 * size], back, drive[..., 2 * size :]], axis=-1).reshape(*x.shape[:-1], 4, size)


@jax.custom_jvp
def _lstm_hidden(drive: Float[Array, "time four_n"], recurrent: Float[Array, "four_n n"], start: Float[Array, "2 n"]) -> Float[Array, "time n"]:
    return recurrent_states(_lstm, drive.reshape(len(drive), 4, -1), recurrent, start)[:, 0]


@_lstm_hidden.defjvp
def _lstm_derivative(given: tuple[Array, Array, Array], moved: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """That of a plain loop, which in reverse mode is faster than that of `recurrent_states` with its 16 numbers per channel."""

    def loop(drive: Array, recurrent: Array, start: Array) -> Array:
        def step(state: tuple[Array, Array], drive: Array) -> tuple[tuple[Array, Array], Array]:
            i, f, g, o = jnp.split(drive + recurrent @ state[0], 4)
            cell = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        return jax.lax.scan(step, (start[0], start[1]), drive)[1]

    return jax.jvp(loop, given, moved)


def _lstm(state: Float[Array, "2 *n"], gates: Float[Array, "4 *n"]) -> Float[Array, "2 *n"]:
    i, f, g, o = gates
    cell = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jnp.stack([jax.nn.sigmoid(o) * jnp.tanh(cell), cell])


def _gru(state: Float[Array, "1 *n"], gates: Float[Array, "4 *n"]) -> Float[Array, "1 *n"]:
    r, z = jax.nn.sigmoid(gates[:2])
    return (1 - z) * jnp.tanh(gates[3] + r * gates[2]) + z * state


def _wide(weight: Array, x: Array) -> DTypeLike:
    """The states' precision: float32, or wider where the weights or the tokens are."""
    return jnp.promote_types(jnp.promote_types(weight.dtype, jnp.float32), x.dtype)
