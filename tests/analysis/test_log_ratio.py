import numpy as np
import pytest

from mesocosm.analysis.log_ratio import log_combination, log_ratio_of_means


def test_paired_losses_give_the_log_ratio_and_the_spread_it_would_have():
    """Against the spread over 4000 simulated evaluation sets of two correlated losses, and against unpaired errors, which are many times larger."""
    random, draws, examples = np.random.default_rng(0), 4000, 300
    difficulty = random.gamma(0.5, size=(draws, examples))
    a, b = 1.3 * difficulty * random.gamma(20.0, 0.05, size=(draws, examples)), difficulty * random.gamma(20.0, 0.05, size=(draws, examples))
    ratio, error = log_ratio_of_means(a, b)
    assert ratio.shape == error.shape == (draws,)
    assert ratio.mean() == pytest.approx(np.log(1.3), abs=4 * ratio.std() / np.sqrt(draws))
    assert error.mean() == pytest.approx(ratio.std(), rel=0.05)
    unpaired = np.hypot(*((x.std(axis=1) / x.mean(axis=1) / np.sqrt(examples)).mean() for x in (a, b)))
    assert error.mean() < 0.4 * unpaired
    np.testing.assert_allclose(log_ratio_of_means(a[0], 2 * a[0]), (-np.log(2), 0.0), atol=1e-12)


def test_paired_losses_without_a_logarithm_are_refused():
    with pytest.raises(ValueError, match="two or more examples, not 1"):
        log_ratio_of_means(np.ones((3, 1)), np.ones((3, 1)))
    with pytest.raises(ValueError, match="positive, finite means; the smallest are 1 and 0"):
        log_ratio_of_means(np.ones((2, 4)), np.zeros((2, 4)))


def test_a_combination_of_means_on_the_same_examples_has_the_spread_that_it_would_have():
    """A slope on log axes over three sizes, against the spread over 2000 simulated evaluation sets."""
    random, weights = np.random.default_rng(0), np.array([-0.5, 0.0, 0.5]) / np.log(2)
    difficulty = random.gamma(0.5, size=(2000, 1, 200))
    values = np.array([4.0, 2.0, 1.0])[:, None] * difficulty * random.gamma(20.0, 0.05, size=(2000, 3, 200))
    slope, error = log_combination(values, weights)
    assert slope.mean() == pytest.approx(-1, abs=4 * slope.std() / np.sqrt(2000))
    assert error.mean() == pytest.approx(slope.std(), rel=0.05)
