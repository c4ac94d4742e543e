"""Spectra from factors are those of the product; rank measures mean what they say; the gap lies between zero and its bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesocosm.analysis.spectra.factor_spectra import (
    balance,
    effective_rank,
    interpolated_rank_by_sum,
    numerical_rank,
    product_spectrum,
    rank_by_energy,
    rank_by_sum,
    stable_rank,
)

MEASURES = (rank_by_sum, interpolated_rank_by_sum, rank_by_energy, stable_rank, effective_rank, numerical_rank)
sizes = st.integers(1, 9)


def factors(seed, m, n, r, *lead):
    random = np.random.default_rng(seed)
    return random.standard_normal((*lead, m, r)), random.standard_normal((*lead, n, r))


@given(st.integers(0, 10_000), sizes, sizes, sizes)
@settings(deadline=None, max_examples=60)
def test_the_spectrum_of_a_product_is_numpys(seed, m, n, r):
    """I11, for factors of any shape, wider than long too."""
    a, b = factors(seed, m, n, r)
    whole = np.linalg.svd(a @ b.T, compute_uv=False)
    found = product_spectrum(a, b)
    assert found.shape == (min(m, n, r),)
    np.testing.assert_allclose(found, whole[: len(found)], atol=1e-12 * whole[0])
    assert np.all(whole[len(found) :] < 1e-12 * whole[0])


def test_leading_axes_are_products_of_their_own():
    a, b = factors(0, 7, 5, 3, 2, 4)
    stacked = product_spectrum(a, b)
    assert stacked.shape == (2, 4, 3)
    np.testing.assert_allclose(stacked[1, 2], product_spectrum(a[1, 2], b[1, 2]), rtol=1e-12)
    np.testing.assert_allclose(balance(a, b).gap[1, 2], balance(a[1, 2], b[1, 2]).gap, rtol=1e-10)


def test_rank_measures_of_a_known_spectrum():
    s = np.array([4.0, 3.0, 2.0, 1.0, 0.0])
    assert rank_by_sum(s, 0.7) == 2  # 7 of 10, exactly the share
    assert rank_by_sum(s, 0.71) == 3
    assert interpolated_rank_by_sum(s, 0.7) == pytest.approx(2)
    assert interpolated_rank_by_sum(s, 0.75) == pytest.approx(2.25)  # 7.5 of 10, a quarter of the third value
    assert interpolated_rank_by_sum(s, 0.2) == pytest.approx(0.5)
    assert rank_by_energy(s, 0.8) == 2  # 25 of 30
    assert rank_by_energy(s, 1.0) == 4
    assert stable_rank(s) == pytest.approx(30 / 16)
    share = s[:4] / 10
    assert effective_rank(s) == pytest.approx(np.prod(share**-share))
    assert numerical_rank(s, 0.5) == 2
    assert numerical_rank(s, 0.49) == 3
    assert [measure(np.zeros(5)) for measure in MEASURES] == [0] * 6
    flat = np.ones(20)
    assert [measure(flat) for measure in MEASURES] == pytest.approx([19, 19, 19, 20, 20, 20])


def test_rank_measures_do_not_see_scale_or_rotations_of_the_inner_space():
    """I11."""
    a, b = factors(1, 12, 10, 6)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))
    plain = product_spectrum(a, b)
    for other in (product_spectrum(3.7 * a, b), product_spectrum(a @ rotation, b @ rotation)):
        np.testing.assert_allclose([measure(other) for measure in MEASURES], [measure(plain) for measure in MEASURES], rtol=1e-10)
    assert not np.allclose(product_spectrum(a @ rotation, b), plain)


@given(st.integers(0, 10_000), sizes, sizes, sizes)
@settings(deadline=None, max_examples=60)
def test_the_interpolated_rank_rounds_up_to_the_whole_one(seed, m, n, r):
    s = product_spectrum(*factors(seed, m, n, r))
    assert np.ceil(interpolated_rank_by_sum(s) - 1e-9) == rank_by_sum(s)


@given(st.integers(0, 10_000), sizes, sizes, sizes)
@settings(deadline=None, max_examples=100)
def test_the_gap_lies_between_zero_and_its_bound(seed, m, n, r):
    """I2: T1 and T4 for random factors of any shape."""
    found = balance(*factors(seed, m, n, r))
    assert -1e-12 <= found.gap <= found.bound + 1e-12
    assert 0 <= found.imbalance <= 1
    assert found.mean_square == pytest.approx(found.norms_squared.sum() / 2)


def test_the_gap_closes_at_balance_and_opens_when_it_is_lost():
    """I3: factors from an SVD, then A K and B K^-T."""
    random = np.random.default_rng(3)
    left, s, right = np.linalg.svd(random.standard_normal((8, 6)), full_matrices=False)
    a, b = left * np.sqrt(s), right.T * np.sqrt(s)
    balanced = balance(a, b)
    assert abs(balanced.gap) < 1e-12
    assert balanced.imbalance < 1e-12
    assert balanced.cosine == pytest.approx(1)
    change = np.eye(6) + 0.3 * random.standard_normal((6, 6))
    moved = balance(a @ change, b @ np.linalg.inv(change).T)
    assert moved.nuclear == pytest.approx(balanced.nuclear)
    assert 1e-3 < moved.gap <= moved.bound
    rotation, _ = np.linalg.qr(change)
    assert abs(balance(a @ rotation, b @ rotation).gap) < 1e-12


def test_the_centred_cosine_forgets_what_every_wide_gaussian_factor_shares():
    a, b = factors(4, 4000, 4000, 8)
    found = balance(a, b)
    assert found.cosine > 0.99
    assert abs(found.cosine_centered) < 0.6
    assert balance(a, a).cosine_centered == pytest.approx(1)
    assert balance(np.eye(3), np.eye(3)).cosine_centered == 0


def test_what_is_no_pair_of_factors_is_refused():
    a, b = factors(5, 4, 4, 2)
    with pytest.raises(ValueError, match="must have the same inner dimension; these have 2 and 4"):
        product_spectrum(a, b.T)
    with pytest.raises(ValueError, match="1 entries of a factor are not finite"):
        product_spectrum(np.where(a == a[0, 0], np.nan, a), b)
    with pytest.raises(ValueError, match=r"\(\.\.\., outer, inner\)"):
        product_spectrum(a[0], b)
    with pytest.raises(ValueError, match="the share must be between 0 and 1"):
        rank_by_sum(np.ones(3), 95.0)
