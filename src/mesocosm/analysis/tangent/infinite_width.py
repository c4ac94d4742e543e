r"""Kernels of infinitely wide fully connected networks in the tangent parametrisation: of the initial function (NNGP) and of training (NTK).

$$K^1 = \Theta^1 = \frac{x \cdot x'}{d} + s_b^2, \quad K^{l+1} = s^2\, \mathbb{E}[\phi(u)\phi(v)] + s_b^2, \quad
\Theta^{l+1} = K^{l+1} + s^2\, \mathbb{E}[\phi'(u)\phi'(v)]\, \Theta^l, \qquad (u, v) \sim N(0, K^l).$$

References: Jacot, Gabriel and Hongler (2018); Cho and Saul (2009) for ReLU; Williams (1997) for the error function; Lee et al. (2019) for both kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Nonlinearity = Literal["relu", "erf"]


class InfiniteKernels(NamedTuple):
    """Both kernels of an infinitely wide network with one output.

    Attributes:
        nngp: K, the covariance of the initial outputs.
        ntk: Theta, the tangent kernel, which does not change during training.
    """

    nngp: Float[Array, "n m"]
    ntk: Float[Array, "n m"]


class Moments(NamedTuple):
    """E[phi(u) phi(v)] and E[phi'(u) phi'(v)]."""

    value: Float[Array, "n m"]
    slope: Float[Array, "n m"]


def relu_moments(q1: Float[Array, "#n #m"], q2: Float[Array, "#n #m"], k: Float[Array, "n m"]) -> Moments:
    r"""$\frac{1}{2\pi}\sqrt{q q'}\,(\sin t + (\pi - t)\cos t)$ and $\frac{\pi - t}{2\pi}$, with $\cos t = k / \sqrt{q q'}$."""
    norm = jnp.sqrt(q1 * q2)
    cosine = jnp.clip(k / norm, -1.0, 1.0)
    angle = jnp.arccos(cosine)
    return Moments(norm * (jnp.sin(angle) + (jnp.pi - angle) * cosine) / (2 * jnp.pi), (jnp.pi - angle) / (2 * jnp.pi))


def erf_moments(q1: Float[Array, "#n #m"], q2: Float[Array, "#n #m"], k: Float[Array, "n m"]) -> Moments:
    r"""$\frac{2}{\pi}\arcsin\frac{2k}{\sqrt{(1+2q)(1+2q')}}$ and $\frac{4}{\pi}\big((1+2q)(1+2q') - 4k^2\big)^{-1/2}$."""
    product = (1 + 2 * q1) * (1 + 2 * q2)
    return Moments(2 / jnp.pi * jnp.arcsin(2 * k / jnp.sqrt(product)), 4 / jnp.pi / jnp.sqrt(product - 4 * k**2))


MOMENTS = {"relu": relu_moments, "erf": erf_moments}


def infinite_width_kernels(
    x1: Float[Array, "n ..."],
    x2: Float[Array, "m ..."],
    *,
    depth: int,
    nonlinearity: Nonlinearity = "relu",
    scale: float = sqrt(2),
    bias_scale: float = 0.0,
) -> InfiniteKernels:
    """The kernels between two sets of (flattened) inputs for a network like `TangentMLP`: `depth` hidden layers and an output layer without bias."""
    a, b = (x.reshape(x.shape[0], -1) for x in (x1, x2))
    moments = MOMENTS[nonlinearity]

    def first(inner: Array) -> Array:
        return inner / a.shape[1] + bias_scale**2

    q1, q2, k = first(jnp.sum(a**2, axis=1)), first(jnp.sum(b**2, axis=1)), first(a @ b.T)
    theta = k
    for layer in range(1, depth + 1):
        bias = bias_scale**2 if layer < depth else 0.0
        found = moments(q1[:, None], q2[None], k)
        k = scale**2 * found.value + bias
        theta = k + scale**2 * found.slope * theta
        q1, q2 = (scale**2 * _diagonal(moments, q) + bias for q in (q1, q2))
    return InfiniteKernels(k, theta)


def _diagonal(moments: Callable[..., Moments], q: Float[Array, " n"]) -> Float[Array, " n"]:
    return moments(q[:, None], q[:, None], q[:, None]).value[:, 0]
