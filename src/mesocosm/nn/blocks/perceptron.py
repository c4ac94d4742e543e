"""A multilayer perceptron of any kind of affine layer."""

from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.linear import Linear, truncated_gaussian
from mesocosm.nn.tangent_parametrisation import TangentLinear


class MLP(eqx.Module):
    r"""$h^0 = x$, $h^l = \mathrm{relu}(A_l h^{l-1})$ and $y = A_L h^{L-1}$ with affine maps $A_l$.

    Attributes:
        layers: the affine maps, first to last; the last one is the head.
    """

    layers: tuple[Any, ...]

    @classmethod
    def create(cls, *sizes: int, key: PRNGKeyArray) -> "MLP":
        """Layers between these sizes, inputs first, with truncated Gaussian weights of standard deviation 1 / sqrt(fan in) and biases 0."""
        shapes = [(out, dim) for dim, out in pairwise(sizes)]
        keys = jax.random.split(key, len(shapes))
        return cls(tuple(Linear(truncated_gaussian(shape, 1.0, k), jnp.zeros(shape[0])) for shape, k in zip(shapes, keys, strict=True)))

    @classmethod
    def scaled(cls, *sizes: int, key: PRNGKeyArray) -> "MLP":
        r"""Layers $\frac{1}{\sqrt n} W x + b$ with standard normal W and b, n the size of x: the form of a network whose parameters are generated."""
        keys = jax.random.split(key, len(sizes) - 1)
        return cls(tuple(TangentLinear.create(dim, out, bias_scale=1.0, key=k) for (dim, out), k in zip(pairwise(sizes), keys, strict=True)))

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        """One input."""
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)
