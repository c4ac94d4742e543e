r"""Weight decay on a product of $L$ matrices, $W = A_1 A_2 \cdots A_L$: the quasi-norm that it amounts to, and the balances that fall.

For two factors, decay amounts to the nuclear norm; for $L$, to the Schatten quasi-norm of order $2/L$:

$$\|W\|_{2/L}^{2/L} = \sum_i s_i(W)^{2/L} \le \tfrac1L \sum_l \|A_l\|_F^2,$$

with equality if and only if all balances $D_l = A_l^\top A_l - A_{l+1} A_{l+1}^\top$ are zero. Two factors $A B^\top$ are the case $A_1 = A$, $A_2 = B^\top$.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), App. B.6 (Prop. B.5). The law of one step is
ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import exp

import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.numerics.edges import root
from mesocosm.numerics.linear_algebra import singular_values, svd
from mesocosm.numerics.precision import full_precision

Layers = Sequence[Float[Array, "_ _"]]
Scalar = float | Float[Array, ""]


@full_precision
def product(layers: Layers) -> Float[Array, "m n"]:
    r"""$A_1 A_2 \cdots A_L$.

    Raises:
        ValueError: there is no layer, or two neighbours do not fit.
    """
    if not layers:
        raise ValueError("a product needs at least one layer")
    whole = layers[0]
    for layer in layers[1:]:
        if whole.shape[1] != layer.shape[0]:
            raise ValueError(f"a layer with {whole.shape[1]} columns cannot stand before one with {layer.shape[0]} rows")
        whole = whole @ layer
    return whole


def schatten(values: Float[Array, " values"], order: Scalar) -> Float[Array, ""]:
    r"""$\|W\|_p^p = \sum_i s_i^p$ from singular values, for an order $p > 0$; the nuclear norm at 1, the squared Frobenius norm at 2. Zeros add nothing."""
    alive = values > 0
    return jnp.sum(jnp.where(alive, jnp.where(alive, values, 1.0) ** order, 0.0))


def deep_penalty(layers: Layers) -> Float[Array, ""]:
    r"""$\frac1L \sum_l \|A_l\|_F^2$, never below `schatten` of the product at order $2/L$."""
    return sum((jnp.sum(layer**2) for layer in layers), start=jnp.zeros(())) / len(layers)


def deep_gap(layers: Layers) -> Float[Array, ""]:
    r"""`deep_penalty` minus $\|W\|_{2/L}^{2/L}$; 0 at balance."""
    return deep_penalty(layers) - schatten(singular_values(product(layers)), 2 / len(layers))


@full_precision
def deep_imbalances(layers: Layers) -> list[Float[Array, "r r"]]:
    r"""$D_l = A_l^\top A_l - A_{l+1} A_{l+1}^\top$ for every pair of neighbours.

    Under gradient flow on $L(W) + \frac\lambda2 \sum_l \|A_l\|_F^2$, each is $e^{-2\lambda t} D_l(0)$, whatever the loss and the depth.
    """
    return [left.T @ left - right @ right.T for left, right in itertools.pairwise(layers)]


@full_precision
def deep_imbalances_after_step(layers: Layers, gradient: Float[Array, "m n"], learning_rate: Scalar, decay: Scalar) -> list[Float[Array, "r r"]]:
    r"""The balances after one step of gradient descent: $(1 - \eta\lambda)^2 D_l + \eta^2 (G_l^\top G_l - G_{l+1} G_{l+1}^\top)$ with $G_l = \partial L /
    \partial A_l$.

    Exact for any $G = \partial L / \partial W$, since $A_l^\top G_l = G_{l+1} A_{l+1}^\top$ and the terms of order $\eta$ cancel.
    """
    slopes = layer_gradients(layers, gradient)
    sources = [left.T @ left - right @ right.T for left, right in itertools.pairwise(slopes)]
    kept = (1 - learning_rate * decay) ** 2
    return [kept * before + learning_rate**2 * source for before, source in zip(deep_imbalances(layers), sources, strict=True)]


@full_precision
def layer_gradients(layers: Layers, gradient: Float[Array, "m n"]) -> list[Float[Array, "_ _"]]:
    r"""$G_l = (A_1 \cdots A_{l-1})^\top G \, (A_{l+1} \cdots A_L)^\top$ from that of the product."""
    found = []
    for place in range(len(layers)):
        slope = gradient
        for layer in layers[:place]:
            slope = layer.T @ slope
        for layer in reversed(layers[place + 1 :]):
            slope = slope @ layer.T
        found.append(slope)
    return found


def balanced_layers(whole: Float[Array, "m n"], depth: int) -> list[Float[Array, "_ _"]]:
    r"""$U S^{1/L}, S^{1/L}, \dots, S^{1/L} V^\top$: factors of a matrix whose penalty is its quasi-norm.

    Raises:
        ValueError: the depth is below 2.
    """
    if depth < 2:
        raise ValueError(f"a product has 2 layers or more, not {depth}")
    left, values, right = svd(whole)
    share = root(values) if depth == 2 else jnp.where(values > 0, values, 1.0) ** (1 / depth) * (values > 0)
    return [left * share, *[jnp.diag(share)] * (depth - 2), share[:, None] * right]


def deep_gap_bound(layers: Layers) -> Float[Array, ""]:
    r"""The paper's bound on `deep_gap`: $\frac{r}{L} \sum_l \|A_l\|_*^{L-1} e^{2/L} L^{4/L} \epsilon^{1/L}$, $\epsilon = \max_l \|D_l\|_*$, $r$ the smallest
    width.

    It holds if $\epsilon \le \min_l \|A_l\|_*^L / L^4$, and is NaN where it does not. It is as printed: its two sides scale differently for $L \ge 3$.

    Source: Prop. B.5.
    """
    depth, rank = len(layers), min(min(layer.shape) for layer in layers)
    nuclear = jnp.stack([jnp.sum(singular_values(layer)) for layer in layers])
    apart = jnp.max(jnp.stack([jnp.sum(singular_values(found)) for found in deep_imbalances(layers)]))
    bound = rank / depth * jnp.sum(nuclear ** (depth - 1)) * exp(2 / depth) * depth ** (4 / depth) * apart ** (1 / depth)
    return jnp.where(apart <= jnp.min(nuclear) ** depth / depth**4, bound, jnp.nan)
