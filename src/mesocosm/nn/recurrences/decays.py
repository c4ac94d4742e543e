r"""Parametrisations of the decay $\lambda$ of a diagonal linear recurrence: free, between 0 and 1, and complex inside the unit circle."""

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Inexact, PRNGKeyArray

from mesocosm.numerics.precision import widened

SHARPNESS = 12.0


class Decay(eqx.Module):
    r"""Parameters of $\lambda$; calling the module returns $\lambda$, in float32 or wider: close to 1, narrower numbers forget far too much or too little."""

    @abstractmethod
    def __call__(self) -> Inexact[Array, " n"]:
        r"""$\lambda$, one per channel."""


class FreeDecay(Decay):
    r"""$\lambda$ itself, for weights set by hand, where it is exactly 0 or 1."""

    value: Inexact[Array, " n"]

    def __call__(self) -> Inexact[Array, " n"]:
        r"""$\lambda$."""
        return widened(self.value)


class SigmoidDecay(Decay):
    r"""$\lambda = \sigma(12 (\nu - \tfrac12))$: 0.0025 at $\nu = 0$ and 0.9975 at $\nu = 1$, so that $\nu$ and $\lambda$ both lie in the unit interval."""

    position: Float[Array, " n"]

    @classmethod
    def create(cls, channels: int, *, key: PRNGKeyArray) -> "SigmoidDecay":
        r"""$\nu$ uniform on (0, 1)."""
        return cls(jax.random.uniform(key, (channels,)))

    def __call__(self) -> Float[Array, " n"]:
        r"""$\lambda$."""
        return jax.nn.sigmoid(SHARPNESS * (widened(self.position) - 0.5))


class PolarDecay(Decay):
    r"""$\lambda = \exp(-e^{\nu} + i e^{\theta})$, inside the unit circle for all parameters.

    Reference: Orvieto et al., "Resurrecting recurrent neural networks for long sequences" (2023), Sec. 3.3.
    """

    log_rate: Float[Array, " n"]
    log_phase: Float[Array, " n"]

    @classmethod
    def create(cls, channels: int, *, smallest: float = 0.0, largest: float = 1.0, max_phase: float = 6.28, key: PRNGKeyArray) -> "PolarDecay":
        r"""Uniform on the ring $r_{min} < |\lambda| < r_{max}$, phases uniform in (0, `max_phase`).

        Raises:
            ValueError: the ring is empty or reaches beyond the unit circle, or the largest phase is not positive and finite.
        """
        if not (0 <= smallest < largest <= 1 and 0 < max_phase < math.inf):
            raise ValueError(f"decays need 0 <= smallest < largest <= 1 and a positive, finite phase; got {smallest}, {largest} and {max_phase}")
        area, turn = jax.random.uniform(key, (2, channels), minval=1e-6)
        modulus = jnp.sqrt(area * (largest**2 - smallest**2) + smallest**2)
        return cls(jnp.log(jnp.maximum(-jnp.log(modulus), jnp.finfo(modulus.dtype).eps)), jnp.log(max_phase * turn))

    def __call__(self) -> Complex[Array, " n"]:
        r"""$\lambda$."""
        return jnp.exp(-jnp.exp(widened(self.log_rate)) + 1j * jnp.exp(widened(self.log_phase)))
