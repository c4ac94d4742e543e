"""The preference grid: its values against brute force over all actions, their symmetries, and demonstrations."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.envs import PreferenceGrid, PreferenceParams
from mesocosm.envs.preference_grid import FOUR_ROOMS, NOTHING, UP
from mesocosm.numerics.programs import jit

GRID = PreferenceGrid()
KEY = jax.random.key(0)


def task(key, horizon=8, modules=3):
    return PreferenceParams(jax.random.normal(key, (modules, GRID.colours)), jax.random.uniform(jax.random.fold_in(key, 1), (modules,)), 0.9, horizon)


def drawn(number, horizon=8):
    params = task(jax.random.fold_in(KEY, number), horizon)
    return GRID.reset(jax.random.fold_in(KEY, 100 + number), params)[1], params


values = jit(GRID.action_values)


def test_the_rooms():
    assert len(GRID.cells) == 19
    assert GRID.observation_space(GRID.default_params).shape == (490,)
    assert values(*drawn(0)).shape == (19, 16, 5)


@pytest.mark.parametrize("number", range(3))
def test_values_are_those_of_trying_every_action(number):
    state, params = drawn(number, horizon=5)
    colours, worth = np.asarray(state.colours), np.asarray(params.values)
    objects = {tuple(GRID.cells[cell]): j for j, cell in enumerate(np.asarray(state.cells))}

    @cache
    def q(place, left, action, steps):
        if steps == 0:
            return 0.0
        row, column = place[0] + (0, -1, 0, 1, 0)[action], place[1] + (0, 0, 1, 0, -1)[action]
        to = (row, column) if FOUR_ROOMS[row][column] == " " else place
        reward = 0.0
        if action != NOTHING and objects.get(to) in left:
            reward, left = float(worth[colours[objects[to]]]), left - {objects[to]}
        return reward + 0.9 * max(q(to, left, a, steps - 1) for a in range(5))

    found = np.asarray(values(state, params))
    for cell in range(19):
        for remaining in range(16):
            left = frozenset(j for j in range(4) if remaining >> j & 1)
            place = tuple(int(x) for x in GRID.cells[cell])
            if objects.get(place) not in left:  # nobody stands on an object that is still there
                np.testing.assert_allclose(found[cell, remaining], [q(place, left, a, 5) for a in range(5)], atol=1e-5)


def test_values_scale_with_the_code_and_are_convex_in_it():
    state, params = drawn(4)
    other = jax.random.normal(jax.random.fold_in(KEY, 9), (3,))

    def at(code):
        return np.asarray(values(state, PreferenceParams(params.preferences, code)))

    np.testing.assert_allclose(at(3 * params.code), 3 * at(params.code), atol=1e-5)
    assert (at((params.code + other) / 2) <= (at(params.code) + at(other)) / 2 + 1e-6).all()
    assert np.abs(at((params.code + other) / 2) - (at(params.code) + at(other)) / 2).max() > 1e-2


def test_one_step_is_the_reward_and_stopping_is_staying():
    state, params = drawn(5, horizon=1)
    once = np.asarray(values(state, params))[int(state.place), 15]
    rewards = [float(GRID.step_env(KEY, state, jnp.int32(action), params)[2]) for action in range(5)]
    np.testing.assert_allclose(once, rewards, atol=1e-6)
    seven, eight = (np.asarray(values(state, task(jax.random.fold_in(KEY, 5), horizon))) for horizon in (7, 8))
    np.testing.assert_allclose(eight[:, :, NOTHING], 0.9 * seven.max(axis=2), atol=1e-6)
    np.testing.assert_array_equal(eight[:, 0], 0)
    assert (eight[:, :, NOTHING] >= 0).all()


@pytest.mark.parametrize("number", [6, 7])
def test_a_demonstration_takes_the_best_actions_until_it_stops(number):
    params = task(jax.random.fold_in(KEY, number))
    demonstration = jit(GRID.demonstrate)(jax.random.fold_in(KEY, 200 + number), params)
    observation, state = GRID.reset(jax.random.fold_in(KEY, 200 + number), params)
    table = np.asarray(values(state, params))
    for time in range(8):
        best = table[int(state.place), sum(2**j for j in range(4) if state.available[j])]
        np.testing.assert_allclose(demonstration.values[time], best, atol=1e-6)
        np.testing.assert_array_equal(demonstration.observations[time], observation)
        assert demonstration.taken[time]
        observation, state, _, stopped, _ = GRID.step_env(KEY, state, jnp.int32(np.argmax(best)), params)
        if stopped:
            break
    assert not np.asarray(demonstration.taken)[time + 1 :].any()


def test_objects_are_consumed_once_and_everything_starts_apart():
    params = GRID.default_params
    states = jax.vmap(lambda key: GRID.reset(key, params)[1])(jax.random.split(KEY, 200))
    everyone = np.concatenate([np.asarray(states.place)[:, None], np.asarray(states.cells)], axis=1)
    assert all(len(set(row)) == 5 for row in everyone)
    assert np.bincount(everyone[:, 0], minlength=19).min() > 0
    assert np.bincount(np.asarray(states.colours).ravel(), minlength=8).min() > 50

    below = next(cell for cell in range(19) if (GRID.cells == GRID.cells[cell] - [1, 0]).all(axis=1).any())
    above = int(np.flatnonzero((GRID.cells == GRID.cells[below] - [1, 0]).all(axis=1))[0])
    state = GRID.reset(KEY, params)[1]._replace(place=jnp.int32(below), cells=jnp.array([above, 10, 11, 12]), colours=jnp.array([0, 7, 7, 7]))
    observation, after, reward, ended, _ = GRID.step_env(KEY, state, jnp.int32(UP), params)
    assert (float(reward), bool(ended)) == (1.0, False)
    again = GRID.step_env(KEY, after._replace(place=jnp.int32(below)), jnp.int32(UP), params)
    assert float(again[2]) == 0.0
    channels = np.asarray(observation).reshape(7, 7, 10)
    row, column = GRID.cells[above]
    assert channels[row, column, 8] == 1
    assert channels[row, column, 0] == 0
    assert channels[..., :8].sum() == 3
    np.testing.assert_array_equal(channels[..., 9], [[square == "#" for square in line] for line in FOUR_ROOMS])
    assert bool(GRID.step_env(KEY, state, jnp.int32(NOTHING), params)[3])


def test_a_grid_without_room_is_refused():
    with pytest.raises(ValueError, match="5 free cells; this one has 3"):
        PreferenceGrid(layout=("####", "#  #", "# ##", "####"))
