r"""Value networks: how attention weights and values become the outputs of the heads.

Attention is a hypernetwork: over heads, the weights $a_{qk} \in \mathbb{R}^H$ of a pair of tokens are a latent code, which generates the parameters of the
function that maps token k to its contribution to token q. In multi-head attention, that function is linear,
$\sum_h a_{hqk} P_h W_h x_k$; in HYLA, it has a hidden layer. Queries and keys are not involved, and no token k sees another.

Reference: Schug et al., "Attention as a hypernetwork" (arXiv 2406.05816), Eqs. 2 to 7 and 10.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import reduce
from operator import add

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.linear import gaussian

Activation = Callable[[Array], Array]


def identity(x: Array) -> Array:
    """$x$, for a network without a nonlinearity."""
    return x


class ValueNetwork(eqx.Module):
    """(weights, values) -> outputs of the heads, which the layer maps by $P_h$ and adds up."""

    @classmethod
    def create(cls, heads: int, value_dim: int, *, key: PRNGKeyArray) -> "ValueNetwork":
        """A network for a layer of this many heads with values of this size; by default, it has no parameters."""
        return cls()

    @abstractmethod
    def __call__(self, weights: Float[Array, "heads q k"], values: Float[Array, "k heads value_dim"]) -> Float[Array, "q heads value_dim"]:
        """Sum over keys."""


class LinearValues(ValueNetwork):
    r"""$o_{hq} = \sum_k a_{hqk}\, v_{kh}$: multi-head attention."""

    def __call__(self, weights: Float[Array, "heads q k"], values: Float[Array, "k heads value_dim"]) -> Float[Array, "q heads value_dim"]:
        """Sum over keys."""
        return jnp.einsum("hqk,khv->qhv", weights, values)


class NonlinearValues(LinearValues):
    r"""$o_{hq} = \sum_k a_{hqk}\, \phi(v_{kh})$ with $\phi$ = ReLU: nonlinear, but the code does not generate what is inside."""

    def __call__(self, weights: Float[Array, "heads q k"], values: Float[Array, "k heads value_dim"]) -> Float[Array, "q heads value_dim"]:
        """Sum over keys."""
        return super().__call__(weights, jax.nn.relu(values))


class TwoStepValues(ValueNetwork):
    r"""$u_{qk} = \phi\big(\sum_h a_{hqk}\, v_{kh}\big)$, $o_{hq} = \sum_k a_{hqk}\, u_{qk}$: the code generates both layers, as in HYLA.

    $\phi$ is ReLU by default. With $\phi$ = identity, outputs are quadratic in the weights.

    The gradient is written out (`two_step`): it computes the hidden layers again instead of storing them. Reverse mode works, and forward mode over it, but
    not forward mode (`jax.jvp`) alone.
    """

    activation: Activation = eqx.field(static=True, default=jax.nn.relu)

    def __call__(self, weights: Float[Array, "heads q k"], values: Float[Array, "k heads value_dim"]) -> Float[Array, "q heads value_dim"]:
        """Sum over keys."""
        return two_step(self.activation, weights, values)


class DeepValues(ValueNetwork):
    r"""$u'_{qk} = \phi\big(\sum_h a_{hqk}\, W'_h u_{qk}\big)$ between the two steps, $o_{hq} = \sum_k a_{hqk}\, u'_{qk}$, with $\phi$ = ReLU: three generated
    layers.
    """

    maps: Float[Array, "heads value_dim value_dim"]

    @classmethod
    def create(cls, heads: int, value_dim: int, *, key: PRNGKeyArray) -> "DeepValues":
        """Maps $W'_h$ with entries N(0, 1 / value_dim)."""
        return cls(gaussian((heads, value_dim, value_dim), 1.0, key))

    def __call__(self, weights: Float[Array, "heads q k"], values: Float[Array, "k heads value_dim"]) -> Float[Array, "q heads value_dim"]:
        """Sum over keys."""
        return _three_steps(weights, values, self.maps)


def two_step(activation: Activation, weights: Float[Array, "heads q k"], values: Float[Array, "k heads value_dim"]) -> Float[Array, "q heads value_dim"]:
    """The formula of `TwoStepValues`.

    Heads are few, and sums over them are written out: a CPU does one pass over the pairs of tokens instead of a small matrix product for each pair. In the
    gradient, the loop over channels keeps XLA from computing the hidden layer once for every head.
    """
    return _two_step(activation, weights, values)


def _two_step_forward(activation: Activation, weights: Array, values: Array) -> Array:
    hidden = activation(_over_heads(weights[:, None], values.transpose(1, 2, 0)[:, :, None]))
    return jnp.einsum("hqk,vqk->qhv", weights, hidden)


_two_step = jax.custom_vjp(_two_step_forward, nondiff_argnums=(0,))


def _two_step_gradient(activation: Activation, given: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    weights, values = given

    def channel(both: tuple[Array, Array]) -> tuple[Array, Array]:
        """The hidden layer (q, k) and the gradient of what enters it, for one channel's values (heads, k) and gradient (heads, q)."""
        values, gradient = both
        hidden, pull = jax.vjp(activation, _over_heads(weights, values[:, None]))
        return hidden, *pull(_over_heads(weights, gradient[:, :, None]))

    by_channel = values.transpose(2, 1, 0), gradient.transpose(2, 1, 0)
    hidden, entering = jax.lax.map(channel, by_channel)
    by_weights = reduce(add, (g[:, :, None] * u + v[:, None] * p for u, p, v, g in zip(hidden, entering, *by_channel, strict=True)))
    by_values = jnp.einsum("hqk,vqk->khv", weights, entering)
    return by_weights.astype(weights.dtype), by_values.astype(values.dtype)


_two_step.defvjp(lambda activation, weights, values: (_two_step_forward(activation, weights, values), (weights, values)), _two_step_gradient)


def _over_heads(first: Array, second: Array) -> Array:
    """The sum over the leading axis of a product, term by term."""
    return reduce(add, (a * b for a, b in zip(first, second, strict=True)))


@jax.checkpoint
def _three_steps(weights: Array, values: Array, maps: Array) -> Array:
    hidden = jax.nn.relu(jnp.einsum("hqk,khv->qkv", weights, values))
    middle = jax.nn.relu(_over_heads(weights[..., None], jnp.einsum("qkv,huv->hqku", hidden, maps)))
    return jnp.einsum("hqk,qkv->qhv", weights, middle)
