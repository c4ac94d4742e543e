"""Comparisons of means over the same examples, on a log scale."""

import numpy as np
from jaxtyping import Float64, Num


def log_ratio_of_means(
    a: Num[np.ndarray, "*batch examples"], b: Num[np.ndarray, "*batch examples"]
) -> tuple[Float64[np.ndarray, "*batch"], Float64[np.ndarray, "*batch"]]:
    r"""$\log(\bar a / \bar b)$ for two models' losses on the same examples, and its standard error.

    By the delta method, $e^2 = \frac{1}{n} \mathrm{Var}_i\!\left[\frac{a_i}{\bar a} - \frac{b_i}{\bar b}\right]$: shared variation cancels, so this needs
    far fewer examples to distinguish close models than two unpaired standard errors.

    Args:
        a, b: one loss per example along the last axis; two or more.

    Returns:
        Log ratio and standard error, each of the leading shape.

    Raises:
        ValueError: there are fewer than two examples, or a mean is not positive and finite.
    """
    return log_combination(np.stack([a, b], axis=-2), np.array([1.0, -1.0]))


def log_combination(
    values: Num[np.ndarray, "*batch terms examples"], weights: Num[np.ndarray, " terms"]
) -> tuple[Float64[np.ndarray, "*batch"], Float64[np.ndarray, "*batch"]]:
    r"""$\sum_k w_k \log \bar v_k$ for several means over the same examples (a slope on log axes, a ratio of ratios), and its standard error.

    By the delta method, $e^2 = \frac{1}{n} \mathrm{Var}_i\!\left[\sum_k w_k v_{ki} / \bar v_k\right]$.

    Args:
        values: one row of examples per term; two or more examples.
        weights: one per term.

    Returns:
        Combination and standard error, each of the leading shape.

    Raises:
        ValueError: there are fewer than two examples, or a mean is not positive and finite.
    """
    values = np.asarray(values, dtype=np.float64)
    examples = values.shape[-1]
    if examples < 2:
        raise ValueError(f"a standard error needs two or more examples, not {examples}")
    means = values.mean(axis=-1)
    if not np.all((means > 0) & (means < np.inf)):
        raise ValueError(f"a log ratio needs positive, finite means; the smallest are {' and '.join(f'{mean.min():g}' for mean in np.moveaxis(means, -1, 0))}")
    influence = np.einsum("...kn,k->...n", values / means[..., None], weights)
    return np.asarray(np.log(means) @ weights), np.asarray(influence.std(axis=-1, ddof=1) / np.sqrt(examples))
