"""What the judge takes for a sample: errors in common, values at two places, equal replicates; each with the mutant that would get it wrong."""

import math

import numpy as np
import polars as pl
import pytest

from claims.judged import check, noisy, rate, sample, verdict
from mesocosm.claims.clusters import normal_quantile, within_share
from mesocosm.claims.judge import FEWEST_INSTANCES
from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.studies.interface import Every, Mean, Rate, above, below

BAD = noisy(0.0, n=10)


def with_digests(values, errors, digests):
    return Replicates(np.asarray(values, float), tuple(range(len(values))), tuple(digests), np.full(len(values), errors))


def test_replicates_on_one_data_set_carry_its_error_whole():
    """The same values and errors hold if every replicate has its own data, and are inconclusive if all share it."""
    values = 1.0 + 0.1 * np.linspace(-1, 1, 10)
    own, common = (with_digests(values, 0.05, digests) for digests in ("abcdefghij", "a" * 10))
    assert verdict(check(own, BAD, above(0.93))).verdict == "holds"
    assert verdict(check(common, BAD, above(0.93))).verdict == "inconclusive"
    assert not own.shared
    assert common.shared
    assert not with_digests(values, 0.0, "a" * 10).shared
    assert with_digests(values, 0.05, [""] * 10).shared  # nothing shows that the data differ


def test_a_paired_difference_carries_the_errors_of_both_arms():
    """Two arms with a large common spread: paired, the difference is sharp, and its error is that of both evaluations."""
    base = np.linspace(-5, 5, 10)
    first, second = with_digests(base + 1 + 0.1 * np.sin(np.arange(10)), 0.3, "a" * 10), with_digests(base, 0.4, "a" * 10)
    difference = first.minus(second)
    np.testing.assert_allclose(difference.errors, 0.5)
    assert verdict(check(difference, BAD, above(0.0))).verdict == "holds"
    assert verdict(check(with_digests(difference.values, 0.6, "a" * 10), BAD, above(0.0))).verdict == "inconclusive"
    unpaired = with_digests(first.values - second.values[::-1], 0.5, "a" * 10)
    assert verdict(check(unpaired, BAD, above(0.0))).verdict == "inconclusive"


def test_a_statistic_within_replicates_inherits_the_errors_of_its_column():
    table = pl.DataFrame({"seed": [0, 0, 0, 1, 1, 1], "x": [0.0, 1, 2] * 2, "y": [0.0, 1, 2, 1, 2, 3], "y_error": [0.1, 0.2, 0.3] * 2, "digest": ["a"] * 6})

    def slope(rows):
        return float(np.polyfit(rows["x"], rows["y"], 1)[0])

    found = Replicates.within(table, slope, errors={"y": "y_error"})
    np.testing.assert_allclose(found.values, 1)
    np.testing.assert_allclose(found.errors, math.hypot(0.1 / 2, 0.3 / 2))  # the slope is (y_2 - y_0) / 2
    assert found.shared
    assert np.all(Replicates.within(table, slope).errors == 0)


def test_learned_or_not_is_a_rate_and_no_mean():
    values = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1]) + 0.01 * np.linspace(-1, 1, 10)
    row = verdict(check(sample(values), noisy(-1.0), above(0.0)))
    assert row.verdict == "not judged"
    assert "two places" in row.reason
    assert row.estimate == pytest.approx(np.mean(values))  # still shown
    assert verdict(check(rate(9, 10), rate(0, 10), above(0.5), kind=Rate("learned"))).verdict == "holds"


def test_values_that_may_lie_at_two_places_are_judged_with_a_warning():
    ordered = np.sort(np.random.default_rng(0).normal(size=10))
    for gap in np.linspace(0, 6, 200):
        values = ordered + gap * (np.arange(10) >= 5)
        share = within_share(values)
        if normal_quantile(10, 0.001) < share < normal_quantile(10, 0.01):
            break
    row = verdict(check(sample(values), noisy(-99.0), above(-50.0)))
    assert row.verdict == "holds"
    assert "may lie at two places" in row.reason


def test_normal_values_are_rarely_taken_for_two_clusters():
    refused = np.mean(within_share(np.random.default_rng(7).normal(size=(5000, 10))) < normal_quantile(10, 0.001))
    assert refused < 0.004


def test_the_two_clusters_are_the_best_split():
    random = np.random.default_rng(0)
    for n in (4, 5, 9):
        values = random.normal(size=n)
        ordered, total = np.sort(values), np.var(values) * n
        splits = [(np.var(ordered[:k]) * k + np.var(ordered[k:]) * (n - k)) / total for k in range(2, n - 1)]
        assert within_share(values) == pytest.approx(min(splits))


def test_replicates_that_are_equal_by_construction_are_no_sample():
    row = verdict(check(sample(np.repeat(np.linspace(1, 2, 5), 2)), BAD, above(0.5)))
    assert row.verdict == "not judged"
    assert "at least twice" in row.reason
    every = Instances(np.linspace(1, 2, 5), exhaustive=True)
    wrong = Instances(np.zeros(FEWEST_INSTANCES))
    assert verdict(check(every, wrong, above(0.5), kind=Every("lead"))).verdict == "holds"


def test_one_pair_of_equal_values_is_a_coincidence():
    assert verdict(check(sample([1.0, 1.0, 1.1, 1.2, 0.9]), BAD, above(0.5))).verdict == "holds"


def test_a_mean_of_few_distinct_values_is_still_below():
    assert verdict(check(noisy(0.0, n=10), noisy(9.0, n=10), below(1.0), kind=Mean("loss"))).verdict == "holds"
