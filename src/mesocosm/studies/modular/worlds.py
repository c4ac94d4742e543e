"""A preference world and a goal world, and the path of an optimal agent in each, for the figure."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array

from mesocosm.envs.goal_maze import GoalMaze, Maze
from mesocosm.envs.preference_grid import PreferenceGrid
from mesocosm.studies.interface import Context, Tables

MAZE_SEED = 2020
CANDIDATES = 20


def draw_worlds(config: None, context: Context) -> Tables:
    """One demonstration in each world: what is in each cell at first, and where the agent is at each step."""
    grid, maze = PreferenceGrid(), GoalMaze()
    params = {"preference": (grid, grid.default_params), "goal": (maze, maze.params(Maze.draw(maze.side, seed=MAZE_SEED)))}
    cells, paths = [], []
    for name, (world, given) in params.items():
        shown = context.evaluate(Partial(_demonstrate, world), shared=(given, jax.random.key_data(context.evaluation_key)))
        side = len(grid.layout) if name == "preference" else maze.side
        kinds = grid.colours if name == "preference" else maze.kinds
        agent, walls = (kinds, kinds + 1) if name == "preference" else (kinds + 1, kinds)
        pictures = np.asarray(shown.observations).reshape(len(context.seeds), -1, side**2, kinds + 2)
        objects = pictures[:, 0, :, :kinds]
        what = np.where(objects.any(axis=2), objects.argmax(axis=2), np.where(pictures[:, 0, :, walls] > 0, WALL, EMPTY))
        cells.append(context.rows({"cell": range(side**2)}, world=name, side=side, what=what))
        path = context.rows({"time": range(pictures.shape[1])}, world=name, side=side, cell=pictures[..., agent].argmax(axis=2), taken=shown.taken)
        paths.append(path.filter("taken"))
    return {"cells": pl.concat(cells), "paths": pl.concat(paths)}


WALL, EMPTY = -1, -2
"""In a cell without an object."""


def _demonstrate(world: Any, params: Any, key: Array) -> Any:
    """The longest of some demonstrations."""
    found = jax.vmap(world.demonstrate, in_axes=(0, None))(jax.random.split(jax.random.wrap_key_data(key), CANDIDATES), params)
    longest = jnp.argmax(jnp.sum(found.taken, axis=1))
    return jax.tree.map(lambda leaf: leaf[longest], found)
