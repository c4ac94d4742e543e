"""The order in which things happen within a step of CleanUp-lite, and where an episode begins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.envs.clean_up import APPLE, CELLS, DIRT, EMPTY, LEFT, NOOP, ORCHARD, RIGHT, RIVER, ZAP, CleanUp, CleanUpState

KEYS = jax.random.split(jax.random.key(0), 500)


def many(env, places, contents, actions=(NOOP, NOOP), frozen=(0, 0)):
    """The same step with many draws."""
    filled = np.full(CELLS, EMPTY)
    for cell, what in contents.items():
        filled[cell] = what
    before = CleanUpState(jnp.int32(0), jnp.array(places), jnp.array(frozen), jnp.asarray(filled))
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: env.transition(key, before, jnp.array(actions))))(KEYS))


def test_the_dirt_of_this_step_counts_against_its_apple_and_what_is_cleaned_in_it_does_not():
    found = many(CleanUp(pollution=1.0), (1, 3), {3: DIRT, 7: DIRT})
    assert found.info["cleaned"][:, 1].all()
    assert (found.info["dirt"] == 3).all()
    assert not found.info["apples"].any()
    assert ((found.state.contents == DIRT).sum(axis=1) == 2).all()


def test_an_apple_that_grows_under_an_agent_is_harvested_at_once():
    """All other cells of the orchard are full, and there is no dirt."""
    full = {int(cell): APPLE for cell in np.flatnonzero(ORCHARD) if cell != 8}
    found = many(CleanUp(pollution=0.0), (8, 2), full)
    np.testing.assert_array_equal(found.rewards, np.tile([1, 0], (500, 1)))
    assert (found.info["apples"] == 5).all()
    assert (found.state.contents[:, 8] == EMPTY).all()


def test_who_is_hit_has_harvested_but_does_not_move_and_the_hit_is_written_to_the_victim():
    found = many(CleanUp(accuracy=1.0, pollution=0.0, freeze=3), (0, 1), {0: APPLE}, (RIGHT, ZAP))
    np.testing.assert_array_equal(found.rewards, np.tile([1, 0], (500, 1)))
    np.testing.assert_array_equal(found.info["hit"], np.tile([True, False], (500, 1)))
    np.testing.assert_array_equal(found.state.places, np.tile([0, 1], (500, 1)))
    np.testing.assert_array_equal(found.state.frozen, np.tile([2, 0], (500, 1)))


@pytest.mark.whole
def test_if_moves_come_first_a_zap_is_measured_after_them():
    away = {"places": (4, 6), "contents": {}, "actions": (ZAP, RIGHT)}
    assert many(CleanUp(accuracy=1.0), **away).info["hit"][:, 1].all()
    assert not many(CleanUp(accuracy=1.0, move_first=True), **away).info["hit"].any()
    towards = {"places": (4, 7), "contents": {}, "actions": (ZAP, LEFT)}
    assert not many(CleanUp(accuracy=1.0), **towards).info["hit"].any()
    assert many(CleanUp(accuracy=1.0, move_first=True), **towards).info["hit"][:, 1].all()
    assert (many(CleanUp(move_first=True), **towards, frozen=(0, 2)).state.places == [4, 7]).all()


def test_agents_begin_anywhere_and_apart_from_each_other_and_dirt_anywhere_in_the_river():
    starts = jax.jit(jax.vmap(CleanUp().start))(jax.random.split(jax.random.key(1), 4000))
    places = np.asarray(starts.places)
    for agent in range(2):
        np.testing.assert_allclose(np.bincount(places[:, agent], minlength=CELLS) / 4000, 1 / CELLS, atol=0.016)
    assert np.mean(places[:, 0] == places[:, 1]) < 0.07
    np.testing.assert_allclose(np.mean(np.asarray(starts.contents) == DIRT, axis=0), 0.6 * RIVER, atol=0.035)
    assert not starts.frozen.any()
    assert not starts.time.any()
