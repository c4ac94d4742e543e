"""Demonstrations of optimal agents, a batch in one program, against NumPy in a Python loop over episodes and steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.envs.goal_maze import GoalMaze, Maze
from mesocosm.envs.preference_grid import MOVES, PreferenceGrid, PreferenceParams
from mesocosm.numerics import programs
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "demonstrations"
TITLE = "demonstrations of optimal agents for each task, with dynamic programming or along shortest paths"
LOOP = "NumPy, a Python loop over episodes and steps"
AUTHORS = {"preferences": 45_000, "goals": 37_000}
"""Steps in a second of the authors' public code on two cores of such a machine, for goals without padding."""
FASTER = 5
LIMIT = "On one core, a step costs the writing of its observation, hundreds of numbers"


@dataclass(frozen=True)
class Size:
    """Episodes, and seconds of timing."""

    episodes: int
    seconds: float


SIZES = {"tiny": Size(4, 0.0), "small": Size(64, 1.0), "full": Size(512, 5.0)}


def cases(sizes: str) -> Sequence[Case]:
    """Both worlds at the paper's size."""
    return [Case(world, SIZES[sizes].episodes, partial(compare, SIZES[sizes])) for world, compare in (("preferences", preferences), ("goals", goals))]


# --- preferences -------------------------------------------------------------------------------------------------------


def preferences(size: Size) -> list[Row]:
    """Four rooms, four objects of eight colours, a mixture of eight preferences for each episode. Compared are the first observations and values; later ones
    depend on which of equal values is rounded up."""
    grid, generator = PreferenceGrid(), np.random.default_rng(0)
    tastes = jnp.asarray(generator.standard_normal((8, grid.colours)), jnp.float32)
    codes = jnp.asarray(generator.uniform(0.5, 1.0, (size.episodes, 8)) * (generator.random((size.episodes, 8)) < 0.3), jnp.float32)
    keys = jax.random.split(jax.random.key(0), size.episodes)
    params = PreferenceParams(tastes, codes[0])

    def with_code(function: Callable[..., Any], key: Any, code: Any) -> Any:
        return function(key, PreferenceParams(tastes, code))

    shown = programs.jit(jax.vmap(partial(with_code, grid.demonstrate)))
    states = jax.tree.map(np.asarray, jax.jit(jax.vmap(partial(with_code, grid.reset_env)))(keys, codes)[1])
    values, steps = np.asarray(codes @ tastes), np.array(_places_after(grid))
    length = params.max_steps_in_episode

    def loop() -> Any:
        episodes = [
            preference_by_hand(grid, steps, place, cells, colours, worth[colours], length)
            for place, cells, colours, worth in zip(states.place, states.cells, states.colours, values, strict=True)
        ]
        return [np.stack(part) for part in zip(*episodes, strict=True)]

    ours = Contender("mesocosm", lambda: jax.block_until_ready(shown(keys, codes)), lambda found: [np.asarray(part)[:, 0] for part in found[:2]])
    theirs = Contender(LOOP, loop, lambda found: [found[0][:, 0], found[1][:, 0]], note="The loop starts from given states; ours draws them too")
    text = f"{size.episodes} episodes of {length} steps, four rooms, {grid.objects} objects"
    return [_comparison("preferences", text, size, size.episodes * length).timed(ours, theirs, lambda given: _reference(theirs, given))]


