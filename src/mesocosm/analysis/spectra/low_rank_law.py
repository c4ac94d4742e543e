r"""The law by which weight decay on two factors lowers the rank of their product, as functions that JAX can compile and differentiate.

Conventions: $W = A B^\top$ with $A$ (m, r) and $B$ (n, r), $G = \partial L / \partial W$, and

$$F(A, B) = L(A B^\top) + \tfrac{\lambda}{2} (\|A\|_F^2 + \|B\|_F^2), \qquad N(W) = L(W) + \lambda \|W\|_*.$$

The factor one half in $F$ makes $\lambda$ the same in $F$ and $N$. The imbalance is $D = A^\top A - B^\top B$, an (r, r) matrix of the inner space.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819). T1 to T3 are its Prop. 3.1, Lemma 3.2 with
Thm 3.3, and Lemma B.1; T6 follows from its Sec. 3.4. T4, T5 and T7 to T9 are ours.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.numerics.edges import ratio, root
from mesocosm.numerics.linear_algebra import eigh, singular_values, svd
from mesocosm.numerics.precision import full_precision

Scalar = float | Float[Array, ""]


class Factors(NamedTuple):
    """$A$ and $B$ of $W = A B^\top$."""

    a: Float[Array, "*batch m r"]
    b: Float[Array, "*batch n r"]


def l2_penalty(factors: Factors) -> Float[Array, "*batch"]:
    r"""$\frac12 (\|A\|_F^2 + \|B\|_F^2)$, to be multiplied by $\lambda$; never below $\|A B^\top\|_*$ (T1)."""
    return (jnp.sum(factors.a**2, (-2, -1)) + jnp.sum(factors.b**2, (-2, -1))) / 2


@full_precision
def imbalance(factors: Factors) -> Float[Array, "*batch r r"]:
    r"""$D = A^\top A - B^\top B$."""
    a, b = factors
    return jnp.swapaxes(a, -1, -2) @ a - jnp.swapaxes(b, -1, -2) @ b


def balanced_factors(product: Float[Array, "m n"], rank: int) -> Factors:
    r"""$A = U \sqrt S$, $B = V \sqrt S$ from the leading `rank` singular triples; for these factors, the penalty equals the nuclear norm (T1)."""
    left, values, right = svd(product)
    scale = root(values[:rank])
    return Factors(left[:, :rank] * scale, right[:rank].T * scale)


def gap_bound(imbalance: Float[Array, "r r"]) -> Float[Array, ""]:
    r"""$\frac12 \|D\|_*$, never below $\frac12 (\|A\|_F^2 + \|B\|_F^2) - \|A B^\top\|_*$ (T4, from the inequality of Powers and Stormer)."""
    return jnp.sum(jnp.abs(eigh(imbalance).values)) / 2


@full_precision
def root_gap_bound(factors: Factors) -> Float[Array, ""]:
    r"""$\sqrt{\|D\|_*}\,(\|A\|_* + \|B\|_*) / 2$: the paper's bound on the same gap (Prop. B.4), never below `gap_bound` of the imbalance.

    `gap_bound` is this one times $\sqrt{\|D\|_*} / (\|A\|_* + \|B\|_*) \le 1$: linear in $D$, so that it falls at twice the rate.
    """
    apart = 2 * gap_bound(imbalance(factors))
    return root(apart) * (jnp.sum(singular_values(factors.a)) + jnp.sum(singular_values(factors.b))) / 2


def imbalance_after(imbalance: Float[Array, "r r"], decay: Scalar, time: Scalar) -> Float[Array, "r r"]:
    r"""$D(t) = e^{-2 \lambda t} D(0)$ under gradient flow on $F$, for any differentiable $L$ (T3)."""
    return jnp.exp(-2 * decay * time) * imbalance


@full_precision
def imbalance_after_step(factors: Factors, gradient: Float[Array, "m n"], learning_rate: Scalar, decay: Scalar) -> Float[Array, "r r"]:
    r"""$D_+ = (1 - \eta\lambda)^2 D + \eta^2 (B^\top G^\top G B - A^\top G G^\top A)$ after one step of gradient descent on $F$ (T5).

    This is exact for any $G$, including that of a minibatch, because the cross terms cancel. L2 in the gradient and decoupled decay (SGDW) give the same step.
    """
    left, right = gradient @ factors.b, gradient.T @ factors.a
    return (1 - learning_rate * decay) ** 2 * imbalance(factors) + learning_rate**2 * (left.T @ left - right.T @ right)


@full_precision
def imbalance_after_adamw_step(factors: Factors, directions: Factors, learning_rate: Scalar, decay: Scalar) -> Float[Array, "r r"]:
    r"""$D_+ = (1 - \eta\lambda)^2 D - \eta (1 - \eta\lambda) S + \eta^2 (U^\top U - V^\top V)$ after a step along preconditioned directions $U$, $V$ with
    decoupled decay, where $S = A^\top U + U^\top A - B^\top V - V^\top B$.

    $S$ is zero if one scalar preconditions both factors, but not if each entry has its own, as in Adam; then the exact law no longer holds.
    """
    (a, b), (u, v) = factors, directions
    cross = a.T @ u + u.T @ a - b.T @ v - v.T @ b
    kept = 1 - learning_rate * decay
    return kept**2 * imbalance(factors) - learning_rate * kept * cross + learning_rate**2 * (u.T @ u - v.T @ v)


def decay_rate(learning_rate: Scalar, decay: Scalar) -> Float[Array, ""]:
    r"""$-2 \log(1 - \eta\lambda) / \eta$, the rate at which $\|D\|$ falls per unit of time $\eta \cdot$ step, without the $\eta^2$ source of T5; $2\lambda$
    for a small step."""
    return ratio(-2 * jnp.log1p(-jnp.asarray(learning_rate) * decay), learning_rate, 2 * decay)


def soft_threshold(values: Float[Array, "..."], decay: Scalar) -> Float[Array, "..."]:
    r"""$\max(s_i - \lambda, 0)$: the singular values at the minimum for $L = \frac12 \|W - M\|_F^2$ (T6), and the scalar case $w = u v$ (T9).

    Without the factor one half in $L$, the threshold is $\lambda / 2$.
    """
    return jnp.maximum(values - decay, 0.0)


def mode_strength(time: Float[Array, "..."], start: Scalar, target: Scalar, decay: Scalar) -> Float[Array, "..."]:
    r"""The strength $s(t)$ of an aligned, balanced mode under gradient flow for $L = \frac12 \|W - M\|_F^2$ (T7).

    With $\dot s = 2 s (m - \lambda - s)$ and $a = m - \lambda$: $s(t) = a s_0 e^{2at} / (a + s_0 (e^{2at} - 1))$, and $s_0 / (1 + 2 s_0 t)$ for $a = 0$: a
    critical mode decays only like $1 / 2t$.
    """
    excess = jnp.asarray(target - decay)
    size = jnp.where(excess == 0, 1.0, jnp.abs(excess))
    # Written with expm1 and exponentials that fall, which avoids overflow and differences of large numbers and has the right limit 2t.
    left = jnp.exp(-2 * jnp.abs(excess) * time)
    shrink = jnp.where(excess == 0, 2 * time, -jnp.expm1(-2 * size * time) / size)
    return ratio(start * jnp.where(excess < 0, left, 1), jnp.where(excess < 0, 1, left) + start * shrink)


def joint_decay(decay_a: Scalar, decay_b: Scalar) -> Float[Array, ""]:
    r"""$\sqrt{\lambda_A \lambda_B}$, the weight of the nuclear norm under unequal decays; at the minimum, $\lambda_A A^\top A = \lambda_B B^\top B$ (T8).

    If one of them is zero, there is no pressure on the rank.
    """
    return root(decay_a) * root(decay_b)
