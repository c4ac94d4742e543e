"""The treasure grid: scripted walks with known costs, and one walk for all treasures against a hunt for each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.grid_hunts import shortest_ways
from mesocosm.envs import TreasureGrid
from mesocosm.envs.treasure_grid import DOWN, LEFT, RIGHT, UP

SNAKE = [*[RIGHT] * 4, UP, *[LEFT] * 4, UP, *[RIGHT] * 4, UP, *[LEFT] * 4, UP, *[RIGHT] * 4, UP]


def snake(memory, observation):
    """Follow the snake; once the treasure is found, go straight to it, first right and then up."""
    time, target = memory
    row, column = jnp.argmax(observation[:5]), jnp.argmax(observation[5:10])
    found = observation[10] > 0
    target = jnp.where(found & (target < 0), row * 5 + column, target)
    at = jnp.where(found, 0, column)
    action = jnp.where(target >= 0, jnp.where(at < target % 5, RIGHT, UP), jnp.asarray(SNAKE)[jnp.minimum(time + 1, 24)])
    return (time + 1, target), jax.nn.one_hot(action, 4)


def first(action):
    return (jnp.int32(0), jnp.int32(-1)), jax.nn.one_hot(jnp.int32(action), 4)


def totals(grid, observe, memory, values):
    """First visits, and steps over two episodes."""
    walk = grid.explore(observe, memory, values)
    again = jax.vmap(lambda cell: grid.explore(observe, *grid.after_finding(observe, walk, cell)).first_visits[cell])(jnp.arange(grid.cells))
    return walk.first_visits, walk.first_visits + again


def test_a_snake_reaches_the_cells_one_after_the_other_and_then_knows_the_way():
    visits, both = totals(TreasureGrid(5), snake, *first(RIGHT))
    np.testing.assert_array_equal(np.sort(visits[1:]), np.arange(1, 25))
    assert float(jnp.mean(visits[1:])) == 12.5
    np.testing.assert_array_equal(both[1:] - visits[1:], shortest_ways(5)[1:])
    assert float(jnp.mean(both[1:])) == pytest.approx(16.667, abs=1e-3)


def test_a_hunt_that_finds_nothing_takes_all_the_time():
    leftwards = lambda memory, observation: (memory, jax.nn.one_hot(LEFT, 4))  # noqa: E731
    visits, both = totals(TreasureGrid(5), leftwards, *first(LEFT))
    np.testing.assert_array_equal(visits[1:], 25)
    np.testing.assert_array_equal(both[1:], 50)


def recurrent(side, key):
    """Random weights of an agent whose moves depend on all that it has observed."""
    keys = jax.random.split(key, 3)
    return [2 * jax.random.normal(k, shape) for k, shape in zip(keys, ((6, 6), (6, 2 * side + 1), (4, 6)), strict=True)]


def observe(weights, memory, observation):
    memory = jnp.tanh(weights[0] @ memory + weights[1] @ observation)
    return memory, weights[2] @ memory


@pytest.mark.parametrize(("side", "episodes"), [(3, 1), (3, 2)])
def test_one_walk_gives_what_a_hunt_for_each_treasure_gives(side, episodes):
    grid = TreasureGrid(side, episodes)
    params = grid.default_params

    def shared(weights):
        visits, both = totals(grid, lambda memory, seen: observe(weights, memory, seen), jnp.ones(6), weights[2] @ jnp.ones(6))
        return visits if episodes == 1 else both

    def single(weights, treasure):
        def step(carry, _):
            state, memory, values, running, reward = carry
            seen, after, gain, over, _ = grid.step_env(jax.random.key(0), state, jnp.argmax(values), params)
            state = jax.tree.map(lambda new, old: jnp.where(running, new, old), after, state)
            return (state, *observe(weights, memory, seen), running & ~over, reward + jnp.where(running, gain, 0.0)), None

        state = grid.reset_env(jax.random.key(0), params)[1]._replace(treasure=treasure)
        carry = (state, jnp.ones(6), weights[2] @ jnp.ones(6), jnp.array(True), jnp.zeros(()))
        (state, _, _, running, reward), _ = jax.lax.scan(step, carry, None, params.max_steps_in_episode)
        return state.time, running, reward

    weights = jax.vmap(lambda key: recurrent(side, key))(jax.random.split(jax.random.key(1), 40))
    one, (time, running, reward) = jax.jit(
        lambda weights: (jax.vmap(shared)(weights), jax.vmap(lambda w: jax.vmap(lambda cell: single(w, cell))(jnp.arange(1, grid.cells)))(weights))
    )(weights)
    np.testing.assert_array_equal(one[:, 1:], time)
    assert not running.any()
    assert len(np.unique(time)) > side  # agents that differ
    finds = np.round((np.asarray(reward) + 0.1 * time) / 1.1)
    np.testing.assert_allclose(reward, 1.1 * finds - 0.1 * time, atol=1e-5)
    assert set(np.unique(finds)) == set(range(episodes + 1))


def test_time_and_place_have_one_parity_unless_a_step_ends_at_the_edge():
    grid = TreasureGrid(4)
    generator = np.random.default_rng(0)
    for _ in range(20):
        place = jnp.int32(0)
        for time in range(1, 17):
            moves = [action for action in range(4) if grid.move(place, action) != place]
            assert len(moves) == 4 - ((place % 4 in (0, 3)) + (place // 4 in (0, 3)))
            place = grid.move(place, int(generator.choice(moves)))
            assert (int(place) // 4 + int(place) % 4 - time) % 2 == 0
    assert [int(grid.move(5, action)) for action in (LEFT, UP, RIGHT, DOWN)] == [4, 9, 6, 1]


def test_a_treasure_is_anywhere_but_at_the_start():
    grid = TreasureGrid(2)
    drawn = jax.vmap(lambda key: grid.reset(key)[1].treasure)(jax.random.split(jax.random.key(0), 300))
    assert np.bincount(drawn, minlength=4).min() == 0 == np.sum(drawn == 0)
    assert np.bincount(drawn, minlength=4)[1:].min() > 70
    with pytest.raises(ValueError, match="side of 2"):
        TreasureGrid(1)