def preference_by_hand(grid: PreferenceGrid, steps: Any, place: int, cells: Any, colours: Any, worth: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """An episode: optimal values for all cells and sets of objects, then the walk."""
    sets, bits = np.arange(2**grid.objects), 2 ** np.arange(grid.objects)
    gain, after = np.zeros((len(steps), len(sets)), np.float32), np.tile(sets, (len(steps), 1))
    for cell, bit, value in zip(cells, bits, worth, strict=True):
        gain[cell], after[cell] = np.where(sets & bit, value, 0), sets & ~bit
    entering, staying = gain, np.zeros_like(gain)
    for _ in range(length - 1):
        best = np.maximum(entering[steps].max(axis=1), staying)
        entering, staying = gain + np.float32(0.9) * np.take_along_axis(best, after, axis=1), np.float32(0.9) * best
    table = np.concatenate([staying[:, :, None], np.moveaxis(entering[steps], 1, 2)], axis=2)
    rows, columns = len(grid.layout), len(grid.layout[0])
    flat, walls = grid.cells @ np.array([columns, 1]), np.array([square == "#" for row in grid.layout for square in row])
    remaining, seen, found = len(sets) - 1, [], []
    for _ in range(length):
        picture = np.zeros((rows * columns, grid.colours + 2), np.float32)
        picture[walls, -1] = picture[flat[place], -2] = 1
        for cell, colour, bit in zip(cells, colours, bits, strict=True):
            picture[flat[cell], colour] += bool(remaining & bit)
        seen.append(picture.ravel())
        found.append(table[place, remaining])
        action = int(np.argmax(found[-1]))
        place = steps[place, action - 1] if action else place
        remaining = after[place, remaining]
    return np.stack(seen), np.stack(found)


def _places_after(grid: PreferenceGrid) -> list[list[int]]:
    """The cell after each move."""
    number = {tuple(cell): index for index, cell in enumerate(grid.cells.tolist())}
    return [[number.get((row + down, column + right), index) for down, right in MOVES[1:]] for (row, column), index in number.items()]


# --- goals -------------------------------------------------------------------------------------------------------------


def goals(size: Size) -> list[Row]:
    """A maze of 121 cells with four distractors. Compared are all observations and actions before the end."""
    rules = GoalMaze()
    params = rules.params(Maze.draw(rules.side, seed=0))
    keys = jax.random.split(jax.random.key(0), size.episodes)
    shown = programs.jit(jax.vmap(lambda key: rules.demonstrate(key, params)))
    states = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: rules.reset_env(key, params)[1]))(keys))
    maze = jax.tree.map(np.asarray, params.maze)
    taken = int(maze.distances[states.goal, states.place].sum()) + size.episodes

    def loop() -> list[tuple[np.ndarray, np.ndarray]]:
        return [goal_by_hand(rules, maze, int(params.kind), *each) for each in zip(*states[1:], strict=True)]

    def joined(found: Any) -> list[np.ndarray]:
        return [np.concatenate(part) for part in zip(*found, strict=True)]

    def chosen(found: Any) -> list[np.ndarray]:
        before = np.asarray(found.taken)
        return [np.asarray(found.observations)[before], np.asarray(found.actions)[before]]

    ours = Contender("mesocosm", lambda: jax.block_until_ready(shown(keys)), chosen)
    theirs = Contender(LOOP, loop, joined, note="The loop starts from given states and looks up distances, as ours does")
    text = f"{size.episodes} episodes, {taken} steps without padding, {rules.side} x {rules.side} cells"
    return [_comparison("goals", text, size, taken).timed(ours, theirs, lambda given: _reference(theirs, given))]


def goal_by_hand(rules: GoalMaze, maze: Any, kind: int, place: int, goal: int, distractors: Any, kinds: Any) -> tuple[np.ndarray, np.ndarray]:
    """An episode along a shortest path, then the first interaction."""
    moves, seen, actions = (-rules.side, 1, rules.side, -1), [], []
    for _ in range(int(maze.distances[goal, place]) + 1):
        picture = np.zeros((rules.side**2, rules.kinds + 2), np.float32)
        picture[goal, kind] = picture[distractors, kinds] = picture[place, -1] = 1
        picture[:, rules.kinds] = maze.walls.ravel()
        seen.append(picture.ravel())
        actions.append(4 if place == goal else int(maze.toward[goal, place]))
        place = place + moves[actions[-1]] if place != goal else place
    return np.stack(seen), np.array(actions)


# --- rows --------------------------------------------------------------------------------------------------------------


def _comparison(case: str, text: str, size: Size, steps: int) -> Comparison:
    """With the aim of five times the authors' steps in a second."""
    return Comparison(NAME, case, text, size.seconds, Target("ours", "≤", float(f"{steps / (FASTER * AUTHORS[case]):.3g}")), LIMIT)


def _reference(loop: Contender, given: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """What the loop finds."""
    return loop.answer(loop.run())


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
