"""Comparison of two models' losses on the same examples, on a log scale."""

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
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    examples = a.shape[-1]
    if examples < 2:
        raise ValueError(f"a standard error needs two or more examples, not {examples}")
    mean_a, mean_b = a.mean(axis=-1), b.mean(axis=-1)
    if not all(np.all((mean > 0) & (mean < np.inf)) for mean in (mean_a, mean_b)):
        raise ValueError(f"a log ratio needs positive, finite means; the smallest are {mean_a.min():g} and {mean_b.min():g}")
    influence = a / mean_a[..., None] - b / mean_b[..., None]
    return np.asarray(np.log(mean_a / mean_b)), np.asarray(influence.std(axis=-1, ddof=1) / np.sqrt(examples))
