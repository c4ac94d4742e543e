"""Mazes in which a goal has four parts: which quadrant, which maze, which object to go to, and which interaction to perform there.

Goals are compositional: an agent that knows every quadrant, maze, object and interaction can reach goals that combine them anew. Shortest paths come from a
search of each maze, so that a demonstration is a walk through tables.

Reference: Schug et al., "Discovering modular solutions that generalize compositionally" (2024), Sec. 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy.sparse.csgraph import shortest_path

from mesocosm.envs.environment import Box, Environment

UP, RIGHT, DOWN, LEFT = range(4)
MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
QUADRANTS = ("top left", "top right", "bottom left", "bottom right")


class Maze(NamedTuple):
    """A maze and the shortest paths in it; cells are numbered row by row.

    Attributes:
        walls: where walls are.
        distances: steps between any two free cells, -1 where a wall is one of them.
        toward: [goal, cell] -> the first of up, right, down and left that leads closer to the goal; 0 at the goal and in walls.
    """

    walls: Bool[np.ndarray, "side side"] | Bool[Array, "side side"]
    distances: Int[np.ndarray, "cells cells"] | Int[Array, "cells cells"]
    toward: Int[np.ndarray, "cells cells"] | Int[Array, "cells cells"]

    @classmethod
    def of(cls, walls: Bool[np.ndarray, "side side"]) -> Maze:
        """Find all shortest paths.

        Raises:
            ValueError: the maze is not square, or its free cells are not connected.
        """
        side = len(walls)
        if walls.shape != (side, side):
            raise ValueError(f"a maze is square, not {walls.shape[0]} x {walls.shape[1]}")
        after, free = _after(walls), ~walls.ravel()
        graph = np.zeros((side**2, side**2))
        for action in range(4):
            graph[np.arange(side**2), after[:, action]] = 1
        found = shortest_path(graph * (free[:, None] & free) * (1 - np.eye(side**2)), unweighted=True)
        if np.isinf(found[np.ix_(free, free)]).any():
            raise ValueError("the free cells of the maze are not connected")
        distances = np.where(free[:, None] & free, found, -1).astype(np.int16)
        closer = (distances[:, after] < distances[:, :, None]) & (distances > 0)[:, :, None]
        return cls(walls, distances, np.argmax(closer, axis=2).astype(np.int8))

    @classmethod
    def draw(cls, side: int, *, seed: int) -> Maze:
        """A random maze with an odd side, by growing walls from random posts (the generator of the paper's code).

        Raises:
            ValueError: the side is not odd.
        """
        if side % 2 == 0:
            raise ValueError(f"mazes have odd sides, not {side}")
        random, outer = np.random.default_rng(seed), side + 2
        walls = np.zeros((outer, outer), bool)
        walls[[0, -1]] = walls[:, [0, -1]] = True
        for _ in range(int(0.75 * (outer // 2) ** 2)):
            x, y = (int(2 * random.integers(0, outer // 2 + 1)) for _ in range(2))
            walls[y, x] = True
            for _ in range(int(0.75 * 5 * 2 * outer)):
                near = [(y, x - 2)] * (x > 1) + [(y, x + 2)] * (x < side) + [(y - 2, x)] * (y > 1) + [(y + 2, x)] * (y < side)
                row, column = near[random.integers(0, len(near))]
                if not walls[row, column]:
                    walls[row, column] = walls[(row + y) // 2, (column + x) // 2] = True
                    y, x = row, column
        return cls.of(walls[1:-1, 1:-1])

    @property
    def longest(self) -> int:
        """The largest distance."""
        return int(np.max(self.distances))


class GoalParams(eqx.Module):
    """A task: the parts of its goal.

    Attributes:
        maze: where.
        quadrant: the part of the maze that the goal is in, a number of `QUADRANTS`.
        interaction: what to do there.
        kind: the kind of object that stands there.
        max_steps_in_episode: the time limit.
    """

    maze: Maze
    quadrant: int | Int[Array, ""]
    interaction: int | Int[Array, ""]
    kind: int | Int[Array, ""]
    max_steps_in_episode: int = eqx.field(static=True)


class GoalState(NamedTuple):
    """Where everything is.

    Attributes:
        time: steps so far.
        place: the agent's cell.
        goal: the cell of the goal and its object.
        distractors: the cells of the other objects.
        kinds: their kinds.
    """

    time: Int[Array, ""]
    place: Int[Array, ""]
    goal: Int[Array, ""]
    distractors: Int[Array, " distractors"]
    kinds: Int[Array, " distractors"]


class GoalDemonstration(NamedTuple):
    """A shortest path to the goal, and the interaction.

    Attributes:
        observations: what the agent saw at each step.
        actions: what it did.
        taken: whether the episode had not ended before the step.
    """

    observations: Float[Array, "time features"]
    actions: Int[Array, " time"]
    taken: Bool[Array, " time"]


@dataclass(frozen=True)
class GoalMaze(Environment[GoalState, GoalParams]):
    """Move up, right, down or left, or interact (actions 4, 5, ...); the right interaction at the goal ends the episode with reward 1.

    A move into a wall and a wrong interaction do nothing. The agent starts at least `side` steps from the goal. Distractors are objects of other kinds, in
    cells of their own, neither the goal's nor the agent's first.

    Attributes:
        side: rows and columns of the maze.
        interactions: number of interactions.
        kinds: number of kinds of objects.
        distractors: number of distractors.
    """

    side: int = 11
    interactions: int = 2
    kinds: int = 5
    distractors: int = 4

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.kinds < 2 or min(self.interactions, self.distractors) < 1:
            raise ValueError(f"goals need 2 kinds of objects, an interaction and a distractor, not {self.kinds}, {self.interactions} and {self.distractors}")

    @property
    def num_actions(self) -> int:
        """Four moves and the interactions."""
        return 4 + self.interactions

    @property
    def default_params(self) -> GoalParams:
        """The first of everything, in a random maze."""
        return self.params(Maze.draw(self.side, seed=0))

    def params(self, maze: Maze, quadrant: int = 0, interaction: int = 0, kind: int = 0, *, max_steps: int | None = None) -> GoalParams:
        """A task.

        Args:
            maze, quadrant, interaction, kind: the parts of the goal.
            max_steps: the time limit; by default, the longest demonstration in this maze. Tasks in different mazes that are to be one batch need one limit.

        Raises:
            ValueError: there is no such part, or from some cell of the quadrant no other is `side` steps away.
        """
        for name, value, size in (("quadrant", quadrant, 4), ("interaction", interaction, self.interactions), ("kind", kind, self.kinds)):
            if not 0 <= value < size:
                raise ValueError(f"the {name} must be from 0 to {size - 1}, not {value}")
        if len(maze.walls) != self.side:
            raise ValueError(f"the maze has a side of {len(maze.walls)}, the environment of {self.side}")
        free = ~np.asarray(maze.walls).ravel()
        if np.max(maze.distances, axis=1)[free].min() < self.side:
            raise ValueError(f"from some cell of the maze, no other is {self.side} steps away")
        if not (free & (_quadrants(self.side) == quadrant)).any():
            raise ValueError(f"quadrant {quadrant} of the maze has no free cell")
        return GoalParams(maze, quadrant, interaction, kind, maze.longest + 1 if max_steps is None else max_steps)

    # --- rules

    def reset_env(self, key: PRNGKeyArray, params: GoalParams) -> tuple[Array, GoalState]:
        """A goal in the quadrant, a start far away, and distractors elsewhere."""
        goal_key, place_key, cell_key, kind_key = jax.random.split(key, 4)
        maze = params.maze
        free = ~jnp.asarray(maze.walls).ravel()
        goal = _any_of(goal_key, free & (_quadrants(self.side) == params.quadrant))
        place = _any_of(place_key, jnp.asarray(maze.distances)[goal] >= self.side)
        cells = jnp.arange(self.side**2)
        elsewhere = free & (cells != goal) & (cells != place)
        distractors = jax.lax.top_k(jnp.where(elsewhere, jax.random.uniform(cell_key, cells.shape), -1.0), self.distractors)[1].astype(jnp.int32)
        kinds = jax.random.randint(kind_key, (self.distractors,), 0, self.kinds - 1)
        state = GoalState(jnp.int32(0), place, goal, distractors, kinds + (kinds >= params.kind))
        return self.observe(state, params), state

    def step_env(self, key: PRNGKeyArray, state: GoalState, action: Any, params: GoalParams) -> tuple[Array, GoalState, Array, Array, dict[str, Any]]:
        """Move or interact."""
        after = state._replace(time=state.time + 1, place=self._move(state.place, action, params))
        reached = (state.place == state.goal) & (action == 4 + params.interaction)
        return self.observe(after, params), after, reached.astype(float), reached, {}

    def observe(self, state: GoalState, params: GoalParams) -> Float[Array, " features"]:
        """Rows, columns and channels, flattened: objects by kind, walls, the agent."""
        return self._observations(state, state.place[None], params)[0]

    def observation_space(self, params: GoalParams) -> Box:
        """Zeros and ones."""
        return Box(0.0, 1.0, (self.side**2 * (self.kinds + 2),))

    def demonstrate(self, key: PRNGKeyArray, params: GoalParams) -> GoalDemonstration:
        """The shortest path (of equals, the one that prefers up, then right, then down), then the interaction."""
        state = self.reset_env(key, params)[1]
        toward = jnp.asarray(params.maze.toward)[state.goal]

        def step(place: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
            action = jnp.where(place == state.goal, 4 + params.interaction, toward[place])
            return self._move(place, action, params), (place, action)

        _, (places, actions) = jax.lax.scan(step, state.place, length=params.max_steps_in_episode)
        steps = jnp.asarray(params.maze.distances)[state.goal, state.place]
        return GoalDemonstration(self._observations(state, places, params), actions, jnp.arange(len(places)) <= steps)

    def _move(self, place: Any, action: Any, params: GoalParams) -> Int[Array, ""]:
        row, column = jnp.divmod(place, self.side)
        down, right = jnp.asarray(np.concatenate([MOVES, np.zeros((self.interactions, 2), int)]))[action]
        row, column = jnp.clip(row + down, 0, self.side - 1), jnp.clip(column + right, 0, self.side - 1)
        return jnp.where(jnp.asarray(params.maze.walls)[row, column], place, row * self.side + column).astype(jnp.int32)

    def _observations(self, state: GoalState, places: Int[Array, " time"], params: GoalParams) -> Float[Array, "time features"]:
        """The observations with the agent in each of these cells, all else equal."""
        cells = self.side**2
        objects = jnp.append(state.distractors, state.goal), jnp.append(state.kinds, params.kind)
        fixed = jnp.zeros((cells, self.kinds + 2)).at[objects].set(1.0)
        fixed = fixed.at[:, self.kinds].set(jnp.asarray(params.maze.walls, float).ravel())
        agent = places * (self.kinds + 2) + self.kinds + 1
        return jnp.broadcast_to(fixed.ravel(), (len(places), fixed.size)).at[jnp.arange(len(places)), agent].set(1.0)


def _after(walls: Bool[np.ndarray, "side side"]) -> Int[np.ndarray, "cells 4"]:
    """The cell after each move from each cell."""
    side = len(walls)
    at = np.stack(np.divmod(np.arange(side**2), side), axis=1)
    to = np.clip(at[:, None] + MOVES, 0, side - 1)
    moved = to[..., 0] * side + to[..., 1]
    return np.where(walls.ravel()[moved], np.arange(side**2)[:, None], moved)


def _quadrants(side: int) -> Int[np.ndarray, " cells"]:
    """The quadrant of each cell; the first half of an odd side is the larger one."""
    row, column = np.divmod(np.arange(side**2), side) >= np.array((side + 1) // 2)
    return 2 * row + column


def _any_of(key: PRNGKeyArray, cells: Bool[Array, " cells"]) -> Int[Array, ""]:
    """One of the marked cells, all with equal probability."""
    return jnp.argmax(jnp.where(cells, jax.random.uniform(key, cells.shape), -1.0)).astype(jnp.int32)
