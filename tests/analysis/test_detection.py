"""AUROC against pair counts and SciPy; its standard errors against resampling; scores on a case whose answer is known."""

from functools import cache

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import mannwhitneyu

from mesocosm.analysis.detection import SCORES, auroc, auroc_difference, output_variance, predictive_entropy

few = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(few, few)
def test_an_auroc_counts_pairs_ties_by_half(inside, outside):
    count = np.mean([(b > a) + 0.5 * (b == a) for a in inside for b in outside])
    assert auroc(np.array(inside), np.array(outside)).auroc == pytest.approx(count, abs=1e-12)


@given(few, few)
def test_an_auroc_is_scipys(inside, outside):
    statistic = mannwhitneyu(outside, inside).statistic
    assert auroc(np.array(inside), np.array(outside)).auroc == pytest.approx(statistic / (len(inside) * len(outside)), abs=1e-12)


@given(few, few)
def test_exchanging_the_sets_gives_the_rest_and_monotone_maps_nothing(inside, outside):
    inside, outside = np.array(inside), np.array(outside)
    value = auroc(inside, outside).auroc
    assert auroc(outside, inside).auroc == pytest.approx(1 - value)
    assert auroc(np.exp(inside), np.exp(outside)).auroc == pytest.approx(value)
    assert auroc(inside, inside).auroc == pytest.approx(0.5)


def test_standard_errors_are_those_of_redrawn_sets():
    random = np.random.default_rng(0)
    drawn = [(random.normal(0, 1, 60), random.normal(1, 2, 40)) for _ in range(800)]
    values = [auroc(a, b) for a, b in drawn]
    assert np.mean([v.error for v in values]) == pytest.approx(np.std([v.auroc for v in values]), rel=0.08)
    noisy = [(auroc_difference(a, b, a + random.normal(0, 0.5, 60), b + random.normal(0, 0.5, 40)), auroc(a, b)) for a, b in drawn]
    assert np.mean([d.error for d, _ in noisy]) == pytest.approx(np.std([d.auroc for d, _ in noisy]), rel=0.12)
    assert np.mean([d.error for d, _ in noisy]) < 0.8 * np.mean([v.error for _, v in noisy])  # pairing pays


def test_a_perfect_separation_is_known_to_a_pair():
    assert auroc(np.arange(4), np.arange(10, 15)) == (1.0, 1 / 20)


@pytest.mark.parametrize(("inside", "outside", "told"), [([], [1.0], "0 inside and 1 outside"), ([np.nan], [1.0], "finite")])
def test_what_has_no_auroc_is_said(inside, outside, told):
    with pytest.raises(ValueError, match=told):
        auroc(np.array(inside), np.array(outside))


# --- scores -----------------------------------------------------------------------------------------------------------


@cache
def toy(members=6, number=400):
    """Members agree on inputs inside; outside each has its own opinion, twice as loud on the second half. The order is known, so are the AUROCs."""
    random = np.random.default_rng(0)
    classes = 8.0 * np.eye(4)[random.integers(0, 4, number)]
    inside = classes + 0.3 * random.standard_normal((members, number, 4))
    outside = 6.0 * random.standard_normal((members, number, 4))
    return inside.astype(np.float32), outside.astype(np.float32)


JITTED = {name: jax.jit(score) for name, score in SCORES.items()}
entropy_of = jax.jit(predictive_entropy)


@pytest.mark.parametrize("name", SCORES)
def test_larger_means_further_out(name):
    inside, outside = (np.asarray(JITTED[name](x)) for x in toy())
    assert auroc(inside, outside).auroc > 0.95
    assert abs(auroc(*np.split(inside, 2)).auroc - 0.5) < 0.1


@pytest.mark.parametrize("name", SCORES)
def test_members_have_no_order_and_copies_no_weight(name):
    _, outside = toy()
    score = JITTED[name](outside)
    np.testing.assert_allclose(JITTED[name](outside[::-1]), score, rtol=1e-5)
    np.testing.assert_allclose(JITTED[name](np.concatenate([outside, outside])), score, rtol=1e-5)


def test_no_score_saturates():
    """Very large outputs still differ: a squashed score would tie them."""
    loud = 100 * np.array([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [0.0, 3.0]]], np.float32)
    variance, entropy = (np.asarray(score(loud)) for score in (jax.jit(output_variance), entropy_of))
    assert variance[1] > variance[0]
    np.testing.assert_allclose(entropy, np.log(2), rtol=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_entropy_is_its_formula(seed):
    outputs = np.random.default_rng(seed).standard_normal((3, 2, 5), np.float32)
    p = softmax(outputs, axis=-1).mean(0)
    np.testing.assert_allclose(entropy_of(outputs), -(p * np.log(p)).sum(-1), rtol=1e-5)
