r"""The law by which weight decay on two factors lowers the rank of their product, as functions that JAX can compile and differentiate.

Conventions: $W = A B^\top$ with $A$ (m, r) and $B$ (n, r), $G = \partial L / \partial W$, and

$$F(A, B) = L(A B^\top) + \tfrac{\lambda}{2} (\|A\|_F^2 + \|B\|_F^2), \qquad N(W) = L(W) + \lambda \|W\|_*.$$

The factor one half in $F$ makes $\lambda$ the same in $F$ and $N$. The imbalance is $D = A^\top A - B^\top B$, an (r, r) matrix of the inner space.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819); the derivations T1 to T9 are ours, because the
paper's text was not available.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = float | Float[Array, ""]


class Factors(NamedTuple):
    """$A$ and $B$ of $W = A B^\top$."""

    a: Float[Array, "*batch m r"]
    b: Float[Array, "*batch n r"]


def l2_penalty(factors: Factors) -> Float[Array, "*batch"]:
    r"""$\frac12 (\|A\|_F^2 + \|B\|_F^2)$, to be multiplied by $\lambda$; never below $\|A B^\top\|_*$ (T1)."""
    return (jnp.sum(factors.a**2, (-2, -1)) + jnp.sum(factors.b**2, (-2, -1))) / 2


def imbalance(factors: Factors) -> Float[Array, "*batch r r"]:
    r"""$D = A^\top A - B^\top B$."""
    a, b = factors
    return jnp.swapaxes(a, -1, -2) @ a - jnp.swapaxes(b, -1, -2) @ b


def imbalance_after_step(factors: Factors, gradient: Float[Array, "m n"], learning_rate: Scalar, decay: Scalar) -> Float[Array, "r r"]:
    r"""$D_+ = (1 - \eta\lambda)^2 D + \eta^2 (B^\top G^\top G B - A^\top G G^\top A)$ after one step of gradient descent on $F$ (T5).

    This is exact for any $G$, including that of a minibatch, because the cross terms cancel. L2 in the gradient and decoupled decay (SGDW) give the same step.
    """
    left, right = gradient @ factors.b, gradient.T @ factors.a
    return (1 - learning_rate * decay) ** 2 * imbalance(factors) + learning_rate**2 * (left.T @ left - right.T @ right)


def decay_rate(learning_rate: Scalar, decay: Scalar) -> Float[Array, ""]:
    r"""$-2 \log(1 - \eta\lambda) / \eta$, the rate at which $\|D\|$ falls per unit of time $\eta \cdot$ step, without the $\eta^2$ source of T5; $2\lambda$
    for a small step."""
    return -2 * jnp.log1p(-jnp.asarray(learning_rate) * decay) / learning_rate


def soft_threshold(values: Float[Array, "..."], decay: Scalar) -> Float[Array, "..."]:
    r"""$\max(s_i - \lambda, 0)$: the singular values at the minimum for $L = \frac12 \|W - M\|_F^2$ (T6), and the scalar case $w = u v$ (T9).

    Without the factor one half in $L$, the threshold is $\lambda / 2$.
    """
    return jnp.maximum(values - decay, 0.0)
