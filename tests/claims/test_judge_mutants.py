"""Mutants of the judge, by name: each gives at least one of a few cases another verdict."""

import math
from dataclasses import replace
from functools import partial
from unittest import mock

import numpy as np
import pytest
from judged import check, noisy, rate, sample, verdict

from mesocosm.claims import judge
from mesocosm.claims.intervals import Interval, clopper_pearson, t_interval
from mesocosm.claims.region import Region
from mesocosm.claims.replicates import Replicates
from mesocosm.studies.interface import Rate, above

BAD = noisy(-9.0, n=10)
SPREAD = 0.1 * np.linspace(-1, 1, 10)


def arm(values, error, digests="a" * 10):
    return Replicates(np.asarray(values, float), tuple(range(10)), tuple(digests), np.full(10, error))


def cases():
    """Case -> verdict. The measurements are made here, since a mutant may change how they are."""
    common = np.linspace(-5, 5, 10)
    learned = sample(np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1]) + SPREAD / 10)
    checks = {
        "shared data": check(arm(1 + SPREAD, 0.05), BAD, above(0.93)),
        "own data": check(arm(1 + SPREAD, 0.05, "abcdefghij"), BAD, above(0.93)),
        "own data, coarse": check(arm(1 + SPREAD / 100, 0.3, "abcdefghij"), BAD, above(0.93)),
        "paired": check(arm(common + 1 + SPREAD, 0.1).minus(arm(common, 0.1)), BAD, above(0.5)),
        "paired, both arms inexact": check(arm(common + 1 + SPREAD, 0.4).minus(arm(common, 0.4)), BAD, above(0.0)),
        "two places": check(learned, BAD, above(0.0)),
        "nine of ten learn": check(rate(9, 10), rate(0, 10), above(0.5), kind=Rate("learned")),
        "eight of ten learn": check(rate(8, 10), rate(0, 10), above(0.45), kind=Rate("learned")),
        "values that all occur twice": check(sample(np.repeat([1.0, 1.1, 1.2, 1.3, 1.4], 2)), BAD, above(0.5)),
        "an interval across the edge": check(noisy(0.05, n=10), BAD, above(0.0)),
        "a control that lies inside": check(noisy(1.0, n=10), noisy(1.0, n=10), above(0.0)),
        "a control that reaches inside": check(noisy(1.0, n=10), noisy(-0.01, n=10), above(0.0)),
    }
    return {name: verdict(one).verdict for name, one in checks.items()}


RIGHT = {
    "shared data": "inconclusive",
    "own data": "holds",
    "own data, coarse": "inconclusive",
    "paired": "holds",
    "paired, both arms inexact": "inconclusive",
    "two places": "not judged",
    "nine of ten learn": "holds",
    "eight of ten learn": "inconclusive",
    "values that all occur twice": "not judged",
    "an interval across the edge": "inconclusive",
    "a control that lies inside": "not judged",
    "a control that reaches inside": "not judged",
}


def interval(**fixed):
    return mock.patch.object(
        judge, "t_interval", lambda values, errors, alpha=0.05, *, shared=False: t_interval(values, errors, alpha, **{"shared": shared, **fixed})
    )


def without_errors(values, errors, alpha=0.05, *, shared=False):
    return t_interval(values, 0 * errors, alpha, shared=shared)


def an_estimate(values, errors, alpha=0.05, *, shared=False):
    mean = float(np.mean(values))
    return Interval(mean, mean - 1e-12, mean + 1e-12, len(values))


def unpaired(minus, self, other, **options):
    order = np.arange(len(other.values))[::-1]
    return minus(self, replace(other, values=other.values[order]), **options)


def with_one_arms_error(minus, self, other, **options):
    return minus(self, replace(other, errors=0 * other.errors), **options)


def normal(successes, alpha=0.05):
    return t_interval(successes.astype(float), np.zeros(len(successes)), alpha)


def wald(successes, alpha=0.05):
    exact, share = clopper_pearson(successes, alpha), float(np.mean(successes))
    half = 1.96 * math.sqrt(share * (1 - share) / len(successes))
    return (
        replace(exact, low=share - half, high=share + half) if hasattr(exact, "__dataclass_fields__") else exact._replace(low=share - half, high=share + half)
    )


def differences(changed):
    return mock.patch.object(Replicates, "minus", lambda self, other, minus=Replicates.minus, **options: changed(minus, self, other, **options))


MUTANTS = {
    "a shared error is divided by the number of replicates": partial(interval, shared=False),
    "every error is taken for shared": partial(interval, shared=True),
    "evaluation errors are dropped": lambda: mock.patch.object(judge, "t_interval", without_errors),
    "an interval is its estimate": lambda: mock.patch.object(judge, "t_interval", an_estimate),
    "differences are not paired": partial(differences, unpaired),
    "a difference carries the error of one arm": partial(differences, with_one_arms_error),
    "a rate is judged as a mean": lambda: mock.patch.object(judge, "clopper_pearson", normal),
    "a rate has Wald's interval": lambda: mock.patch.object(judge, "clopper_pearson", wald),
    "values at two places are judged as a mean": lambda: mock.patch.object(judge, "_piled_up", return_value=False),
    "equal replicates are taken for a sample": lambda: mock.patch.object(judge, "_no_sample", return_value=[]),
    "a control is not looked at": lambda: mock.patch.object(judge, "_discriminates", return_value=True),
    "a control's estimate is enough": lambda: mock.patch.object(judge, "_discriminates", judge._imprecise),
    "touching the region is enough": lambda: mock.patch.object(Region, "contains", lambda region, low, high: not region.excludes(low, high)),
}


def test_the_judge_as_it_is():
    assert cases() == RIGHT


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_the_judge_gives_another_verdict(mutant):
    with MUTANTS[mutant]():
        assert cases() != RIGHT
    assert cases() == RIGHT
