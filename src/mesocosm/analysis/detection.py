r"""Out-of-distribution detection: scores of an ensemble's predictions, and how well a score separates two sets.

Larger scores mean further outside the training distribution. Each score is for ensembles trained with a certain loss (`docs/classification.md` has numbers):

| loss | score |
|---|---|
| squared error, of values or of one-hot targets | `output_variance` |
| cross-entropy | `probability_variance`, `predictive_entropy`; neither is safe |

Far from the data, the logits of a cross-entropy ensemble are large. All softmaxes are then sure, and if they agree, both scores are smaller than inside.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num


def output_variance(outputs: Float[Array, "*batch members n outputs"]) -> Float[Array, "*batch n"]:
    """Variance of the raw outputs over members (members in the denominator), mean over outputs; for ensembles trained on a squared error."""
    return jnp.mean(jnp.var(outputs, axis=-3), axis=-1)


def probability_variance(outputs: Float[Array, "*batch members n outputs"]) -> Float[Array, "*batch n"]:
    """Variance over members of the softmax of the outputs, mean over classes; for ensembles trained on cross-entropy."""
    return output_variance(jax.nn.softmax(outputs, axis=-1))


def predictive_entropy(outputs: Float[Array, "*batch members n outputs"]) -> Float[Array, "*batch n"]:
    r"""$-\sum_c p_c \log p_c$ of the members' mean softmax p, in nats; for ensembles trained on cross-entropy. Computed from logarithms."""
    log_p = jax.nn.logsumexp(jax.nn.log_softmax(outputs, axis=-1), axis=-3) - jnp.log(outputs.shape[-3])
    return -jnp.sum(jnp.where(log_p > -jnp.inf, jnp.exp(log_p) * log_p, 0.0), axis=-1)


SCORES = {"output-variance": output_variance, "probability-variance": probability_variance, "predictive-entropy": predictive_entropy}


class Detection(NamedTuple):
    """An area under the ROC curve and its standard error for the two finite sets."""

    auroc: float
    error: float


def auroc(inside: Num[np.ndarray, " n"], outside: Num[np.ndarray, " m"]) -> Detection:
    r"""$P(s_{out} > s_{in}) + \frac12 P(s_{out} = s_{in})$: the exact probability that an outside input scores higher; ties count one half.

    The standard error is DeLong's, and at least the resolution 1 / nm.

    Raises:
        ValueError: a set is empty, or a score is not finite.

    Reference: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic curves" (1988).
    """
    by_outside, by_inside = _placements(inside, outside)
    return Detection(float(by_outside.mean()), _error(by_outside, by_inside))


def auroc_difference(
    inside_a: Num[np.ndarray, " n"], outside_a: Num[np.ndarray, " m"], inside_b: Num[np.ndarray, " n"], outside_b: Num[np.ndarray, " m"]
) -> Detection:
    """AUROC of score a minus that of score b on the same inputs, with the standard error of the paired difference."""
    (outside_first, inside_first), (outside_second, inside_second) = _placements(inside_a, outside_a), _placements(inside_b, outside_b)
    difference = outside_first - outside_second
    return Detection(float(difference.mean()), _error(difference, inside_first - inside_second))


def _placements(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each outside score, the share of inside scores below it; for each inside score, the share of outside scores above it; ties count one half."""
    inside, outside = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    if not (inside.size and outside.size):
        raise ValueError(f"an AUROC needs scores of both sets; there are {inside.size} inside and {outside.size} outside")
    if not (np.isfinite(inside).all() and np.isfinite(outside).all()):
        raise ValueError("an AUROC needs finite scores")
    return _share_below(inside, outside), 1 - _share_below(outside, inside)


def _share_below(scores: np.ndarray, at: np.ndarray) -> np.ndarray:
    ordered = np.sort(scores)
    return (np.searchsorted(ordered, at, "left") + np.searchsorted(ordered, at, "right")) / (2 * len(ordered))


def _error(by_outside: np.ndarray, by_inside: np.ndarray) -> float:
    resolution = 1 / (len(by_outside) * len(by_inside))
    variance = sum(np.var(shares, ddof=1) / len(shares) for shares in (by_outside, by_inside) if len(shares) > 1)
    return float(max(np.sqrt(variance), resolution))
