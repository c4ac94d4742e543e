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
    outward: Float[Array, "out hidden"]
    inward_bias: Float[Array, " hidden"] | None
    outward_bias: Float[Array, " out"] | None
    activation: Activation = eqx.field(static=True, default=jax.nn.gelu)

    @classmethod
    def create(cls, dim: int, *, hidden: int | None = None, bias: bool = True, activation: Activation = jax.nn.gelu, key: PRNGKeyArray) -> "FeedForward":
        """Gaussian weights with standard deviation 1 / sqrt(fan in), biases 0; `hidden` defaults to 4 dim, the activation to GELU (tanh form)."""
        hidden, (first, second) = 4 * dim if hidden is None else hidden, jax.random.split(key)
        biases = (jnp.zeros(hidden), jnp.zeros(dim)) if bias else (None, None)
        return cls(gaussian((hidden, dim), 1.0, first), gaussian((dim, hidden), 1.0, second), *biases, activation)

    def __call__(self, x: Float[Array, "*time dim"]) -> Float[Array, "*time out"]:
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


class MixtureOfExperts(eqx.Module):
    r"""$\sum_{e \in A} g_e\, \mathrm{FF}_e(x)$: the `active` experts A with the largest scores $W x$, weighted by the softmax g of their scores.

    All experts are computed for every token. There is no loss that balances their load.
    """

    experts: FeedForward
    router: Float[Array, "experts dim"]
    active: int = eqx.field(static=True, default=2)

    @classmethod
    def create(
        cls, dim: int, *, hidden: int | None = None, experts: int = 4, active: int = 2, activation: Activation = jax.nn.gelu, key: PRNGKeyArray
    ) -> "MixtureOfExperts":
        """Experts as `FeedForward` makes them, each with `hidden` units (default: 4 dim); router weights with standard deviation 1 / sqrt(fan in).

        Raises:
            ValueError: the number of active experts is not between 1 and `experts`.
        """
        if not 1 <= active <= experts:
            raise ValueError(f"{active} of {experts} experts cannot be active.")
        expert_key, router_key = jax.random.split(key)
        made = eqx.filter_vmap(lambda key: FeedForward.create(dim, hidden=hidden, activation=activation, key=key))(jax.random.split(expert_key, experts))
        return cls(made, gaussian((experts, dim), 1.0, router_key), active)

    def __call__(self, x: Float[Array, "*time dim"]) -> Float[Array, "*time dim"]:
        """Map tokens to tokens."""
        scores = x @ self.router.T
        least = jax.lax.top_k(scores, self.active)[0][..., -1:]
        gates = jax.nn.softmax(jnp.where(scores >= least, scores, -jnp.inf))
        return jnp.einsum("e...d,...e->...d", eqx.filter_vmap(lambda expert: expert(x))(self.experts), gates)
