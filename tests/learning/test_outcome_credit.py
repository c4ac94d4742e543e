"""COCOA with other outcomes: each class against the form that it replaces, on random episodes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.envs import KeyToDoor
from mesocosm.learning.exact_credit import Steps
from mesocosm.learning.learned_credit import Experience, LearnedCocoa, LearnedCocoaOfPairs, LearnedHCA
from mesocosm.learning.outcome_credit import (
    LearnedCocoaOfOutcomes,
    LearnedCocoaOfStates,
    LearnedCocoaOfVectors,
    LearnedHCAOfStates,
    reachable_pairs,
)

BATCH, TIME, STATES, ACTIONS, FEATURES = 3, 6, 7, 3, 4
VALUES = (0.5, -1.0)


@pytest.fixture(scope="module")
def experience():
    """Episodes of different lengths, whose rewards are a function of state and action."""
    draw = np.random.default_rng(0)
    taken = np.arange(TIME) < np.array([[6], [1], [4]])
    rows, actions = draw.integers(0, STATES, (BATCH, TIME)), draw.integers(0, ACTIONS, (BATCH, TIME))
    rewards = np.where(taken, reward_table()[rows, actions], 0.0)
    observations, policy = draw.standard_normal((STATES, FEATURES)), draw.dirichlet(np.ones(ACTIONS), STATES)
    observations, policy, rewards = (jnp.asarray(x, jnp.float32) for x in (observations, policy, rewards))
    return Experience(observations, policy, Steps(jnp.asarray(rows, jnp.int32), jnp.asarray(actions, jnp.int32), rewards, policy[rows], jnp.asarray(taken)))


def reward_table():
    return np.random.default_rng(4).choice([0.0, *VALUES], (STATES, ACTIONS))


def outcome(observation, action, reward):
    """The class of the reward."""
    return jnp.where(reward == VALUES[0], 0, 1)


def found(credit, network, experience):
    """Loss and contributions."""
    models = credit.models_of(network, experience.observations, experience.policy)
    contributions = jax.vmap(credit.contributions, in_axes=(None, 0))(models, experience.steps)
    return credit.loss(network, experience), jnp.where(experience.steps.taken[..., None], contributions, 0.0)


def shapes(network):
    """Of all arrays."""
    return [leaf.shape for leaf in jax.tree.leaves(eqx.filter(network, eqx.is_array))]


BY_REWARD = LearnedCocoa(FEATURES, ACTIONS, VALUES, width=8)
CLASSES = np.where(reward_table() == VALUES[0], 0, 1)
PAIRS = {
    "own outcomes": (LearnedCocoaOfOutcomes(FEATURES, ACTIONS, outcome, 2, width=8), BY_REWARD),
    "vectors": (LearnedCocoaOfVectors(FEATURES, ACTIONS, CLASSES, np.eye(2, dtype=np.float32), width=8), BY_REWARD),
    "states": (LearnedCocoaOfStates(FEATURES, ACTIONS, STATES, rewarded_only=False, width=8), LearnedCocoaOfPairs(FEATURES, ACTIONS, None, False, width=8)),
    "rewarded states": (LearnedCocoaOfStates(FEATURES, ACTIONS, STATES, width=8), LearnedCocoaOfPairs(FEATURES, ACTIONS, width=8)),
    "pairs of states": (
        LearnedCocoaOfStates(FEATURES, ACTIONS, STATES, np.argwhere(np.ones((STATES, STATES))), rewarded_only=False, width=8),
        LearnedCocoaOfPairs(FEATURES, ACTIONS, None, False, width=8),
    ),
    "hca": (LearnedHCAOfStates(FEATURES, ACTIONS, STATES, rewarded_only=False, width=8), LearnedHCA(FEATURES, ACTIONS, None, False, width=8)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.slow
def test_it_is_what_it_replaces(experience, name):
    credit, other = PAIRS[name]
    network = other.build(jax.random.key(0))
    assert shapes(credit.build(jax.random.key(0))) == shapes(network)
    for mine, theirs in zip(found(credit, network, experience), found(other, network, experience), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.whole
def test_pairs_that_cannot_occur_have_no_coefficient_and_the_others_keep_theirs(experience):
    mdp = KeyToDoor(4).tabular()
    pairs = reachable_pairs(mdp)
    time, key = np.array([0, 1, 1, 2, 2, 3, 3, 3]), np.array([0, 0, 1, 0, 1, 0, 1, 1])  # start, without and with the key, treasure
    after = (time[:, None] < time) & ((time[:, None] == 0) | (key[:, None] == key))
    np.testing.assert_array_equal(pairs, np.argwhere(after))
    every, some = (LearnedCocoaOfStates(9, 4, 8, given, width=8) for given in (None, pairs))
    network, policy = every.build(jax.random.key(0)), jnp.full((8, 4), 0.25)
    observations = jnp.asarray(mdp.observations, jnp.float32)
    w, of_pairs = (np.asarray(credit.models_of(network, observations, policy).w) for credit in (every, some))
    np.testing.assert_allclose(of_pairs, np.where(after[:, None], w, 0.0), rtol=1e-4, atol=1e-5)
    assert np.abs(w).min() > 0


def test_fewer_outcomes_are_another_credit(experience):
    coarse = LearnedCocoaOfOutcomes(FEATURES, ACTIONS, lambda *_: 0, 1, width=8)
    rewards = np.asarray(experience.steps.rewards)
    assert len(np.unique(rewards[rewards != 0])) == 2
    classes = jax.vmap(coarse.classes, in_axes=(None, 0))(experience.observations, experience.steps)
    np.testing.assert_array_equal(classes, np.where(rewards == 0, -1, 0))
    with pytest.raises(ValueError, match="one outcome or more, not 0"):
        LearnedCocoaOfOutcomes(FEATURES, ACTIONS, outcome, 0)
