r"""The linear recurrent unit, a complex diagonal recurrence with a normalised input, and its residual block.

Reference: Orvieto et al., "Resurrecting recurrent neural networks for long sequences" (arXiv 2303.06349).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian
from mesocosm.nn.blocks.norms import rms_normalise
from mesocosm.nn.mixer import StreamingMixer, unbatched
from mesocosm.nn.recurrences.decays import PolarDecay
from mesocosm.nn.recurrences.gated_linear_rnn import with_one
from mesocosm.nn.recurrences.gates import Gate, GatedLinearUnit
from mesocosm.nn.recurrences.linear_recurrence import linear_recurrence
from mesocosm.nn.renamed import renamed
from mesocosm.numerics.precision import widened


class LRU(StreamingMixer):
    r"""$h_t = \lambda \odot h_{t-1} + e^{\gamma} \odot (B x_t)$, $y_t = \mathrm{Re}(C h_t) + d \odot x_t$, with complex $\lambda$, B and C.

    $\gamma$ starts at $\log \sqrt{1 - |\lambda|^2}$, so that states are as large as inputs; it tends to $-\infty$ as $|\lambda| \to 1$, the limit of perfect
    memory.
    """

    decay: PolarDecay
    log_scale: Float[Array, " n"]
    input_weight: Float[Array, "two n dim"]
    output_weight: Float[Array, "two dim n"]
    skip: Float[Array, " dim"]

    @classmethod
    @renamed(hidden="state_dim")
    def create(
        cls, dim: int, *, state_dim: int | None = None, smallest: float = 0.0, largest: float = 1.0, max_phase: float = 6.28, key: PRNGKeyArray
    ) -> "LRU":
        r"""A layer with $\lambda$ uniform on a ring; real and imaginary parts of B have standard deviation $1/\sqrt{2\,\mathrm{dim}}$, of C $1/\sqrt n$.

        Args:
            dim: width of the tokens.
            state_dim: number n of complex neurons; default: `dim`.
            smallest, largest: bounds of the moduli of lambda.
            max_phase: upper bound of its phases, in radians.
        """
        hidden, keys = dim if state_dim is None else state_dim, jax.random.split(key, 4)
        decay = PolarDecay.create(hidden, smallest=smallest, largest=largest, max_phase=max_phase, key=keys[0])
        scale = 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(decay.log_rate)))
        weights = gaussian((2, hidden, dim), 2**-0.5, keys[1]), gaussian((2, dim, hidden), 1.0, keys[2])
        return cls(decay, scale, *weights, jax.random.normal(keys[3], (dim,)))

    def drive(self, x: Float[Array, "*time dim"]) -> Complex[Array, "*time n"]:
        r"""$e^{\gamma} \odot (B x_t)$."""
        x = widened(x)
        return jnp.exp(widened(self.log_scale)) * (x @ self.input_weight[0].T + 1j * (x @ self.input_weight[1].T))

    def read(self, states: Complex[Array, "*time n"], x: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        r"""$\mathrm{Re}(C h_t) + d \odot x_t$."""
        out = states.real @ self.output_weight[0].T - states.imag @ self.output_weight[1].T + self.skip * x
        return out.astype(jnp.result_type(x, self.output_weight))

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        return self.read(linear_recurrence(self.decay(), self.drive(x)), x)

    def init_state(self) -> Complex[Array, " n"]:
        """A state of zeros."""
        return jnp.zeros_like(self.decay())

    def step(self, state: Complex[Array, " n"], x: Float[Array, " dim"]) -> tuple[Complex[Array, " n"], Float[Array, " dim"]]:
        """Process one token."""
        state = (self.decay() * state + self.drive(x)).astype(state.dtype)
        return state, self.read(state, x)


class Perceptron(Gate):
    r"""$W_2\, \mathrm{gelu}(W_1 u)$ with a hidden width four times the signal's; used in place of a gate, it must approximate products."""

    first: Float[Array, "hidden signal"]
    second: Float[Array, "products hidden"]

    @classmethod
    def create(cls, products: int, signal: int, context: int, *, gain: float = 1.0, key: PRNGKeyArray) -> "Perceptron":
        """See `Gate.create`."""
        first, second = jax.random.split(key)
        return cls(gaussian((4 * signal, signal), gain, first), gaussian((products, 4 * signal), gain, second))

    def __call__(self, signal: Float[Array, "*time signal"], context: Float[Array, "*time context"]) -> Float[Array, "*time products"]:
        r"""$W_2\, \mathrm{gelu}(W_1 u)$."""
        return jax.nn.gelu(signal @ self.first.T) @ self.second.T

    def scaled(self, factors: Float[Array, " signal"]) -> "Perceptron":
        """See `Gate.scaled`."""
        return Perceptron(self.first * factors, self.second)


class LRUBlock(StreamingMixer):
    r"""$x_t + g_{out}([\mathrm{gelu}(\mathrm{LRU}(u)_t); 1])$ with $u_t = g_{in}([\mathrm{norm}(x_t); 1])$, or $u = \mathrm{norm}(x)$ without a gate there.

    The published block has no gate at the input and a gated linear unit at the output. A bilinear gate at the input adds what linear attention needs;
    a `Perceptron` at the output gives the block with an MLP. The norm divides by the root mean square over channels; `normalised=False` omits it.
    """

    input: Gate | None
    lru: LRU
    output: Gate
    norm_scale: Float[Array, " dim"]
    normalised: bool = eqx.field(static=True, default=True)

    @classmethod
    @renamed(hidden="state_dim")
    def create(
        cls,
        dim: int,
        *,
        state_dim: int | None = None,
        output_gate: type[Gate] = GatedLinearUnit,
        input_gate: type[Gate] | None = None,
        normalised: bool = True,
        smallest: float = 0.0,
        largest: float = 1.0,
        max_phase: float = 6.28,
        key: PRNGKeyArray,
    ) -> "LRUBlock":
        """A block with random weights.

        Args:
            dim: width of the tokens.
            state_dim, smallest, largest, max_phase: see `LRU.create`.
            input_gate, output_gate: gate classes; None for no gate at the input.
            normalised: whether the input is normalised.
        """
        keys = jax.random.split(key, 3)
        return cls(
            None if input_gate is None else input_gate.create(dim, dim + 1, dim + 1, key=keys[0]),
            LRU.create(dim, state_dim=state_dim, smallest=smallest, largest=largest, max_phase=max_phase, key=keys[1]),
            output_gate.create(dim, dim + 1, dim + 1, key=keys[2]),
            jnp.ones(dim),
            normalised,
        )

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        return self._read(self.lru(self._drive(x)), x)

    def init_state(self) -> Complex[Array, " n"]:
        """A state of zeros."""
        return self.lru.init_state()

    def step(self, state: Complex[Array, " n"], x: Float[Array, " dim"]) -> tuple[Complex[Array, " n"], Float[Array, " dim"]]:
        """Process one token."""
        state, mixed = self.lru.step(state, self._drive(x))
        return state, self._read(mixed, x)

    def _drive(self, x: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        x = rms_normalise(x, self.norm_scale) if self.normalised else x
        return x if self.input is None else self.input(with_one(x), with_one(x))

    def _read(self, mixed: Float[Array, "*time dim"], x: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        return x + self.output(with_one(jax.nn.gelu(mixed)), with_one(x))
