"""The feed-forward parts of a transformer block, applied to every token by itself."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian

Activation = Callable[[Array], Array]


class FeedForward(eqx.Module):
    r"""$W_2\, \phi(W_1 x + b_1) + b_2$."""

    inward: Float[Array, "hidden dim"]
    outward: Float[Array, "dim hidden"]
    inward_bias: Float[Array, " hidden"] | None
    outward_bias: Float[Array, " dim"] | None
    activation: Activation = eqx.field(static=True, default=jax.nn.gelu)

    @classmethod
    def create(cls, dim: int, *, hidden: int | None = None, bias: bool = True, activation: Activation = jax.nn.gelu, key: PRNGKeyArray) -> "FeedForward":
        """Gaussian weights with standard deviation 1 / sqrt(fan in), biases 0; `hidden` defaults to 4 dim, the activation to GELU (tanh form)."""
        hidden, (first, second) = 4 * dim if hidden is None else hidden, jax.random.split(key)
        biases = (jnp.zeros(hidden), jnp.zeros(dim)) if bias else (None, None)
        return cls(gaussian((hidden, dim), 1.0, first), gaussian((dim, hidden), 1.0, second), *biases, activation)

    def __call__(self, x: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        """Map tokens to tokens."""
        hidden = x @ self.inward.T if self.inward_bias is None else x @ self.inward.T + self.inward_bias
        out = self.activation(hidden) @ self.outward.T
        return out if self.outward_bias is None else out + self.outward_bias


class GatedFeedForward(eqx.Module):
    r"""$W_2(\phi(W_g x) \odot W_1 x)$ without biases: SwiGLU with $\phi$ = SiLU, GEGLU with GELU.

    Reference: Shazeer, "GLU variants improve transformer" (2020).
    """

    gate: Float[Array, "hidden dim"]
    inward: Float[Array, "hidden dim"]
    outward: Float[Array, "dim hidden"]
    activation: Activation = eqx.field(static=True, default=jax.nn.silu)

    @classmethod
    def create(cls, dim: int, *, hidden: int | None = None, activation: Activation = jax.nn.silu, key: PRNGKeyArray) -> "GatedFeedForward":
        """Gaussian weights with standard deviation 1 / sqrt(fan in); `hidden` defaults to 8/3 dim, which has as many weights as `FeedForward`."""
        hidden, (first, second) = 8 * dim // 3 if hidden is None else hidden, jax.random.split(key)
        gate, inward = gaussian((2, hidden, dim), 1.0, first)
        return cls(gate, inward, gaussian((dim, hidden), 1.0, second), activation)

    def __call__(self, x: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        """Map tokens to tokens."""
        return (self.activation(x @ self.gate.T) * (x @ self.inward.T)) @ self.outward.T
