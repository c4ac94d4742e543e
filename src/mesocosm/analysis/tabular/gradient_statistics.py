r"""How good a gradient estimate of one episode is: signal-to-noise ratio, variance and bias, relative to the true gradient $g^*$.

$\text{SNR} = |g^*|^2 / E|g - g^*|^2$, $\text{variance} = E|g - \bar g|^2 / |g^*|^2$, $\text{bias} = |\bar g - g^*|^2 / |g^*|^2$, with $\bar g = E\,g$; all are
shown in decibels, ten times their decimal logarithm.

Reference: Meulemans et al. (2023), App. E.3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FLOOR_DB = -80.0


class GradientStatistics(NamedTuple):
    """Of one estimator.

    Attributes:
        snr: signal over mean squared error; infinite for an estimate without error.
        variance: over the signal.
        bias: squared, over the signal.
    """

    snr: Float[Array, ""]
    variance: Float[Array, ""]
    bias: Float[Array, ""]


def gradient_statistics(
    gradients: Float[Array, "episodes parameters"],
    true: Float[Array, " parameters"],
    expected: Float[Array, " parameters"] | None = None,
    weights: Float[Array, " episodes"] | None = None,
) -> GradientStatistics:
    """Statistics of gradients, one an episode.

    Args:
        gradients: flattened, from one episode each.
        true: the true gradient.
        expected: the estimator's exact mean, where it is known; else the mean of `gradients`.
        weights: the episodes' probabilities where they are all there are; else they count alike.
    """
    weights = jnp.full(len(gradients), 1.0 / len(gradients), gradients.dtype) if weights is None else weights
    mean = weights @ gradients if expected is None else expected
    signal = jnp.sum(true**2)
    error = weights @ jnp.sum((gradients - true) ** 2, axis=1)
    spread = weights @ jnp.sum((gradients - mean) ** 2, axis=1)
    return GradientStatistics(signal / error, spread / signal, jnp.sum((mean - true) ** 2) / signal)


def decibels(ratio: Any, floor: float = FLOOR_DB) -> Float[np.ndarray, "..."]:
    """Ten times the decimal logarithm, at least `floor`: a bias of exactly zero has no logarithm."""
    with np.errstate(divide="ignore"):
        return np.maximum(10.0 * np.log10(np.asarray(ratio, dtype=np.float64)), floor)
