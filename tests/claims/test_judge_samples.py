"""What the judge takes for a sample: errors in common, values at two places, equal replicates; each with the mutant that would get it wrong."""

import math

import numpy as np
import polars as pl
import pytest
from judged import check, noisy, rate, sample, verdict

from mesocosm.claims.clusters import normal_quantile, within_share
from mesocosm.claims.judge import FEWEST_INSTANCES
from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.studies.interface import Bootstrap, Every, Mean, Rate, above, below

BAD = noisy(-1.0, n=10)


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


def test_two_places_far_inside_the_region_are_judged():
    values = np.array([0.04, 0.041, 0.03, 0.0301, 0.0302])
    assert verdict(check(sample(values), noisy(9.0), below(0.22))).verdict == "holds"
    assert verdict(check(sample(values), noisy(9.0), below(0.05))).verdict == "not judged"


def test_values_that_may_lie_at_two_places_are_judged_with_a_warning():
    ordered = np.sort(np.random.default_rng(0).normal(size=10))
    for gap in np.linspace(0, 6, 200):
        values = ordered + gap * (np.arange(10) >= 5)
        share = within_share(values)
        if normal_quantile(10, 0.001) < share < normal_quantile(10, 0.01):
            break
    row = verdict(check(sample(values), noisy(-99.0), above(-4.0)))
    assert row.verdict == "holds"
    assert "may lie at two places" in row.reason
    assert verdict(check(sample(values), noisy(-99.0), above(-50.0))).reason is None


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


def test_a_measurement_may_say_that_each_replicate_has_its_own_data():
    table = pl.DataFrame({"seed": [0, 1, 2], "x": [1.0, 2, 3], "x_error": [0.1] * 3})
    assert Replicates.of(table, "x", error="x_error").shared
    own = Replicates.of(table, "x", error="x_error", own_data=True)
    assert not own.shared
    assert not own.minus(own).shared


def test_four_values_at_two_places_are_no_sample():
    assert "two places" in verdict(check(sample([0.0, 1e-4, 1.0, 1.0003]), BAD, above(-0.5))).reason


def test_two_different_values_are_equal_by_construction_however_far_inside():
    assert "2 different values occurs at least twice" in verdict(check(sample([0.0, 0.0, 0.0, 1.0, 1.0]), noisy(-99.0), above(-50.0))).reason


def test_a_median_needs_a_sample_but_no_normal_one():
    """Values at two places have a median with a valid bootstrap interval; values that are equal by construction are no sample for it either."""
    values = np.concatenate([np.zeros(8), np.ones(16)]) + 0.01 * np.linspace(-1, 1, 24)
    control, kind = noisy(-9.0, n=24), Bootstrap("loss")
    assert verdict(check(sample(values), control, above(-0.5), kind=kind)).verdict == "holds"
    assert "at least twice" in verdict(check(sample(np.repeat(values[:12], 2)), control, above(-0.5), kind=kind)).reason


def test_the_common_error_of_a_median_is_the_root_mean_square():
    """Only errors that are common widen the interval, and the large one among many exact values counts."""
    values, errors = np.linspace(-1, 1, 24), 3.0 * (np.arange(24) == 0)
    rows = [
        verdict(check(Replicates(values, tuple(range(24)), tuple(digests), error), noisy(-9.0, n=24), above(-3.0), kind=Bootstrap("loss")))
        for digests, error in (("a" * 24, errors), ("abcdefghijklmnopqrstuvwx", errors), ("a" * 24, 0 * errors))
    ]
    widths = [row.estimate - row.low for row in rows]
    assert widths[1] == widths[2]
    assert widths[0] == pytest.approx(math.hypot(widths[2], 1.959964 * 3 / math.sqrt(24)))


@pytest.mark.parametrize("combine", [lambda a, b: a.minus(b, same_data=False), lambda a, b: a.over(b, same_data=False)])
def test_a_common_error_stays_common_whichever_arm_has_it(combine):
    """One arm has data of its own, the other shares a data set: the shared error of the second must not be divided by the number of replicates."""
    own, common = with_digests([3.0, 3.1, 3.2], 0.1, "abc"), with_digests([1.0, 1.1, 1.3], 0.1, "zzz")
    assert combine(own, common).shared
    assert combine(common, own).shared
    assert not combine(own, with_digests([1.0, 1.1, 1.3], 0.1, "def")).shared
    assert own.extreme(common, by=np.abs, same_data=False).shared
