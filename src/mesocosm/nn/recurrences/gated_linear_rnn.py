r"""A diagonal linear recurrence between two gates. With bilinear gates, it can express linear attention exactly.

Reference: Zucchet et al., "Gated recurrent neural networks discover attention" (arXiv 2309.01775), Sec. 3.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian
from mesocosm.nn.mixer import StreamingMixer, unbatched
from mesocosm.nn.recurrences.decays import Decay, SigmoidDecay
from mesocosm.nn.recurrences.gates import BilinearGate, Gate
from mesocosm.nn.recurrences.linear_recurrence import linear_recurrence
from mesocosm.nn.renamed import renamed


class GatedLinearRNN(StreamingMixer):
    r"""$h_t = \lambda \odot h_{t-1} + g_{in}(\tilde x_t), \qquad y_t = D\, g_{out}(h_t, \tilde x_t), \qquad \tilde x_t = [x_t; 1],\ h_0 = 0.$

    With the bilinear gate on both sides, $g_{in}(\tilde x) = (W^{in}_m \tilde x) \odot (W^{in}_x \tilde x)$ and
    $g_{out}(h) = (W^{out}_m h) \odot (W^{out}_x h)$, this is the paper's gated linear RNN, and `as_gated_rnn` gives the weights for which it is linear
    attention. Other gates give other layers: `Ungated` for no gate, `SideGate` at the output for a gate computed from the token. The appended 1 replaces
    biases. If the output is complex, its real part is returned.
    """

    input: Gate
    decay: Decay
    output: Gate
    readout: Float[Array, "out products"]

    @classmethod
    @renamed(neurons="state_dim")
    def create(
        cls,
        dim: int,
        *,
        state_dim: int | None = None,
        products: int | None = None,
        out_dim: int | None = None,
        input_gate: type[Gate] = BilinearGate,
        output_gate: type[Gate] = BilinearGate,
        decay: Callable[..., Decay] = SigmoidDecay.create,
        gain: float = 1.0,
        key: PRNGKeyArray,
    ) -> "GatedLinearRNN":
        """A layer with Gaussian weights of standard deviation gain / sqrt(fan in).

        Args:
            dim: width of the tokens.
            state_dim: number of recurrent neurons; default: `dim`.
            products: number of products that the output gate forms; default: `state_dim`.
            out_dim: width of the output; default: `dim`.
            input_gate, output_gate: gate classes.
            decay: (number of neurons, key) -> decays.
            gain: factor of all standard deviations.
        """
        state_dim = dim if state_dim is None else state_dim
        products = state_dim if products is None else products
        keys = jax.random.split(key, 4)
        return cls(
            input_gate.create(state_dim, dim + 1, dim + 1, gain=gain, key=keys[0]),
            decay(state_dim, key=keys[1]),
            output_gate.create(products, state_dim, dim + 1, gain=gain, key=keys[2]),
            gaussian((dim if out_dim is None else out_dim, products), gain, keys[3]),
        )

    def states(self, x: Float[Array, "time dim"]) -> Inexact[Array, "time n"]:
        """The states of the recurrent neurons at every time."""
        token = with_one(x)
        return linear_recurrence(self.decay(), self.input(token, token))

    def read(self, states: Inexact[Array, "*time n"], x: Float[Array, "*time dim"]) -> Float[Array, "*time out"]:
        """Apply the output gate and the readout to states and tokens."""
        return jnp.real(self.output(states, with_one(x)) @ self.readout.T).astype(jnp.result_type(x, self.readout))

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time out"]:
        """Map tokens to outputs."""
        return self.read(self.states(x), x)

    def init_state(self) -> Inexact[Array, " n"]:
        """A state of zeros, in float32 or wider."""
        decay = self.decay()
        return jnp.zeros(decay.shape, decay.dtype)

    def step(self, state: Inexact[Array, " n"], x: Float[Array, " dim"]) -> tuple[Inexact[Array, " n"], Float[Array, " out"]]:
        """Process one token."""
        token = with_one(x)
        state = (self.decay() * state + self.input(token, token)).astype(state.dtype)
        return state, self.read(state, x)


def with_one(x: Float[Array, "*time dim"]) -> Float[Array, "*time dim_plus_1"]:
    r"""$\tilde x = [x; 1]$."""
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)
