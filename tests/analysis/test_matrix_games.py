"""Games whose value is known, Yao's inequality on random ones, and mixtures that no deterministic algorithm equals."""

import numpy as np
import pytest

from mesocosm.analysis.matrix_games import solve_game, yao_bounds


@pytest.mark.parametrize(
    ("loss", "value", "rows"),
    [
        ([[1, -1], [-1, 1]], 0.0, [0.5, 0.5]),
        (np.eye(5), 0.2, np.full(5, 0.2)),
        ([[0, 2, -1], [-2, 0, 3], [1, -3, 0]], 0.0, [1 / 2, 1 / 6, 1 / 3]),
        ([[1.0, 2.0], [3.0, 4.0]], 2.0, [1, 0]),
    ],
)
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (1e-12, 0), (1e15, 0), (1e-6, 1), (1e-6, 1e3)])
def test_known_games(loss, value, rows, scale, shift):
    solved = solve_game(shift + scale * np.array(loss, float))
    assert solved.value == pytest.approx(shift + scale * value, abs=1e-9 * scale + 1e-15 * shift)
    np.testing.assert_allclose(solved.rows, rows, atol=1e-9 + 1e-15 * shift / scale)


def test_a_game_of_equal_losses_has_their_value():
    solved = solve_game(np.full((2, 3), 7.0))
    assert solved.value == 7
    assert solved.rows.sum() == solved.columns.sum() == 1


def test_both_mixtures_attain_the_value_of_random_games():
    generator = np.random.default_rng(0)
    for shape in [(3, 7), (8, 2), (6, 6)] * 5:
        loss = generator.normal(size=shape)
        solved = solve_game(loss)
        for mixture in (solved.rows, solved.columns):
            assert mixture.min() > -1e-9
            assert mixture.sum() == pytest.approx(1)
        assert (solved.rows @ loss).max() == pytest.approx(solved.value, abs=1e-8)
        assert (loss @ solved.columns).min() == pytest.approx(solved.value, abs=1e-8)
        bounds = yao_bounds(loss, generator.dirichlet(np.ones(shape[0])), generator.dirichlet(np.ones(shape[1])))
        assert bounds.best_row <= bounds.mean <= bounds.worst_column
        assert yao_bounds(loss, columns=solved.columns).best_row == pytest.approx(solved.value, abs=1e-8)
        assert yao_bounds(loss, rows=solved.rows).worst_column == pytest.approx(solved.value, abs=1e-8)


def test_a_mixture_of_algorithms_that_fail_apart_beats_every_one_of_them():
    fails = np.eye(5)
    bounds = yao_bounds(fails)
    assert fails.max(axis=1).min() == 1
    assert bounds == pytest.approx((0.2, 0.2, 0.2))


@pytest.mark.parametrize("bad", [1e3, 1e9, 1e20, 1e100])
def test_what_nobody_would_play_does_not_change_the_value(bad):
    """A row of huge losses, a column of hugely negative ones, both, and one huge entry."""
    for loss in ([[0, 1], [1, 0], [bad, bad]], [[0, 1, -bad], [1, 0, -bad]], [[0, 1, -bad], [1, 0, -bad], [bad, bad, bad]], [[0, 1], [1, 0], [0.7, bad]]):
        solved = solve_game(np.array(loss))
        assert solved.value == pytest.approx(0.5, abs=1e-6)
        for mixture in (solved.rows, solved.columns):
            np.testing.assert_allclose(mixture[:2], 0.5, atol=1e-6)


def test_a_game_that_cannot_be_solved_is_refused():
    with pytest.raises(ValueError, match="too different"):
        solve_game(np.array([[0, 1], [1, 0], [1e20, -1e20]]))


def test_what_is_no_matrix_of_finite_losses_is_refused():
    for loss in (np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), np.zeros((2, 2, 2)), *([[wrong, 0.0]] for wrong in (np.nan, np.inf, -np.inf, 1e308, -1e308))):
        for function in (solve_game, yao_bounds):
            with pytest.raises(ValueError, match="finite losses"):
                function(np.array(loss))


@pytest.mark.parametrize("wrong", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1.0], [np.inf, 0.0], [1.0], [[0.5, 0.5]], []])
def test_what_is_no_distribution_is_refused(wrong):
    for side in ("rows", "columns"):
        with pytest.raises(ValueError, match=f"2 {side} need"):
            yao_bounds(np.eye(2), **{side: np.array(wrong)})
    assert yao_bounds(np.eye(2), rows=np.array([0.1, 0.9], np.float32)).worst_column == pytest.approx(0.9)
