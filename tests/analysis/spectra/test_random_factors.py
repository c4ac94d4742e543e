"""The nulls: Gaussian factors as if drawn whole, and rotations that keep each factor's spectrum."""

import numpy as np
import pytest

from mesocosm.analysis.spectra.factor_spectra import core_balance, core_spectrum, product_spectrum, triangular_factor
from mesocosm.analysis.spectra.random_factors import gaussian_spectra, random_rotations, rotated_spectra, wide_rotated_spectra


@pytest.mark.parametrize(("d", "r", "table"), [(4096, 128, 0.992), (768, 64, 0.978), (384, 32, 0.978), (256, 32, 0.966), (256, 16, None)])
def test_the_gaussian_null_is_one_minus_a_quarter_of_the_aspect_ratio(d, r, table):
    """I13, and the spec's table of single draws: norms of one make the ratio the nuclear norm itself."""
    mean = gaussian_spectra(d, d, r, draws=16).sum(-1).mean()
    assert mean == pytest.approx(1 - r / d / 4, abs=0.005)
    if table:
        assert mean == pytest.approx(table, abs=0.003)


@pytest.mark.parametrize(("m", "n", "r"), [(40, 30, 8), (9, 40, 12)])
def test_triangular_draws_have_the_spectra_of_whole_ones(m, n, r):
    """Also for factors that are wider than long; each value's mean within 5 standard errors."""
    draws, random = 400, np.random.default_rng(0)
    whole = []
    for _ in range(draws):
        a, b = random.standard_normal((m, r)), random.standard_normal((n, r))
        whole.append(product_spectrum(a / np.linalg.norm(a), b / np.linalg.norm(b)))
    whole, found = np.array(whole), gaussian_spectra(m, n, r, draws=draws, seed=1)
    assert found.shape == whole.shape
    error = np.sqrt((whole.var(0) + found.var(0)) / draws)
    assert np.all(np.abs(whole.mean(0) - found.mean(0)) < 5 * error)
    np.testing.assert_allclose(whole.std(0), found.std(0), rtol=0.25)


def test_rotations_are_orthogonal_and_centred():
    rotations = random_rotations(5, draws=2000)
    np.testing.assert_allclose(rotations @ np.swapaxes(rotations, -1, -2), np.broadcast_to(np.eye(5), rotations.shape), atol=1e-12)
    assert np.abs(rotations.mean(0)).max() < 0.05  # uniform: the mean is zero; LAPACK's own signs would leave a drift on the diagonal
    np.testing.assert_allclose((rotations**2).mean(0), 0.2, atol=0.03)


def test_a_rotation_keeps_each_factor_and_destroys_their_alignment():
    random = np.random.default_rng(3)
    a = random.standard_normal((50, 6)) * np.array([8.0, 4, 2, 1, 0.5, 0.2])
    b = a + 0.01 * random.standard_normal(a.shape)  # aligned
    ra, rb, rotations = triangular_factor(a), triangular_factor(b), random_rotations(6, draws=8)
    rotated = rotated_spectra(ra, rb, rotations)
    np.testing.assert_allclose(rotated[3], np.linalg.svd(a @ (b @ rotations[3]).T, compute_uv=False)[:6], rtol=1e-10)
    aligned = core_balance(ra, rb, core_spectrum(ra, rb))
    assert aligned.nuclear / aligned.mean_square > 0.999
    assert np.all(rotated.sum(-1) / aligned.mean_square < 0.75)


def test_draws_are_the_same_every_time():
    np.testing.assert_array_equal(gaussian_spectra(20, 30, 4), gaussian_spectra(20, 30, 4))
    assert not np.allclose(gaussian_spectra(20, 30, 4), gaussian_spectra(20, 30, 4, seed=1))


@pytest.mark.parametrize(("m", "n", "r"), [(3, 4, 6), (4, 3, 5), (3, 4, 20)])
@pytest.mark.whole
def test_wide_factors_have_the_spectra_of_whole_draws(m, n, r):
    """Mean and standard deviation of every singular value, against factors and rotations of the whole inner space."""
    random, draws = np.random.default_rng(1), 4000
    a, b = (np.tril(np.ones((rows, r))) * (np.arange(r) < rows) for rows in (m, n))  # their Gram matrices are far from diagonal
    lower = [triangular_factor(factor.T).T for factor in (a, b)]
    whole = rotated_spectra(a, b, random_rotations(r, draws=draws, seed=5))
    gaussian = [random.standard_normal((draws, rows, r)) for rows in (m, n)]
    unit = core_spectrum(*(factor / np.linalg.norm(factor, axis=(-2, -1), keepdims=True) for factor in gaussian))
    for mine, theirs in ((wide_rotated_spectra(*lower, r, draws=draws), whole), (gaussian_spectra(m, n, r, draws=draws), unit)):
        error = theirs.std(axis=0) / np.sqrt(draws)
        assert np.all(np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) < 6 * error)
        np.testing.assert_allclose(mine.std(axis=0), theirs.std(axis=0), rtol=0.1)
