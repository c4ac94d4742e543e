"""Intervals over replicates, and the p-values that agree with them.

Three procedures, each used only at sample sizes where its coverage is right: Student's t for means, Clopper-Pearson for rates, Efron's BCa bootstrap for 20
replicates or more. (A percentile bootstrap over 3 or 5 replicates covers 67 or 85 %, not 95 %.) SciPy is imported on first use, so that listing stays fast.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Num, Shaped

from mesocosm.claims.replicates import NotJudged

Family = Callable[[float], "Interval"]
"""The interval of one sample as a function of alpha, one minus the confidence; nested: a smaller alpha never gives a narrower interval."""

FEWEST_TO_BOOTSTRAP = 20


class Interval(NamedTuple):
    """An estimate, the ends of its interval and the number of replicates behind it."""

    estimate: float
    low: float
    high: float
    n: int


def t_interval(values: Num[np.ndarray, " n"], errors: Num[np.ndarray, " n"], alpha: float = 0.05, *, shared: bool = False) -> Interval:
    r"""Student's interval of a mean, $\bar x \pm t_{1-\alpha/2,\,\nu}\, \sqrt v$.

    $s$ is the standard deviation of the values (n - 1 in the denominator) and $e$ the root mean square of the `errors`, the standard errors with which
    each value was evaluated.

    If each replicate has evaluation data of its own, their errors are part of the spread: $v = \max(s^2, e^2) / n$ and $\nu = n - 1$. Replicates cannot be
    known to agree better than they were measured, so a saturated metric does not get zero width.

    If the replicates share their evaluation data (`shared`), they share its error, which shows in no spread and does not shrink with n:
    $v = s^2/n + e^2$, with Satterthwaite's $\nu = (n - 1)\, v^2 / (s^2/n)^2$. This covers 95 % if the error is wholly common, and more if only partly.

    Raises:
        NotJudged: fewer than two values.

    References: Student, "The probable error of a mean" (1908); Satterthwaite, "An approximate distribution of estimates of variance components" (1946).
    """
    from scipy.special import ndtri, stdtrit

    n = len(values)
    if n < 2:
        raise NotJudged(f"a t interval needs two or more replicates, and there {'is 1' if n else 'are none'}")
    between = float(np.var(values, ddof=1)) if np.ptp(values) > 0 else 0.0  # the mean of equal numbers may differ from them in its last digit
    error = float(np.mean(np.square(errors)))
    variance = between / n + error if shared else max(between, error) / n
    ratio = variance / (between / n) if shared and between > 0 else 1.0
    freedom = (n - 1) * ratio * ratio if between > 0 or not shared else math.inf
    quantile = -float(stdtrit(freedom, alpha / 2)) if math.isfinite(freedom) else -float(ndtri(alpha / 2))
    mean, half = float(np.mean(values)), quantile * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, n)


def clopper_pearson(successes: Shaped[np.ndarray, " n"], alpha: float = 0.05) -> Interval:
    r"""The exact interval of a rate: all $p$ for which $P(X \ge k \mid p) \ge \alpha/2$ and $P(X \le k \mid p) \ge \alpha/2$, $X \sim \mathrm{Bin}(n, p)$.

    The ends are quantiles of beta distributions, $B^{-1}(\alpha/2;\, k, n-k+1)$ and $B^{-1}(1-\alpha/2;\, k+1, n-k)$. Covers at least $1-\alpha$ for every $p$.

    Args:
        successes: 0 or 1 for each replicate.
        alpha: one minus the confidence.

    Raises:
        NotJudged: no replicates.
        ValueError: a value that is neither 0 nor 1.

    Reference: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial" (1934).
    """
    from scipy.special import betainccinv, betaincinv

    n = len(successes)
    if n == 0:
        raise NotJudged("a rate needs at least one replicate, and there are none")
    if not np.all(np.isin(successes, (0, 1))):
        strange = next(value for value in successes.tolist() if value not in (0, 1))
        raise ValueError(f"a success is 0 or 1, not {strange!r}")
    k = int(np.sum(successes))
    low = float(betaincinv(k, n - k + 1, alpha / 2)) if k > 0 else 0.0
    high = float(betainccinv(k + 1, n - k, alpha / 2)) if k < n else 1.0
    return Interval(k / n, low, high, n)


def interquartile_mean(values: Num[np.ndarray, "..."], axis: int = -1) -> Any:
    """The mean of the middle half: a quarter of the values, rounded down, is left out at each end."""
    from scipy.stats import trim_mean

    return trim_mean(values, 0.25, axis=axis)


def median(values: Num[np.ndarray, "..."], axis: int = -1) -> Any:
    """The median."""
    return np.median(values, axis=axis)


def bca_family(values: Num[np.ndarray, " n"], statistic: Callable[..., Any] = median, resamples: int = 9999, common_error: float = 0.0) -> Family:
    r"""The bias-corrected and accelerated bootstrap interval of a statistic, as a function of alpha.

    The ends are the quantiles $\Phi\big(z_0 + \frac{z_0 + z_{\alpha/2}}{1 - a (z_0 + z_{\alpha/2})}\big)$, and the same with $z_{1-\alpha/2}$, of the
    statistic over resamples drawn with a fixed seed; the bias $z_0$ comes from the resamples, the acceleration $a$ from the jackknife. Below
    $\alpha = 2/(B+1)$ the $B$ resamples say nothing about the tails and the interval is the whole line. The common evaluation error $e$ of replicates that
    share their data widens each side $h$ to $\sqrt{h^2 + z_{1-\alpha/2}^2 e^2}$.

    Args:
        values: at least 20, not all equal.
        statistic: takes an array and `axis`.
        common_error: $e$; 0 if each replicate has evaluation data of its own.
        resamples: how many; the seed is fixed, so that judging twice gives the same interval.

    Raises:
        NotJudged: too few values, or too many equal ones for the jackknife.

    Reference: Efron, "Better bootstrap confidence intervals" (1987).
    """
    from scipy.special import ndtri
    from scipy.stats import DegenerateDataWarning, bootstrap

    n, estimate = len(values), float(statistic(values, axis=-1))
    if n < FEWEST_TO_BOOTSTRAP:
        raise NotJudged(f"a bootstrap interval needs {FEWEST_TO_BOOTSTRAP} or more replicates, and there are {n}")

    def ends(alpha: float, resamples: int, drawn: Any = None) -> Any:
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", DegenerateDataWarning)
            return bootstrap(
                (values,),
                statistic,
                n_resamples=resamples,
                bootstrap_result=drawn,
                confidence_level=1 - alpha,
                method="BCa",
                vectorized=True,
                rng=np.random.default_rng(0),
            )

    drawn = ends(0.05, resamples)
    if not np.all(np.isfinite(drawn.confidence_interval)):
        raise NotJudged("too many replicates are equal for a BCa interval: judge a rate instead")

    def interval(alpha: float) -> Interval:
        if alpha < 2 / (resamples + 1):
            return Interval(estimate, -math.inf, math.inf, n)
        low, high = ends(alpha, 0, drawn).confidence_interval
        if common_error > 0:
            common = float(ndtri(alpha / 2)) * common_error
            low, high = estimate - math.hypot(estimate - low, common), estimate + math.hypot(high - estimate, common)
        return Interval(estimate, float(low), float(high), n)

    return interval


def bca_bootstrap(values: Num[np.ndarray, " n"], statistic: Callable[..., Any] = median, alpha: float = 0.05, resamples: int = 9999) -> Interval:
    """The BCa bootstrap interval of a statistic over 20 or more replicates (`bca_family` at one alpha)."""
    return bca_family(values, statistic, resamples)(alpha)


def p_value(family: Family, inside: Callable[[float, float], bool], smallest: float = 1e-12) -> float:
    r"""The smallest $\alpha$ at which the interval still lies inside a region: $p < 0.05$ iff the 95 % interval lies inside.

    For a region with one end this is twice the one-sided p-value, $\min(1, 2 p_1)$, of the hypothesis that the truth lies beyond that end; for a region with
    two ends, twice the larger of the two. Found by bisection on $\log\alpha$, so that it agrees with every interval by construction.

    Args:
        family: the interval as a function of alpha.
        inside: whether an interval with these ends lies inside the region.
        smallest: p-values below it are given as this.
    """

    def accepted(log_alpha: float) -> bool:
        interval = family(math.exp(log_alpha))
        return inside(interval.low, interval.high)

    out, within = math.log(smallest), 0.0
    if not accepted(within):
        return 1.0
    if accepted(out):
        return smallest
    while within - out > 1e-9:
        middle = 0.5 * (out + within)
        out, within = (out, middle) if accepted(middle) else (middle, within)
    return math.exp(within)


def holm(p_values: Sequence[float]) -> Float64[np.ndarray, " m"]:
    r"""Holm's adjusted p-values, $\tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})$ in the order of the p-values.

    Those below 0.05 survive: the chance that any of them is wrong is at most 5 %, whatever their dependence.

    Reference: Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(p), 0, -1) * p[order])) if len(p) else p
    return adjusted
