"""Exact values of hunts in a grid, against closed forms and the specification's table."""

import numpy as np
import pytest

from mesocosm.analysis.grid_hunts import covering_paths, hunt_values, shortest_ways


@pytest.mark.whole
@pytest.mark.parametrize(("side", "number"), [(2, 2), (3, 8), (4, 52), (5, 824)])
def test_paths_visit_every_cell_once_by_single_moves(side, number):
    times = covering_paths(side)
    assert len({tuple(path) for path in times}) == number
    np.testing.assert_array_equal(np.sort(times, axis=1), np.arange(side * side) + np.zeros((number, 1)))
    row, column = np.divmod(np.argsort(times, axis=1), side)
    np.testing.assert_array_equal(np.abs(np.diff(row)) + np.abs(np.diff(column)), 1)
    np.testing.assert_array_equal(times[:, 0], 0)


@pytest.mark.parametrize(
    ("side", "episodes", "values"),
    [
        (3, 2, (6.75, 10, 8)),
        pytest.param(3, 1, (4.5, 8, 5), marks=pytest.mark.whole),
        pytest.param(4, 1, (8, 15, 8), marks=pytest.mark.whole),
        pytest.param(4, 2, (11.2, 16, 12.4), marks=pytest.mark.whole),
        pytest.param(5, 1, (12.5, 24, 13), marks=pytest.mark.whole),
        pytest.param(5, 2, (16.667, 26, 17.853), marks=pytest.mark.slow),
    ],
)
def test_values_are_those_of_the_table(side, episodes, values):
    np.testing.assert_allclose(hunt_values(side, episodes), values, atol=1e-3)


@pytest.mark.parametrize(("side", "episodes"), [(1, 1), (3, 0)])
def test_a_hunt_without_another_cell_or_an_episode_is_refused(side, episodes):
    with pytest.raises(ValueError, match="a side of 2 or more and an episode"):
        hunt_values(side, episodes)


@pytest.mark.parametrize("side", [2, 3, 4])
def test_the_value_of_one_episode_is_that_of_the_parity_argument(side):
    """The adversary who hides the treasure in one of the k other cells of even coordinate sum forces k + 1 steps."""
    even = np.sum(shortest_ways(side)[1:] % 2 == 0)
    assert hunt_values(side).randomised == pytest.approx(even + 1)
