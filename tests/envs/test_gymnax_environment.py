"""Environments in the manner of gymnax as ours: both forms of step, ends of episodes, and mistakes in the user's words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.envs import KeyToDoor
from mesocosm.envs.gymnax_environment import GymnaxEnvironment
from mesocosm.envs.key_to_door import OPEN_DOOR, PICK_LEFT, PICK_RIGHT, TAKE_KEY

INNER = KeyToDoor(6)


class Legacy:
    """The same environment with five values."""

    num_actions = 4

    def reset(self, key, params=None):
        return INNER.reset(key, params)

    def step(self, key, state, action, params=None):
        seen, after, reward, terminated, truncated, info = INNER.step(key, state, action, params)
        return seen, after, reward, terminated | truncated, info


def play(env, params=None, plan=(TAKE_KEY, PICK_LEFT, PICK_RIGHT, PICK_LEFT, OPEN_DOOR, TAKE_KEY)):
    chances = jnp.eye(4)[jnp.array(plan)]
    return env.episode(jax.random.key(3), lambda state: chances[state.time], params)


@pytest.mark.whole
@pytest.mark.parametrize("inner", [INNER, Legacy()], ids=["six values", "five values"])
def test_an_episode_is_that_of_the_environment_inside(inner):
    env = GymnaxEnvironment(inner, steps=9)
    params = env.params(INNER.params(layout=5))
    episode = play(env, params, (*(TAKE_KEY, PICK_LEFT, PICK_RIGHT, PICK_LEFT, OPEN_DOOR, TAKE_KEY), 0, 0, 0))
    wanted = INNER.params(layout=5)
    assert episode.taken.tolist() == [True] * 6 + [False] * 3
    assert np.flatnonzero(episode.terminated).tolist() == [5]
    assert not episode.truncated.any()
    assert episode.rewards[5] == pytest.approx(float(wanted.treasure))
    assert not episode.rewards[6:].any()
    seen = jax.vmap(INNER.observe, in_axes=(0, None))(jax.tree.map(lambda leaf: leaf[:6], episode.states.inner), wanted)
    np.testing.assert_allclose(episode.observations[:6], seen)
    for t, action in ((1, PICK_LEFT), (2, PICK_RIGHT), (3, PICK_LEFT)):
        state = jax.tree.map(lambda leaf, t=t: leaf[t], episode.states.inner)
        possible = [float(INNER.reward(state, action, large, wanted)) for large in (False, True)]
        assert min(abs(float(episode.rewards[t]) - value) for value in possible) < 1e-6


def test_a_time_limit_of_ones_own_cuts_off():
    episode = play(GymnaxEnvironment(INNER, steps=3))
    assert episode.actions.shape == (3,)
    assert np.flatnonzero(episode.truncated).tolist() == [2]
    assert not episode.terminated.any()


def test_a_time_limit_of_the_environment_inside_counts_as_an_end():
    class Limited(Legacy):
        def step(self, key, state, action, params=None):
            seen, after, reward, _, info = super().step(key, state, action, params)
            return seen, after, reward, False, after.time == 2, info

    episode = play(GymnaxEnvironment(Limited(), steps=6))
    assert episode.taken.tolist() == [True] * 2 + [False] * 4
    assert np.flatnonzero(episode.terminated).tolist() == [1]


def test_what_does_not_fit_is_told():
    class Nothing:
        pass

    class Three(Legacy):
        def step(self, key, state, action, params=None):
            return super().step(key, state, action, params)[:3]

    with pytest.raises(ValueError, match="Nothing has no reset and no step"):
        GymnaxEnvironment(Nothing(), steps=3)
    for number in (None, 1, 2.5):
        with pytest.raises(ValueError, match=f"Legacy has {number} actions; they must be the numbers"):
            GymnaxEnvironment(type("Legacy", (Legacy,), {"num_actions": number})(), steps=3)
    with pytest.raises(ValueError, match="one or more steps, not 0"):
        GymnaxEnvironment(INNER, steps=0)
    with pytest.raises(ValueError, match="step of Three returns 3 values"):
        play(GymnaxEnvironment(Three(), steps=6))
    assert GymnaxEnvironment(Legacy(), steps=6).observation_space(GymnaxEnvironment(Legacy(), steps=6).default_params).shape == (9,)
