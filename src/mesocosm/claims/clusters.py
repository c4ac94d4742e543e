"""Detects values that lie at two places, for which a t interval of the mean is not valid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64

DRAWS = 20_000


def within_share(values: Float64[np.ndarray, "*samples n"], smallest: int = 2) -> Float64[np.ndarray, "*samples"]:
    r"""The share of the variance that remains inside the best two clusters, $\min_k \big(SS(x_{(1..k)}) + SS(x_{(k+1..n)})\big) / SS(x)$.

    This is the cluster index with k = 2 of the SigClust test. It is close to 0 if the values lie at two places, and defined as 1 if they are equal or fewer
    than two clusters need.

    Args:
        values: samples along the last axis.
        smallest: fewest values of a cluster.

    Reference: Liu et al., "Statistical significance of clustering for high-dimension, low-sample size data" (2008).
    """
    ordered = np.sort(values, axis=-1)
    n, spread = ordered.shape[-1], np.ptp(ordered, axis=-1)
    ordered = ordered - ordered.mean(axis=-1, keepdims=True)
    total = np.sum(ordered**2, axis=-1)
    if n < 2 * smallest:
        return np.ones(total.shape)
    left = np.cumsum(ordered, axis=-1)[..., smallest - 1 : n - smallest]
    size = np.arange(smallest, n - smallest + 1)
    between = left**2 / size + left**2 / (n - size)  # the sum over all values is 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((spread > 0) & (total > 0), 1 - np.max(between, axis=-1) / total, 1.0)


@lru_cache
def normal_quantile(n: int, level: float) -> float:
    """A quantile of `within_share` over normal samples of size n, from a simulation with a fixed seed."""
    return float(np.quantile(within_share(np.random.default_rng(0).normal(size=(DRAWS, n))), level))
