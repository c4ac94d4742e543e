"""Pairing is refused where it would lie, and standard errors follow the values."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesocosm.claims.replicates import Instances, NotJudged, Replicates


def replicates(values, errors=None, ids=None, digests=None) -> Replicates:
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    errors = np.zeros(n) if errors is None else np.asarray(errors, dtype=np.float64)
    return Replicates(values, tuple(ids or range(n)), tuple(digests or ("",) * n), errors)


# --- reading tables ---


def test_rows_are_read_in_the_order_of_the_replicates():
    table = pl.DataFrame({"seed": [2, 0, 1], "loss": [0.2, 0.0, 0.1], "se": [0.02, 0.0, 0.01], "digest": ["c", "a", None]})
    read = Replicates.of(table, "loss", error="se")
    assert read.ids == (0, 1, 2)
    assert read.digests == ("a", "", "c")
    np.testing.assert_array_equal(read.values, [0.0, 0.1, 0.2])
    np.testing.assert_array_equal(read.errors, [0.0, 0.01, 0.02])


def test_one_seed_with_a_thousand_episodes_is_no_thousand_replicates():
    table = pl.DataFrame({"seed": [0] * 1000, "episode": range(1000), "return": np.random.default_rng(0).normal(size=1000)})
    with pytest.raises(NotJudged, match="replicate 0 has 1000 rows: average inside a replicate"):
        Replicates.of(table, "return")


def test_other_columns_can_name_the_replicates():
    table = pl.DataFrame({"layout": ["chain", "ring"], "value": [1, 2]})
    assert Replicates.of(table, "value", by="layout").ids == ("chain", "ring")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pl.DataFrame({"seed": [0, 1], "loss": [1.0, np.nan]}), "1 of 2 values are not finite"),
        (pl.DataFrame({"seed": [0, 1], "loss": [1.0, None]}), "1 of 2 values are not finite"),
        (pl.DataFrame({"seed": [], "loss": []}), "no rows"),
        (pl.DataFrame({"seed": [0], "accuracy": [1.0]}), r"no column 'loss' \(it has seed, accuracy\)"),
    ],
)
def test_what_cannot_be_read_is_not_judged(table, reason):
    with pytest.raises(NotJudged, match=reason):
        Replicates.of(table, "loss")


def test_standard_errors_are_neither_negative_nor_missing():
    with pytest.raises(NotJudged, match="1 of 2 standard errors"):
        replicates([1, 2], errors=[0.1, np.nan])
    with pytest.raises(NotJudged, match="1 of 2 standard errors"):
        replicates([1, 2], errors=[0.1, -0.1])


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"lengths \(2, 2, 1, 2\)"):
        Replicates(np.ones(2), (0, 1), ("",), np.zeros(2))


def test_within_computes_one_number_a_replicate():
    table = pl.DataFrame({"seed": [1, 0, 1, 0], "depth": [1, 1, 2, 2], "loss": [3.0, 5.0, 1.0, 4.0], "digest": ["b", "a", "b", "c"]})

    def slope(rows):
        return float(np.polyfit(rows["depth"], rows["loss"], 1)[0])

    slopes = Replicates.within(table, slope, same_data=False)
    np.testing.assert_allclose(slopes.values, [-1.0, -2.0])
    assert slopes.ids == (0, 1)
    assert slopes.digests == ("a+c", "b")
    with pytest.raises(NotJudged, match=r"replicate 0 has rows that were evaluated on different data \(digests a, c\)"):
        Replicates.within(table, slope)
    assert Replicates.within(table.filter(pl.col("seed") == 1), slope).digests == ("b",)
    assert Replicates.within(table.drop("digest"), slope).digests == ("", "")
    with pytest.raises(NotJudged, match="no rows"):
        Replicates.within(table.clear(), len)


# --- pairing ---


def smallest(x, *others, same_data=True):
    return x.extreme(*others, by=np.negative, same_data=same_data)


PAIRING = pytest.mark.parametrize("pair", [Replicates.minus, Replicates.over, Replicates.log_ratio, smallest])


def test_no_combinator_that_pairs_is_forgotten():
    taking = {name: set(getattr(method, "__annotations__", {})) for name, method in vars(Replicates).items() if not name.startswith("_")}
    pairing = {name for name, arguments in taking.items() if arguments & {"other", "others"}}
    assert pairing == {"minus", "over", "log_ratio", "extreme"}


def test_pairs_are_taken_replicate_by_replicate():
    a, b = replicates([3, 8], ids=(0, 1), digests="xy"), replicates([1, 2], ids=(0, 1), digests="xy")
    np.testing.assert_array_equal(a.minus(b).values, [2, 6])
    np.testing.assert_array_equal(a.over(b).values, [3, 4])
    np.testing.assert_allclose(a.log_ratio(b).values, np.log([3, 4]))
    assert a.log_ratio(b).digests == ("x", "y")


@PAIRING
def test_missing_seeds_other_orders_and_other_evaluation_data_are_refused(pair):
    with pytest.raises(NotJudged, match="unpaired replicates: 0, 3 are in one arm only"):
        pair(replicates([1, 2, 3], ids=(0, 1, 2)), replicates([1, 2, 3], ids=(1, 2, 3)))
    with pytest.raises(NotJudged, match="different order"):
        pair(replicates([1, 2], ids=(0, 1)), replicates([1, 2], ids=(1, 0)))
    with pytest.raises(NotJudged, match=r"replicate 1 was evaluated on different data in the two arms \(digests b and none\)"):
        pair(replicates([1, 2], digests=("a", "b")), replicates([1, 2], digests=("a", "")))


@PAIRING
def test_other_data_on_purpose_is_said_so_and_still_paired_by_replicate(pair):
    train, test = replicates([2, 4], ids=(0, 1), digests="aa"), replicates([1, 2], ids=(0, 1), digests="bb")
    with pytest.raises(NotJudged, match="different data"):
        pair(train, test)
    np.testing.assert_array_equal(pair(train, test, same_data=False).values, pair(train, replicates([1, 2], digests="aa")).values)
    with pytest.raises(NotJudged, match="unpaired replicates: 0, 2"):
        pair(train, replicates([1, 2], ids=(1, 2)), same_data=False)


@pytest.mark.parametrize(("by", "expected"), [(np.negative, [-3, 1, 1]), (np.positive, [2, 1, 4]), (np.abs, [-3, 1, 4])])
def test_the_extreme_of_several_arms_is_taken_replicate_by_replicate(by, expected):
    """With the largest error: it must not be known better than any arm that could have been chosen."""
    arms = [
        replicates(values, errors, digests="abc") for values, errors in (([-1, 1, 3], [0.1, 0.2, 0.3]), ([2, 1, 4], [0.3, 0, 0]), ([-3, 1, 1], [0, 0, 0.4]))
    ]
    found = arms[0].extreme(*arms[1:], by=by)
    np.testing.assert_array_equal(found.values, expected)
    np.testing.assert_array_equal(found.errors, [0.3, 0.2, 0.4])
    assert found.digests == ("a", "b", "c")
    np.testing.assert_array_equal(arms[0].extreme(by=by).values, arms[0].values)


def test_every_arm_of_an_extreme_must_have_seen_the_same_data():
    arms = [replicates([1, 2], digests=digests) for digests in ("ab", "ab", "ax")]
    with pytest.raises(NotJudged, match=r"replicate 1 .* \(digests b and x\)"):
        smallest(*arms)


def test_ratios_refuse_zero_and_logarithms_what_is_not_positive():
    with pytest.raises(NotJudged, match="denominator is zero for replicate 1"):
        replicates([1, 2]).over(replicates([1, 0]))
    with pytest.raises(NotJudged, match="smallest numerator is -2"):
        replicates([1, -2]).log_ratio(replicates([1, 1]))
    with pytest.raises(NotJudged, match="smallest denominator is 0"):
        replicates([1, 2]).log_ratio(replicates([0, 1]))


# --- standard errors ---


@pytest.mark.parametrize(
    ("exact", "combine"),
    [
        (np.subtract, lambda x, y: x.minus(y)),
        (np.divide, lambda x, y: x.over(y)),
        (lambda x, y: np.log(x / y), lambda x, y: x.log_ratio(y)),
        (lambda x, y: x**2, lambda x, y: x.map(np.square)),
        (lambda x, y: np.exp(-y), lambda x, y: y.map(lambda v: np.exp(-v))),
        (lambda x, y: np.log10(x), lambda x, y: x.map(np.log10)),
    ],
)
def test_standard_errors_equal_the_spread_of_simulated_evaluations(exact, combine):
    random, draws = np.random.default_rng(0), 100_000
    x, y, error_x, error_y = np.array([2.0, 5.0]), np.array([1.5, -0.7]), np.array([0.01, 0.03]), np.array([0.02, 0.004])
    y = np.abs(y)
    simulated = exact(x + error_x * random.normal(size=(draws, 2)), y + error_y * random.normal(size=(draws, 2)))
    np.testing.assert_allclose(combine(replicates(x, error_x), replicates(y, error_y)).errors, simulated.std(axis=0), rtol=0.02)


@given(st.floats(1e-12, 1e6), st.floats(1e-3, 0.5))
@settings(max_examples=50, deadline=None)
def test_a_logarithm_carries_the_relative_error_at_every_scale(value, relative):
    """d log x = dx / x, also for losses near zero, where an absolute step would leave the domain."""
    assert replicates([value], [relative * value]).map(np.log).errors == pytest.approx(relative, rel=1e-6)


def test_exact_values_stay_exact_and_zero_has_a_slope():
    assert np.all(replicates([0, 1]).map(np.cos).errors == 0)
    np.testing.assert_allclose(replicates([0.0, 0.0], [0.1, 0.0]).map(lambda v: 3 * v).errors, [0.3, 0.0])
    np.testing.assert_allclose(replicates([0.0], [0.1]).over(replicates([2.0])).errors, [0.05])


def test_an_error_that_cannot_be_carried_through_is_not_judged():
    with pytest.raises(NotJudged, match="not finite"):
        replicates([1.0], [0.1]).map(np.arcsin)


# --- instances ---


def test_instances_are_read_signed_from_a_table():
    table = pl.DataFrame({"advantage": [0.1, -0.3]})
    np.testing.assert_array_equal(Instances.of(table, "advantage", exhaustive=True).values, [0.1, -0.3])
    with pytest.raises(NotJudged, match="no column"):
        Instances.of(table, "mutant")
    with pytest.raises(NotJudged, match="no rows"):
        Instances.of(table.clear(), "advantage")


@pytest.mark.parametrize(
    ("digests", "errors", "shared"),
    [
        (("a", "b", "c"), (0.1, 0.1, 0.1), False),
        (("a", "a", "c"), (0.1, 0.1, 0.1), True),
        (("a", "a", "a"), (0.0, 0.0, 0.1), True),
        (("a", "a", "a"), (0.0, 0.0, 0.0), False),
        (("", "", ""), (0.1, 0.1, 0.1), True),
        (("a",), (0.1,), True),
    ],
)
def test_errors_are_common_unless_every_replicate_has_data_of_its_own(digests, errors, shared):
    """One equal pair, or one error among exact values, is enough; a single digest shows nothing."""
    assert replicates(range(len(digests)), errors, digests=digests).shared is shared


def test_the_slope_at_a_value_of_zero_is_local():
    np.testing.assert_allclose(replicates([0.0, 2.0], [0.1, 0.1]).map(lambda x: x**3).errors, [0.0, 1.2], atol=1e-9)
