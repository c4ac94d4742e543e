r"""Quality of a gradient estimate from one episode: signal-to-noise ratio, variance and bias, relative to the true gradient $g^*$.

$\text{SNR} = |g^*|^2 / E|g - g^*|^2$, $\text{variance} = E|g - \bar g|^2 / |g^*|^2$, $\text{bias} = |\bar g - g^*|^2 / |g^*|^2$, with $\bar g = E\,g$. All are
shown in decibels, ten times the decimal logarithm.

Reference: Meulemans et al. (2023), App. E.3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mesocosm.numerics.edges import ratio
from mesocosm.numerics.precision import full_precision

FLOOR_DB = -80.0


class GradientStatistics(NamedTuple):
    """Statistics of one estimator.

    Attributes:
        snr: signal divided by mean squared error; infinite for an exact estimate.
        variance: variance divided by the signal; 0 for a constant estimate.
        bias: squared bias divided by the signal; 0 for an unbiased one. Both are infinite for others if the true gradient is 0.
    """

    snr: Float[Array, ""]
    variance: Float[Array, ""]
    bias: Float[Array, ""]


@full_precision
def gradient_statistics(
    gradients: Float[Array, "episodes parameters"],
    true: Float[Array, " parameters"],
    expected: Float[Array, " parameters"] | None = None,
    weights: Float[Array, " episodes"] | None = None,
) -> GradientStatistics:
    """Statistics of single-episode gradients.

    Args:
        gradients: flattened gradients, one per episode.
        true: the true gradient.
        expected: the estimator's exact mean, if known; otherwise the mean of `gradients` is used.
        weights: the episodes' probabilities, if all episodes are enumerated; otherwise all count equally.
    """
    weights = jnp.full(len(gradients), 1.0 / len(gradients), gradients.dtype) if weights is None else weights
    mean = weights @ gradients if expected is None else expected
    size = jnp.maximum(jnp.max(jnp.abs(true)), jnp.max(jnp.abs(gradients)))
    gradients, true, mean = (ratio(x, size) for x in (gradients, true, mean))  # squares of small gradients underflow
    signal = jnp.sum(true**2)
    error = weights @ jnp.sum((gradients - true) ** 2, axis=1)
    spread, offset = weights @ jnp.sum((gradients - mean) ** 2, axis=1), jnp.sum((mean - true) ** 2)
    variance, bias = (ratio(part, signal, jnp.where(part > 0, jnp.inf, 0.0)) for part in (spread, offset))
    return GradientStatistics(ratio(signal, error, jnp.inf), variance, bias)


def decibels(ratio: Any, floor: float = FLOOR_DB) -> Float[np.ndarray, "..."]:
    """Ten times the decimal logarithm, at least `floor`, because a bias of exactly zero has no logarithm."""
    with np.errstate(divide="ignore"):
        return np.maximum(10.0 * np.log10(np.asarray(ratio, dtype=np.float64)), floor)
