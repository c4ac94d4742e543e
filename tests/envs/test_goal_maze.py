"""Mazes and goals: connected mazes, shortest paths against a search of our own, demonstrations that obey the rules and succeed."""

from collections import deque
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.envs import GoalMaze, Maze
from mesocosm.envs.goal_maze import MOVES
from mesocosm.numerics.programs import jit

ENV = GoalMaze()
SMALL = GoalMaze(side=7, kinds=3, distractors=2)
KEY = jax.random.key(0)


def searched(walls, goal):
    """Distances to a cell by breadth-first search."""
    side, found, queue = len(walls), {goal: 0}, deque([goal])
    while queue:
        row, column = queue.popleft()
        for down, right in MOVES:
            cell = (row + down, column + right)
            if 0 <= cell[0] < side and 0 <= cell[1] < side and not walls[cell] and cell not in found:
                found[cell] = found[row, column] + 1
                queue.append(cell)
    return found


@pytest.mark.parametrize("side", [7, 11])
@pytest.mark.parametrize("seed", range(4))
def test_mazes_are_connected_and_their_distances_those_of_a_search(side, seed):
    maze = Maze.draw(side, seed=seed)
    np.testing.assert_array_equal(maze.walls, Maze.draw(side, seed=seed).walls)
    free = [tuple(cell) for cell in np.argwhere(~maze.walls)]
    assert side**2 / 3 < len(free) < side**2
    for goal in free[:: max(1, len(free) // 6)]:
        found = searched(maze.walls, goal)
        assert set(found) == set(free)
        distances = maze.distances[goal[0] * side + goal[1]].reshape(side, side)
        assert {cell: distances[cell] for cell in free} == found
        assert max(found.values()) >= side
        for cell in free:
            if cell != goal:
                action = maze.toward[goal[0] * side + goal[1], cell[0] * side + cell[1]]
                closer = [a for a, (down, right) in enumerate(MOVES) if found.get((cell[0] + down, cell[1] + right)) == found[cell] - 1]
                assert action == closer[0]
    assert (maze.distances[maze.walls.ravel()] == -1).all()
    assert any((Maze.draw(side, seed=seed).walls != Maze.draw(side, seed=100 + other).walls).any() for other in range(3))


@partial(jit, static_argnums=0)
def demonstrate(env, keys, params):
    return jax.vmap(env.demonstrate, in_axes=(0, None))(keys, params)


@partial(jit, static_argnums=0)
def follow(env, key, params, actions):
    """The first observation and state, and what each action leads to."""
    first, state = env.reset_env(key, params)

    def step(state, action):
        seen, after, reward, ended, _ = env.step_env(key, state, action, params)
        return after, (seen, reward, ended, after.place == state.place)

    return first, state, jax.lax.scan(step, state, actions)[1]


@pytest.mark.parametrize("env", [ENV, SMALL], ids=["11", "7"])
@pytest.mark.parametrize("quadrant", range(4))
def test_demonstrations_reach_the_goal_by_the_rules(env, quadrant):
    params = env.params(Maze.draw(env.side, seed=3), quadrant, interaction=quadrant % 2, kind=1)
    keys = jax.random.split(jax.random.fold_in(KEY, quadrant), 20)
    demonstrations = jax.tree.map(np.asarray, demonstrate(env, keys, params))
    half = (env.side + 1) // 2
    for key, observations, actions, taken in zip(keys, *demonstrations, strict=True):
        first, state, (seen, rewards, ended, stayed) = jax.tree.map(np.asarray, follow(env, key, params, actions))
        steps = int(taken.sum())
        assert taken[:steps].all()
        assert steps > env.side
        np.testing.assert_array_equal(rewards[:steps], [*[0.0] * (steps - 1), 1.0])
        np.testing.assert_array_equal(ended[:steps], [*[False] * (steps - 1), True])
        assert (actions[: steps - 1] < 4).all()
        assert not stayed[: steps - 1].any()  # no move into a wall
        assert actions[steps - 1] == 4 + quadrant % 2
        np.testing.assert_array_equal(observations[0], first)
        np.testing.assert_array_equal(observations[1:steps], seen[: steps - 1])
        row, column = divmod(int(state.goal), env.side)
        assert 2 * (row >= half) + (column >= half) == quadrant
        channels = observations[0].reshape(env.side, env.side, env.kinds + 2)
        assert channels[row, column, 1] == 1
        assert channels[..., 1].sum() == 1  # no distractor is of the goal's kind
        assert channels[..., : env.kinds].sum() == env.distractors + 1
        assert channels[..., -1].sum() == 1
        np.testing.assert_array_equal(channels[..., -2], params.maze.walls)
        assert not channels[..., :-2].any(axis=2)[params.maze.walls].any()
        assert channels[..., :-2].sum(axis=2).max() == 1


def test_the_wrong_interaction_and_the_right_one_elsewhere_do_nothing():
    params = SMALL.params(Maze.draw(7, seed=0), interaction=1)
    _, state = SMALL.reset(KEY, params)
    at_goal = state._replace(place=state.goal)
    for where, action, reward in ((at_goal, 5, 1.0), (at_goal, 4, 0.0), (state, 5, 0.0)):
        _, after, found, ended, _ = SMALL.step_env(KEY, where, jnp.int32(action), params)
        assert (float(found), bool(ended), int(after.place)) == (reward, reward == 1.0, int(where.place))


def test_all_free_cells_of_a_quadrant_are_goals_and_mazes_can_be_batched():
    mazes = [Maze.draw(7, seed=seed) for seed in range(3)]
    longest = max(maze.longest for maze in mazes) + 1
    tasks = [SMALL.params(maze, 3, max_steps=longest) for maze in mazes]
    batch = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *tasks)
    states = jit(jax.vmap(lambda params: jax.vmap(lambda key: SMALL.reset_env(key, params)[1])(jax.random.split(KEY, 400))))(batch)
    for maze, goals in zip(mazes, np.asarray(states.goal), strict=True):
        corner = np.zeros((7, 7), bool)
        corner[4:, 4:] = ~maze.walls[4:, 4:]
        np.testing.assert_array_equal(np.unique(goals), np.flatnonzero(corner))


def test_mistakes_are_named():
    maze = Maze.draw(7, seed=0)
    with pytest.raises(ValueError, match="quadrant must be from 0 to 3, not 4"):
        SMALL.params(maze, 4)
    with pytest.raises(ValueError, match="side of 7, the environment of 11"):
        ENV.params(maze)
    with pytest.raises(ValueError, match="odd sides, not 8"):
        Maze.draw(8, seed=0)
    with pytest.raises(ValueError, match="not connected"):
        Maze.of(np.eye(3, dtype=bool)[::-1])
    with pytest.raises(ValueError, match="no other is 7 steps away"):
        SMALL.params(Maze.of(np.zeros((7, 7), bool)))
