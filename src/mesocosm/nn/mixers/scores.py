r"""Normalisations of attention scores: softmax, none, and root mean square over heads.

Each maps scores (heads, queries, keys) and a mask (queries, keys), true where a query may look, to attention weights of the same shape. Masked weights are 0
(see `softmax` for its exception), and statistics are computed in float32 or wider.

Reference for the third: Schug et al., "Attention as a hypernetwork" (arXiv 2406.05816).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mesocosm.numerics.precision import widened

Normalisation = Callable[[Float[Array, "heads q k"], Bool[Array, "#q k"]], Float[Array, "heads q k"]]

_EPSILON = 1e-6


def softmax(scores: Float[Array, "heads q k"], mask: Bool[Array, "#q k"]) -> Float[Array, "heads q k"]:
    """Positive weights that sum to 1 over keys. If all keys of a query are masked, its weights are equal, not 0."""
    return jax.nn.softmax(jnp.where(mask, widened(scores), -1e30), axis=-1).astype(scores.dtype)


def unnormalised(scores: Float[Array, "heads q k"], mask: Bool[Array, "#q k"]) -> Float[Array, "heads q k"]:
    """The scores themselves, as in linear attention."""
    return jnp.where(mask, scores, 0)


def rms_over_heads(scores: Float[Array, "heads q k"], mask: Bool[Array, "#q k"]) -> Float[Array, "heads q k"]:
    r"""$a_{hqk} = s_{hqk} / \sqrt{\frac1H \sum_h s_{hqk}^2 + 10^{-6}}$: over heads, the weights of a pair of tokens have norm $\sqrt H$.

    With one head, only the sign of the score remains, and its gradient is close to 0.
    """
    seen = jnp.where(mask, widened(scores), 0)
    return (seen * jax.lax.rsqrt(jnp.mean(seen**2, axis=0, keepdims=True) + _EPSILON)).astype(scores.dtype)
