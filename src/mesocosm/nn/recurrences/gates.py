r"""Gates for the input and output of a linear recurrence. Each maps a signal, and a context that most gates ignore, to products.

At the input of a recurrence, signal and context are both the token; at its output, the signal is the state and the context is the token.

References: Zucchet et al., "Gated recurrent neural networks discover attention" (arXiv 2309.01775); Dauphin et al., "Language modeling with gated
convolutional networks" (2017), for the gated linear unit.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian

Signal = Inexact[Array, "*time signal"]
Context = Float[Array, "*time context"]
Products = Inexact[Array, "*time products"]


class Gate(eqx.Module):
    """Maps signal (..., signal) and context (..., context) to products (..., products). Gates have no biases; append a 1 to the signal to get one."""

    @classmethod
    @abstractmethod
    def create(cls, products: int, signal: int, context: int, *, gain: float = 1.0, key: PRNGKeyArray) -> "Gate":
        """Independent Gaussian weights with standard deviation gain / sqrt(fan in)."""

    @abstractmethod
    def __call__(self, signal: Signal, context: Context) -> Products:
        """Return the products."""

    @abstractmethod
    def scaled(self, factors: Float[Array, " signal"]) -> "Gate":
        """Return a gate that multiplies the channels of the signal by these factors; zeros silence channels."""


class Ungated(Gate):
    """$W u$, a linear map without a gate."""

    weight: Float[Array, "products signal"]

    @classmethod
    def create(cls, products: int, signal: int, context: int, *, gain: float = 1.0, key: PRNGKeyArray) -> "Ungated":
        """See `Gate.create`."""
        return cls(gaussian((products, signal), gain, key))

    def __call__(self, signal: Signal, context: Context) -> Products:
        """$W u$."""
        return signal @ self.weight.T

    def scaled(self, factors: Float[Array, " signal"]) -> "Ungated":
        """See `Gate.scaled`."""
        return Ungated(self.weight * factors)


class BilinearGate(Gate):
    r"""$(W_m u) \odot (W_x u)$: both factors are linear."""

    left: Float[Array, "products signal"]
    right: Float[Array, "products signal"]

    @classmethod
    def create(cls, products: int, signal: int, context: int, *, gain: float = 1.0, key: PRNGKeyArray) -> "BilinearGate":
        """See `Gate.create`."""
        return cls(*gaussian((2, products, signal), gain, key))

    def __call__(self, signal: Signal, context: Context) -> Products:
        r"""$(W_m u) \odot (W_x u)$."""
        return (signal @ self.left.T) * (signal @ self.right.T)

    def scaled(self, factors: Float[Array, " signal"]) -> "BilinearGate":
        """See `Gate.scaled`."""
        return BilinearGate(self.left * factors, self.right * factors)


class GatedLinearUnit(Gate):
    r"""$(W_a u) \odot \sigma(W_b u)$: the gate lies between 0 and 1."""

    value: Float[Array, "products signal"]
    gate: Float[Array, "products signal"]

    @classmethod
    def create(cls, products: int, signal: int, context: int, *, gain: float = 1.0, key: PRNGKeyArray) -> "GatedLinearUnit":
        """See `Gate.create`."""
        return cls(*gaussian((2, products, signal), gain, key))

    def __call__(self, signal: Signal, context: Context) -> Products:
        r"""$(W_a u) \odot \sigma(W_b u)$."""
        return (signal @ self.value.T) * jax.nn.sigmoid(signal @ self.gate.T)

    def scaled(self, factors: Float[Array, " signal"]) -> "GatedLinearUnit":
        """See `Gate.scaled`."""
        return GatedLinearUnit(self.value * factors, self.gate * factors)


class SideGate(Gate):
    r"""$(W_h u) \odot (W_g c)$: the signal times a gate computed from the context, bilinear in the two."""

    value: Float[Array, "products signal"]
    gate: Float[Array, "products context"]

    @classmethod
    def create(cls, products: int, signal: int, context: int, *, gain: float = 1.0, key: PRNGKeyArray) -> "SideGate":
        """See `Gate.create`."""
        both = gaussian((products, signal + context), 1.0, key) * jnp.sqrt(signal + context)
        return cls(gain * both[:, :signal] / jnp.sqrt(signal), gain * both[:, signal:] / jnp.sqrt(context))

    def __call__(self, signal: Signal, context: Context) -> Products:
        r"""$(W_h u) \odot (W_g c)$."""
        return (signal @ self.value.T) * (context @ self.gate.T)

    def scaled(self, factors: Float[Array, " signal"]) -> "SideGate":
        """See `Gate.scaled`."""
        return SideGate(self.value * factors, self.gate)
