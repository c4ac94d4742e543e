"""What the best agents can do in `envs.TreasureGrid`: on average over treasures, in the worst case, and in the worst case with a random seed.

Covering paths visit every cell once, so that the k-th new cell takes k steps. An agent that follows one of them has found every treasure after side^2 - 1
steps, and knows the way in the next episode. A random agent mixes paths; the adversary hides the treasure: a finite game (`matrix_games`).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from mesocosm.analysis.matrix_games import solve_game


class HuntValues(NamedTuple):
    """Numbers of steps, over all episodes.

    Attributes:
        average: least mean over treasures.
        deterministic: least worst case of an agent without a seed.
        randomised: least worst expected number of steps of an agent with one, over mixtures of covering paths. For two episodes on grids larger than 3 x 3,
            other walks may do better.
    """

    average: float
    deterministic: float
    randomised: float


def covering_paths(side: int) -> Int[np.ndarray, "paths cells"]:
    """The steps at which each path from cell 0 that visits every cell of the grid once reaches each cell, row by row: 8, 52, 824 paths for sides 3, 4, 5."""
    cells, found = side * side, []
    times = np.full(cells, -1)

    def neighbours(cell: int) -> list[int]:
        row, column = divmod(cell, side)
        around = ((row, column - 1), (row, column + 1), (row - 1, column), (row + 1, column))
        return [r * side + c for r, c in around if 0 <= r < side and 0 <= c < side]

    def visit(cell: int, time: int) -> None:
        times[cell] = time
        if time == cells - 1:
            found.append(times.copy())
        for following in neighbours(cell):
            if times[following] < 0:
                visit(following, time + 1)
        times[cell] = -1

    visit(0, 0)
    return np.array(found)


def shortest_ways(side: int) -> Int[np.ndarray, " cells"]:
    """Steps from the start to each cell."""
    return np.add.outer(np.arange(side), np.arange(side)).ravel()


def hunt_values(side: int, episodes: int = 1) -> HuntValues:
    """The best values for a treasure in one of the other cells; from the second episode on, the agent takes the shortest way.

    Raises:
        ValueError: there is no other cell, or no episode.
    """
    if side < 2 or episodes < 1:
        raise ValueError(f"a hunt needs a side of 2 or more and an episode, not {side} and {episodes}")
    steps = (covering_paths(side) + (episodes - 1) * shortest_ways(side))[:, 1:].astype(float)
    return HuntValues(float(steps.mean(axis=1).min()), float(steps.max(axis=1).min()), solve_game(steps).value)
