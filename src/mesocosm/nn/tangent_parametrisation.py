"""Networks in the tangent parametrisation: parameters are standard normal and scales are in the layer's formula, so that widths can go to infinity.

Reference: Jacot, Gabriel and Hongler, "Neural tangent kernel: convergence and generalization in neural networks" (2018).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod, sqrt
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Activation = Callable[[Array], Array]


class TangentLinear(eqx.Module):
    r"""$y = \frac{s}{\sqrt n} W x + s_b b$ with $W_{ij}, b_i \sim N(0, 1)$, where n is the size of x.

    Attributes:
        weight: W.
        bias: b, or None.
        scale: s.
        bias_scale: s_b.
    """

    weight: Float[Array, "outputs inputs"]
    bias: Float[Array, " outputs"] | None
    scale: float = eqx.field(static=True)
    bias_scale: float = eqx.field(static=True)

    @classmethod
    def create(cls, inputs: int, outputs: int, *, scale: float = 1.0, bias_scale: float = 0.0, key: PRNGKeyArray) -> TangentLinear:
        """Draw the parameters; a bias scale of zero omits the bias."""
        drawn = jax.random.normal(key, (outputs, inputs + (bias_scale != 0)))
        return cls(drawn[:, :inputs], drawn[:, inputs] if bias_scale else None, scale, bias_scale)

    def __call__(self, x: Float[Array, " inputs"], *, key: PRNGKeyArray | None = None) -> Float[Array, " outputs"]:
        """One input."""
        y = self.scale / sqrt(self.weight.shape[1]) * (self.weight @ x)
        return y if self.bias is None else y + self.bias_scale * self.bias


class TangentConv(eqx.Module):
    r"""A two-dimensional convolution without bias, $y = \frac{s}{\sqrt{k^2 c}} W * x$, zero-padded so that the output size is the input size over the stride.

    Attributes:
        weight: W, standard normal.
        scale: s.
        stride: the stride of both axes.
    """

    weight: Float[Array, "outputs inputs rows columns"]
    scale: float = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    @classmethod
    def create(cls, inputs: int, outputs: int, *, size: int = 3, stride: int = 1, scale: float = 1.0, key: PRNGKeyArray) -> TangentConv:
        """Draw the parameters."""
        return cls(jax.random.normal(key, (outputs, inputs, size, size)), scale, stride)

    def __call__(self, x: Float[Array, "inputs rows columns"], *, key: PRNGKeyArray | None = None) -> Float[Array, "outputs rows2 columns2"]:
        """One image, channels first."""
        fan_in = prod(self.weight.shape[1:])
        return self.scale / sqrt(fan_in) * jax.lax.conv_general_dilated(x[None], self.weight, (self.stride, self.stride), "SAME")[0]


class TangentMLP(eqx.Module):
    r"""$f(x) = \alpha\, z^L$, $z^1 = \frac{1}{\sqrt d} W^1 x + s_b b^1$, $z^{l+1} = \frac{s}{\sqrt n} W^{l+1} \phi(z^l) + s_b b^{l+1}$, without a last bias.

    With $s = \sqrt 2$ and ReLU, every layer preserves the variance. Negating the last layer negates f and does not change its tangent kernel.

    Attributes:
        layers: the affine layers, first to last.
        activation: phi.
        readout_scale: alpha.
    """

    layers: tuple[TangentLinear, ...]
    activation: Activation
    readout_scale: float = eqx.field(static=True, default=1.0)

    @classmethod
    def create(
        cls,
        inputs: int,
        outputs: int,
        *,
        width: int,
        depth: int,
        scale: float = sqrt(2),
        bias_scale: float = 0.0,
        activation: Activation = jax.nn.relu,
        readout_scale: float = 1.0,
        key: PRNGKeyArray,
    ) -> TangentMLP:
        """Draw a network with `depth` hidden layers of `width` units."""
        sizes = [inputs, *[width] * depth, outputs]
        layers = [
            TangentLinear.create(m, n, scale=scale if number else 1.0, bias_scale=bias_scale if number < depth else 0.0, key=k)
            for number, (m, n, k) in enumerate(zip(sizes[:-1], sizes[1:], jax.random.split(key, depth + 1), strict=True))
        ]
        return cls(tuple(layers), activation, readout_scale)

    def __call__(self, x: Float[Array, "..."], *, key: PRNGKeyArray | None = None) -> Float[Array, " outputs"]:
        """One input of any shape, flattened."""
        x = jnp.ravel(x)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.readout_scale * self.layers[-1](x)


class TangentCNN(eqx.Module):
    r"""Convolutions of stride 2 with ReLU, the mean over positions, and a linear read-out without bias.

    Attributes:
        convolutions: first to last.
        readout: the map from channels to outputs.
        readout_scale: a factor on the output.
    """

    convolutions: tuple[TangentConv, ...]
    readout: TangentLinear
    readout_scale: float = eqx.field(static=True, default=1.0)

    @classmethod
    def create(cls, channels: int, outputs: int, *, width: int, depth: int = 2, stride: int = 2, readout_scale: float = 1.0, key: PRNGKeyArray) -> TangentCNN:
        """Draw a network with `depth` convolutions of 3 x 3 and `width` channels."""
        keys = jax.random.split(key, depth + 1)
        sizes = [channels, *[width] * depth]
        convolutions = [
            TangentConv.create(m, n, stride=stride, scale=sqrt(2) if number else 1.0, key=keys[number]) for number, (m, n) in enumerate(pairwise(sizes))
        ]
        return cls(tuple(convolutions), TangentLinear.create(width, outputs, scale=sqrt(2), key=keys[-1]), readout_scale)

    def __call__(self, x: Float[Array, "channels rows columns"] | Float[Array, "rows columns"], *, key: PRNGKeyArray | None = None) -> Float[Array, " outputs"]:
        """One image, channels first or grey."""
        x = x[None] if x.ndim == 2 else x
        for convolution in self.convolutions:
            x = jax.nn.relu(convolution(x))
        return self.readout_scale * self.readout(jnp.mean(x, axis=(1, 2)))


Readout = TangentMLP | TangentCNN


def negate_readout(network: Readout) -> Readout:
    """Negate the last layer, which gives $-f$ with the same tangent kernel."""

    def last(model: Readout) -> Any:
        return (model.layers[-1] if isinstance(model, TangentMLP) else model.readout).weight

    return eqx.tree_at(last, network, replace_fn=jnp.negative)
