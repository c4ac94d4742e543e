"""Episodes of Gymnasium's vectors: what is recorded, what is padded, and a bandit that is learned."""

from typing import ClassVar

import equinox as eqx
import jax
import numpy as np
import pytest

from mesocosm.learning.credit_learner import credit_learner
from mesocosm.learning.gymnasium_episodes import play, train
from mesocosm.learning.learned_credit import LearnedQCritic

gymnasium = pytest.importorskip("gymnasium")


class Countdown(gymnasium.Env):
    """Ends after two or four steps, as the seed says; each step is worth the action, and one more at the end."""

    observation_space = gymnasium.spaces.Box(0.0, 9.0, (2,))
    action_space = gymnasium.spaces.Discrete(3)
    metadata: ClassVar = {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.length = int(self.np_random.choice([2, 4]))
        return self.seen(), {}

    def seen(self):
        return np.array([self.left, self.length], np.float32)

    def step(self, action):
        self.left -= 1
        return self.seen(), float(action) + (self.left == 0), self.left == 0, False, {}


def test_episodes_are_recorded_until_they_end():
    envs = gymnasium.vector.SyncVectorEnv([Countdown] * 6)
    batch = play(envs, lambda seen: np.eye(3)[np.full(len(seen), 2)], 5, np.random.default_rng(0))
    lengths = batch.observations[:, 0, 1].astype(int)
    assert set(lengths) == {2, 4}
    assert batch.observations.shape == (6, 5, 2)
    np.testing.assert_array_equal(batch.taken, np.arange(5) < lengths[:, None])
    np.testing.assert_array_equal(batch.rewards.sum(axis=1), 2 * lengths + 1)
    for row, length in zip(batch.observations, lengths, strict=True):
        np.testing.assert_array_equal(row[:length, 0], np.arange(length, 0, -1))
    assert (batch.actions[batch.taken] == 2).all()
    cut = play(envs, lambda seen: np.eye(3)[np.zeros(len(seen), int)], 3, np.random.default_rng(0))
    assert cut.taken.shape == (6, 3)
    again = play(envs, lambda seen: np.full((len(seen), 3), 1 / 3), 5, np.random.default_rng(0))
    assert set(again.actions[again.taken]) == {0, 1, 2}


def test_what_is_no_vector_of_environments_is_told():
    with pytest.raises(ValueError, match="make_vec"):
        play(Countdown(), np.asarray, 3, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.full((6, 2), 0.5), r"6 environments with 3 actions need probabilities of shape \(6, 3\), not \(6, 2\)"),
        (np.full((5, 3), 1 / 3), r"not \(5, 3\)"),
        (np.zeros((6, 3)), "sum to 1"),
        (np.tile([1.5, -0.5, 0.0], (6, 1)), "must not be negative"),
        (np.full((6, 3), np.nan), "sum to 1"),
    ],
)
def test_what_are_no_probabilities_is_told(given, told):
    with pytest.raises(ValueError, match=told):
        play(gymnasium.vector.SyncVectorEnv([Countdown] * 6), lambda seen: given, 3, np.random.default_rng(0))


class Broken(Countdown):
    """Its second reward is not a number; so is what comes after the end."""

    def step(self, action):
        seen, reward, ended, *rest = super().step(action)
        return seen, np.nan if self.left == self.length - 2 else reward, ended, *rest


class Named(Countdown):
    """Its observations are not arrays."""

    observation_space = gymnasium.spaces.Dict({"left": gymnasium.spaces.Discrete(5)})

    def seen(self):
        return {"left": self.left}


def uniform(seen):
    return np.full((len(seen), 3), 1 / 3)


def test_a_reward_that_is_not_finite_is_told():
    with pytest.raises(ValueError, match="at step 1, one is nan"):
        play(gymnasium.vector.SyncVectorEnv([Broken] * 4), uniform, 4, np.random.default_rng(0))
    play(gymnasium.vector.SyncVectorEnv([Broken] * 4), uniform, 1, np.random.default_rng(0))


def test_observations_that_are_no_arrays_are_told():
    with pytest.raises(ValueError, match="observations must be arrays, not Dict"):
        play(gymnasium.vector.SyncVectorEnv([Named] * 4), uniform, 4, np.random.default_rng(0))


def test_a_credit_for_another_number_of_actions_is_told():
    learner = credit_learner(policy, LearnedQCritic(2, 4, width=16))
    with pytest.raises(ValueError, match="LearnedQCritic was made for 4 actions; the vector's environment has 3"):
        train(learner, gymnasium.vector.SyncVectorEnv([Countdown] * 2), 1, 4)


class CutOff(Countdown):
    """Is cut off instead, after one step."""

    def step(self, action):
        seen, reward, *_ = super().step(action)
        return seen, reward, False, True, {}


def test_an_episode_that_is_cut_off_has_ended():
    batch = play(gymnasium.vector.SyncVectorEnv([CutOff] * 3), lambda seen: np.full((3, 3), 1 / 3), 4, np.random.default_rng(0))
    np.testing.assert_array_equal(batch.taken, np.arange(4) < np.ones((3, 1)))


def test_actions_have_their_probabilities_and_every_batch_is_another():
    """6000 draws; two batches of one generator differ, and the same generator gives the same."""
    envs, chances = gymnasium.vector.SyncVectorEnv([Countdown] * 6), np.array([0.2, 0.7, 0.1])
    draw = np.random.default_rng(0)
    batches = [play(envs, lambda seen: np.tile(chances, (6, 1)), 4, draw) for _ in range(300)]
    actions = np.concatenate([batch.actions[batch.taken] for batch in batches])
    np.testing.assert_allclose(np.bincount(actions, minlength=3) / len(actions), chances, atol=0.03)
    assert len({batch.taken.sum(axis=1).tobytes() for batch in batches[:20]}) > 5
    again = play(envs, lambda seen: np.tile(chances, (6, 1)), 4, np.random.default_rng(0))
    for mine, first in zip(again, batches[0], strict=True):
        np.testing.assert_array_equal(mine, first)


def policy(key):
    return eqx.nn.MLP(2, 3, 8, 1, key=key)


@pytest.mark.whole
def test_a_policy_learns_in_gymnasium():
    envs = gymnasium.vector.SyncVectorEnv([Countdown] * 8)
    learner = credit_learner(policy, LearnedQCritic(2, 3, width=16), learning_rate=5e-3, credit_learning_rate=0.02, entropy=0.3)
    state, returns = train(learner, envs, 150, 4)
    assert returns[-10:].mean() > returns[:10].mean() + 1.0
    further, _ = train(learner, envs, 1, 4, state=state)
    moved = [np.abs(a - b).max() for a, b in zip(*(jax.tree.leaves(eqx.filter(s.policy.model, eqx.is_array)) for s in (state, further)), strict=True)]
    assert max(moved) > 0
