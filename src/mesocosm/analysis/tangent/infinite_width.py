r"""Kernels of infinitely wide fully connected networks in the tangent parametrisation: of the initial function (NNGP) and of training (NTK).

$$K^1 = \Theta^1 = \frac{x \cdot x'}{d} + s_b^2, \quad K^{l+1} = s^2\, \mathbb{E}[\phi(u)\phi(v)] + s_b^2, \quad
\Theta^{l+1} = K^{l+1} + s^2\, \mathbb{E}[\phi'(u)\phi'(v)]\, \Theta^l, \qquad (u, v) \sim N(0, K^l).$$

The angle t between u and v comes from the chord between the normalised inputs, and each layer passes on the share $c = \sin^2(t / 2)$: at nearly equal
inputs, the cosine and its inverse would lose half of the digits, and all of the gradient.

References: Jacot, Gabriel and Hongler (2018); Cho and Saul (2009) for ReLU; Williams (1997) for the error function; Lee et al. (2019) for both kernels.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.numerics.edges import ratio, root
from mesocosm.numerics.precision import full_precision

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


class Pairs(NamedTuple):
    """The moments of u and v for all pairs, and the angle t between them.

    Attributes:
        q1, q2: E[u^2] and E[v^2].
        k: E[uv].
        apart: c = sin^2(t / 2), computed without cancellation.
        along: cos^2(t / 2).
    """

    q1: Float[Array, "#n #m"]
    q2: Float[Array, "#n #m"]
    k: Float[Array, "n m"]
    apart: Float[Array, "n m"]
    along: Float[Array, "n m"]


def relu_moments(q1: Float[Array, "#n #m"], q2: Float[Array, "#n #m"], k: Float[Array, "n m"]) -> Moments:
    r"""$\frac{1}{2\pi}(\sqrt{q q'} \sin t + (\pi - t) k)$ and $\frac{\pi - t}{2\pi}$, with $\cos t = k / \sqrt{q q'}$."""
    return _relu(_pairs(q1, q2, k))


def erf_moments(q1: Float[Array, "#n #m"], q2: Float[Array, "#n #m"], k: Float[Array, "n m"]) -> Moments:
    r"""$\frac{2}{\pi}\arctan\frac{2k}{r}$ and $\frac{4}{\pi r}$, with $r^2 = (1 + 2q)(1 + 2q') - 4k^2$."""
    return _erf(_pairs(q1, q2, k))


def _relu(pairs: Pairs) -> Moments:
    half, rest = root(pairs.apart), root(pairs.along)
    beyond = 2 * jnp.arctan2(rest, half)  # pi - t
    return Moments((2 * root(pairs.q1) * root(pairs.q2) * half * rest + beyond * pairs.k) / (2 * jnp.pi), beyond / (2 * jnp.pi))


def _erf(pairs: Pairs) -> Moments:
    distance = jnp.sqrt(1 + 2 * pairs.q1 + 2 * pairs.q2 + 16 * pairs.q1 * pairs.q2 * pairs.apart * pairs.along)
    return Moments(2 / jnp.pi * jnp.arctan2(2 * pairs.k, distance), 4 / jnp.pi / distance)


def _after_relu(pairs: Pairs, scale: float, bias: float) -> Pairs:
    r"""The pairs of the next layer, with the bias $\beta = s_b^2$.

    With the products $n$, $n'$ of the standard deviations before and after, $c' = \frac{n' - k'}{2 n'}$ is the sum of
    $\frac{s^2 n}{2 n'} \left(c - \frac{\sin t - t \cos t}{2\pi}\right)$ and $\frac{s^2 \beta}{4 n'} \frac{(\sqrt{q} - \sqrt{q'})^2}{n' + s^2 n / 2 + \beta}$.
    """
    s1, s2 = root(pairs.q1), root(pairs.q2)
    q1, q2 = (scale**2 / 2 * q + bias for q in (pairs.q1, pairs.q2))
    norm, kept = root(q1) * root(q2), scale**2 / 2 * s1 * s2
    angle = 2 * jnp.arctan2(root(pairs.apart), root(pairs.along))
    share = ratio(kept, norm, 1.0) * (pairs.apart - _sine_excess(angle) / (2 * jnp.pi))
    spread = ratio(ratio(scale**2 * bias / 4 * (s1 - s2) ** 2, norm, 0.0), norm + kept + bias, 0.0)
    apart = jnp.clip(share + spread, 0.0, 1.0)
    return Pairs(q1, q2, scale**2 * _relu(pairs).value + bias, apart, 1 - apart)


def _after_erf(pairs: Pairs, scale: float, bias: float) -> Pairs:
    """The pairs of the next layer. Its standard deviations are of order one, so that cancellation in c does not matter to later layers."""
    q1, q2 = (scale**2 * 2 / jnp.pi * jnp.arctan2(2 * q, jnp.sqrt(1 + 4 * q)) + bias for q in (pairs.q1, pairs.q2))
    return _pairs(q1, q2, scale**2 * _erf(pairs).value + bias)


RULES = {"relu": (_relu, _after_relu), "erf": (_erf, _after_erf)}


@full_precision
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
    moments, after = RULES[nonlinearity]
    dtype = jnp.result_type(x1, x2)
    a, b = (x.reshape(x.shape[0], -1).astype(jnp.result_type(dtype, jnp.float32)) for x in (x1, x2))
    pairs = _of_inputs(a, b, bias_scale)
    theta = pairs.k
    for layer in range(1, depth + 1):
        slope = moments(pairs).slope
        pairs = after(pairs, scale, bias_scale**2 if layer < depth else 0.0)
        theta = pairs.k + scale**2 * slope * theta
    given = dtype if jnp.issubdtype(dtype, jnp.floating) else theta.dtype
    return InfiniteKernels(pairs.k.astype(given), theta.astype(given))


def _of_inputs(a: Float[Array, "n d"], b: Float[Array, "m d"], bias_scale: float) -> Pairs:
    """The first layer. The chords are differences of vectors, row by row: their Gram matrix would cancel."""
    a, b = (jnp.concatenate([x / sqrt(x.shape[1]), jnp.full((x.shape[0], 1), bias_scale, x.dtype)], axis=1) for x in (a, b))
    q1, q2 = (jnp.sum(x**2, axis=1) for x in (a, b))
    one, two = (x * ratio(1.0, root(q), 0.0)[:, None] for x, q in ((a, q1), (b, q2)))

    @jax.checkpoint
    def chords(row: Float[Array, " d"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        return jnp.sum((row - two) ** 2, axis=1) / 4, jnp.sum((row + two) ** 2, axis=1) / 4

    apart, along = jax.lax.map(chords, one)
    return Pairs(q1[:, None], q2[None], jnp.matmul(a, b.T), apart, along)


def _pairs(q1: Array, q2: Array, k: Array) -> Pairs:
    """From the moments alone: c inherits their rounding."""
    s1, s2 = root(q1), root(q2)
    cosine = jnp.clip(ratio(ratio(k, s1, 0.0), s2, 0.0), -1.0, 1.0)
    apart = (1 - cosine) / 2
    return Pairs(q1, q2, k, apart, 1 - apart)


def _sine_excess(t: Array) -> Array:
    """sin t - t cos t, by its series where the two terms cancel."""
    small = jnp.where(t < 0.25, t, 0.0)
    square = small**2
    series = small * square * (1 / 3 - square * (1 / 30 - square * (1 / 840 - square * (1 / 45360 - square / 3991680))))
    return jnp.where(t < 0.25, series, jnp.sin(t) - t * jnp.cos(t))
