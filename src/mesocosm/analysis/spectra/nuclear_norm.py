r"""The nuclear norm as a penalty on the factors of a product, to which weight decay on both factors amounts.

Its derivative is the polar factor of the product: with $A B^\top = U S V^\top$,
$\partial \|A B^\top\|_* / \partial A = U V^\top B$ and $\partial \|A B^\top\|_* / \partial B = V U^\top A$ (one subgradient if a singular value is zero).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.numerics.linear_algebra import qr, singular_values, svd
from mesocosm.numerics.precision import full_precision

_SMALLEST = 1e-12  # relative: smaller singular values count as zero, and their directions have the subgradient 0


@jax.custom_vjp
def nuclear_norm(a: Float[Array, "m r"], b: Float[Array, "n r"]) -> Float[Array, ""]:
    r"""$\|A B^\top\|_*$ from the factors, without forming the product; differentiable with respect to both.

    Args:
        a, b: the factors; $O((m + n) r^2)$.
    """
    return _forward(a, b)[0]


@full_precision
def _forward(a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    (qa, ra), (qb, rb) = qr(a), qr(b)
    left, values, right = svd(ra @ rb.T)
    kept = values > _SMALLEST * values[0]
    left, right = qa @ (left * kept), qb @ right.T
    return jnp.sum(values), (left @ (right.T @ b), right @ (left.T @ a))


def _backward(gradients: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    return cotangent * gradients[0], cotangent * gradients[1]


nuclear_norm.defvjp(_forward, _backward)


@full_precision
def threshold_singular_values(matrix: Float[Array, "m n"], threshold: float | Float[Array, ""]) -> Float[Array, "m n"]:
    r"""$U \max(S - \tau, 0) V^\top$, the proximal operator of $\tau \|\cdot\|_*$: the minimum of $\frac12 \|W - M\|_F^2 + \tau \|W\|_*$."""
    left, values, right = svd(matrix)
    return (left * jnp.maximum(values - threshold, 0.0)) @ right


def subgradient_error(gradient: Float[Array, "m n"], product: Float[Array, "m n"], decay: float | Float[Array, ""]) -> Float[Array, ""]:
    r"""Distance of $W$ from stationarity of $L + \lambda \|\cdot\|_*$, given $G = \nabla L(W)$; 0 exactly at a stationary point, a minimum for convex $L$.

    $-G / \lambda$ is a subgradient iff its spectral norm is at most 1 and $\langle -G, W \rangle = \lambda \|W\|_*$. The error is the larger of
    $\max(\|G\|_2 / \lambda - 1, 0)$ and $1 + \langle G, W \rangle / (\lambda \|W\|_*)$; if $W$ is zero, only the first counts.
    """
    nuclear = jnp.sum(singular_values(product))
    excess = singular_values(gradient)[0] / decay - 1
    slack = 1 + jnp.sum(gradient * product) / jnp.where(nuclear > 0, decay * nuclear, 1.0)
    return jnp.maximum(jnp.maximum(excess, 0.0), jnp.where(nuclear > 0, jnp.abs(slack), 0.0))
