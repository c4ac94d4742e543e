"""The exact core against enumeration, recursion, autodiff and the paper's theorems, on random processes in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.analysis.tabular import layered_programming as lp
from mesocosm.analysis.tabular.enumeration import episode_probability, every_episode
from mesocosm.analysis.tabular.gradient_statistics import decibels, gradient_statistics
from mesocosm.envs import Interleaving, KeyToDoor, LayeredMDP, TabularMDP, Tree
from mesocosm.envs.random_mdp import random_mdp, random_policy
from mesocosm.learning.outcomes import Encoding, binned_outcomes, grouped_outcomes, reward_outcomes, state_outcomes

STATES, ACTIONS, REWARDS = 6, 3, 3
ANY = pytest.mark.parametrize("seed", range(2))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def world(seed, layers=1):
    first, second = jax.random.split(jax.random.key(seed))
    mdp = random_mdp(first, STATES, ACTIONS, REWARDS, layers)
    return mdp, jax.nn.softmax(random_policy(second, STATES, ACTIONS))


def encodings(mdp, seed=0):
    """Fully predictive ones: the reward, state and action and reward, random refinements of the reward."""
    shape, rewards = mdp.reward_probability.shape, len(mdp.reward_values)
    split = np.random.default_rng(seed).integers(3, size=shape)
    return {
        "reward": reward_outcomes(mdp),
        "everything": Encoding(np.arange(np.prod(shape)).reshape(shape), int(np.prod(shape))),
        "refined": Encoding(split * rewards + np.arange(rewards), 3 * rewards),
    }


# --- occupancy and values


@pytest.mark.whole
@ANY
def test_occupancy_and_values_are_those_of_all_episodes(seed):
    mdp, policy = world(seed, layers=3)
    episodes = every_episode(mdp)
    weight = np.asarray(episode_probability(mdp, policy, episodes))
    np.testing.assert_allclose(weight.sum(), 1.0, atol=1e-12)
    visits = np.zeros(STATES)
    np.add.at(visits, episodes.states[episodes.taken], np.broadcast_to(weight[:, None], episodes.taken.shape)[episodes.taken])
    np.testing.assert_allclose(dp.occupancy(mdp, policy), visits, atol=1e-12)
    rewards = np.asarray(mdp.reward_values)[episodes.rewards] * episodes.taken
    value = dp.state_values(policy, dp.action_values(mdp, policy))
    np.testing.assert_allclose(mdp.initial @ value, weight @ rewards.sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("env", [KeyToDoor(9), Tree(overlap=3)], ids=lambda env: env.name)
@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.whole
def test_the_linear_solve_is_the_recursion(env, discount):
    """Exactly on environments with layers, whose sum ends."""
    mdp = env.tabular()
    policy = jax.nn.softmax(random_policy(jax.random.key(0), mdp.states, mdp.actions))
    solved = dp.successor(mdp, policy, discount)
    np.testing.assert_allclose(dp.successor_by_recursion(mdp, policy, 9, discount), solved, atol=1e-10)
    assert np.abs(dp.successor_by_recursion(mdp, policy, 2, discount) - solved).max() > 0.01


@ANY
def test_successor_steps_add_up(seed):
    mdp, policy = world(seed)
    steps = sum(dp.state_after(mdp, policy, k, 0.7) for k in range(1, 6))
    np.testing.assert_allclose(dp.successor_by_recursion(mdp, policy, 5, 0.7), steps, atol=1e-12)


@pytest.mark.slow
def test_layers_give_what_the_solve_gives():
    env = KeyToDoor(9)
    mdp = env.tabular(env.params(layout=1))
    layered, policy = LayeredMDP.of(mdp), jax.nn.softmax(random_policy(jax.random.key(0), mdp.states, mdp.actions))
    np.testing.assert_allclose(lp.layered_action_values(layered, policy), dp.action_values(mdp, policy), atol=1e-12)
    for encoding in (reward_outcomes(mdp), state_outcomes(mdp)):
        probability = dp.outcome_probability(mdp, policy, encoding.classes, encoding.number)
        wanted = dp.outcome_counts(dp.successor(mdp, policy), probability)
        np.testing.assert_allclose(lp.layered_outcome_counts(layered, policy, probability), wanted, atol=1e-12)


@pytest.mark.whole
def test_the_distribution_of_returns_is_that_of_all_episodes():
    mdp, policy = world(0, layers=3)
    layered = LayeredMDP.of(mdp)
    units = lp.reward_units(np.asarray(mdp.reward_values), 1.0)
    found = lp.layered_return_distribution(layered, policy, units, lp.most_units(layered, units))
    assert found.shape == (STATES, ACTIONS, 7)
    np.testing.assert_allclose(found.sum(axis=2), 1.0, atol=1e-12)
    np.testing.assert_allclose(found @ np.arange(7), dp.action_values(mdp, policy), atol=1e-12)
    episodes = every_episode(mdp)
    total = (episodes.rewards * episodes.taken).sum(axis=1)
    wanted = np.zeros((STATES, ACTIONS, 7))
    np.add.at(wanted, (episodes.states[:, 0], episodes.actions[:, 0], total), np.asarray(episode_probability(mdp, policy, episodes)))
    joint = (np.asarray(mdp.initial)[:, None] * policy)[..., None] * np.asarray(found)
    np.testing.assert_allclose(wanted, joint, atol=1e-12)
    with pytest.raises(ValueError, match="whole multiples"):
        lp.reward_units(np.array([0.0, 0.15]), 0.1)


# --- contribution coefficients


@pytest.mark.whole
@ANY
def test_coefficients_average_to_zero_and_are_hindsight_over_policy(seed):
    mdp, policy = world(seed)
    for encoding in (*encodings(mdp).values(), state_outcomes(mdp)):
        probability = dp.outcome_probability(mdp, policy, encoding.classes, encoding.number)
        counts = dp.outcome_counts(dp.successor(mdp, policy), probability)
        w = dp.coefficients(counts, policy)
        np.testing.assert_allclose(jnp.einsum("sa,sau->su", policy, w), 0.0, atol=1e-10)
        np.testing.assert_allclose(dp.hindsight(counts, policy).sum(axis=1), 1.0, atol=1e-10)
        np.testing.assert_allclose(dp.hindsight(counts, policy) / policy[..., None] - 1, w, atol=1e-10)
        assert np.abs(w).max() > 0.05


@pytest.mark.whole
def test_an_outcome_that_cannot_be_reached_contributes_nothing():
    mdp = KeyToDoor(6).tabular()
    policy = jnp.full((12, 4), 0.25)
    w = dp.exact_coefficients(mdp, policy, *reward_outcomes(mdp))
    assert np.all(w[-3:] == 0)  # nothing comes after the last step
    assert np.all(np.isfinite(w))
    taken = dp.exact_coefficients(mdp, policy.at[0].set(jnp.eye(4)[0]), *reward_outcomes(mdp))[0, :, 2]
    np.testing.assert_allclose(taken, [0, -1, -1, -1], atol=1e-12)  # defined where the policy never goes


@ANY
def test_hindsight_is_the_frequency_of_actions_before_an_outcome(seed):
    """Over all pairs of an earlier step and a later outcome, of all episodes."""
    mdp, policy = world(seed, layers=3)
    episodes, encoding = every_episode(mdp), encodings(mdp, seed)["refined"]
    weight = np.asarray(episode_probability(mdp, policy, episodes))
    outcome = encoding.classes[episodes.states, episodes.actions, episodes.rewards]
    pairs = np.zeros((STATES, ACTIONS, encoding.number))
    for t in range(3):
        for k in range(t + 1, 3):
            both = episodes.taken[:, k]
            np.add.at(pairs, (episodes.states[both, t], episodes.actions[both, t], outcome[both, k]), weight[both])
    seen = pairs.sum(axis=1, keepdims=True)
    probability = dp.outcome_probability(mdp, policy, encoding.classes, encoding.number)
    found = dp.hindsight(dp.outcome_counts(dp.successor(mdp, policy), probability), policy)
    reached = np.broadcast_to(seen > 1e-12, found.shape)
    np.testing.assert_allclose(np.asarray(found)[reached], (pairs / np.where(seen > 0, seen, 1))[reached], atol=1e-10)


@ANY
def test_contributions_decompose_the_advantage(seed):
    """Theorem 1 for every fully predictive encoding; an encoding that merges rewards breaks it."""
    from mesocosm.analysis.tabular.expected_contributions import expected_cocoa

    mdp, policy = world(seed)
    q = dp.action_values(mdp, policy)
    wanted = q - dp.state_values(policy, q)[:, None]

    def error(encoding):
        c = expected_cocoa(mdp, policy, encoding.classes, dp.exact_coefficients(mdp, policy, *encoding))
        return np.abs(c - jnp.sum(policy * c, axis=1, keepdims=True) - wanted).max()

    for name, encoding in encodings(mdp, seed).items():
        assert error(encoding) < 1e-9, name
    assert error(binned_outcomes(mdp, np.array([0.5]))) > 1e-3
    assert error(binned_outcomes(mdp, np.array([0.5, 1.5]))) < 1e-9


@ANY
def test_coefficients_of_rewards_are_averages_of_those_of_states(seed):
    """Proposition 9."""
    mdp, policy = world(seed)
    m = dp.successor(mdp, policy)
    probability = dp.outcome_probability(mdp, policy, *reward_outcomes(mdp))
    joint = jnp.einsum("sa,saz,zu->szu", policy, m, probability)
    averaged = jnp.einsum("szu,saz->sau", joint / joint.sum(axis=1, keepdims=True), dp.coefficients(m, policy))
    np.testing.assert_allclose(averaged, dp.exact_coefficients(mdp, policy, *reward_outcomes(mdp)), atol=1e-9)


@ANY
def test_the_gradient_of_encounters_goes_through_coefficients(seed):
    """Theorem 4, against autodiff of the solve, for outcomes that are functions of the state."""
    mdp, _ = world(seed)
    logits = random_policy(jax.random.key(seed + 100), STATES, ACTIONS)
    groups = np.broadcast_to((np.arange(STATES) % 3)[:, None], (STATES, ACTIONS))
    encoding = grouped_outcomes(mdp, groups, 3)

    def encounters(logits, start):
        policy = jax.nn.softmax(logits)
        counts = dp.outcome_counts(dp.successor(mdp, policy), dp.outcome_probability(mdp, policy, *encoding))
        return jnp.einsum("sa,sau->su", policy, counts)[start, 1]

    policy, start = jax.nn.softmax(logits), 2
    visits = jnp.linalg.solve((jnp.eye(STATES) - dp.state_transition(mdp, policy)).T, jnp.eye(STATES)[start])
    counts = dp.outcome_counts(dp.successor(mdp, policy), dp.outcome_probability(mdp, policy, *encoding))
    contributions = visits[:, None] * dp.coefficients(counts, policy)[..., 1] * jnp.einsum("sa,sa->s", policy, counts[..., 1])[:, None]
    found = dp.policy_gradient(jax.nn.softmax, logits, contributions)
    np.testing.assert_allclose(found, jax.grad(encounters)(logits, start), atol=1e-8)
    assert np.abs(found).max() > 1e-3


@ANY
def test_a_discount_is_a_probability_to_survive(seed):
    mdp, policy = world(seed)
    dying = TabularMDP(0.8 * mdp.transition, mdp.reward_probability, mdp.reward_values, mdp.initial, mdp.observations)
    for encoding in (*encodings(mdp).values(), state_outcomes(mdp)):
        found = dp.exact_coefficients(mdp, policy, *encoding, discount=0.8)
        np.testing.assert_allclose(found, dp.exact_coefficients(dying, policy, *encoding), atol=1e-9)
        assert np.abs(found - dp.exact_coefficients(mdp, policy, *encoding)).max() > 1e-4
    np.testing.assert_allclose(dp.action_values(mdp, policy, 0.8), dp.action_values(dying, policy), atol=1e-9)


@ANY
def test_both_losses_of_the_hindsight_model_have_the_same_minimum(seed):
    """Cross entropy and the contrastive loss, minimised in tabular form on exact pair frequencies (Prop. 7)."""
    mdp, policy = world(seed)
    encoding = reward_outcomes(mdp)
    counts = dp.outcome_counts(dp.successor(mdp, policy), dp.outcome_probability(mdp, policy, *encoding))
    pairs = policy[..., None] * counts / jnp.sum(policy[..., None] * counts, axis=1, keepdims=True)

    def classification(x):
        return -jnp.sum(pairs * jax.nn.log_softmax(x, axis=1))

    def contrastive(x):
        return -jnp.sum(pairs * jax.nn.log_sigmoid(x) + policy[..., None] * jax.nn.log_sigmoid(-x))

    def minimum(loss, rate):
        return jax.lax.fori_loop(0, 4000, lambda _, x: x - rate * jax.grad(loss)(x), jnp.zeros(counts.shape))

    w = dp.coefficients(counts, policy)
    np.testing.assert_allclose(jax.nn.softmax(minimum(classification, 1.0), axis=1) / policy[..., None] - 1, w, atol=1e-3)
    np.testing.assert_allclose(jnp.exp(minimum(contrastive, 4.0)) - 1, w, atol=1e-3)


@pytest.mark.whole
def test_the_interleaving_process_solves():
    mdp = Interleaving(3, 2, 2).tabular()
    policy = jnp.full((mdp.states, 2), 0.5)
    np.testing.assert_allclose(dp.occupancy(mdp, policy).sum(), 1 / 0.05)  # the expected length
    w = dp.exact_coefficients(mdp, policy, *reward_outcomes(mdp))
    asking = np.flatnonzero(mdp.observations[:, 3] == 0)
    assert np.abs(w[asking][..., 1:]).max() > 0.1
    np.testing.assert_allclose(w[np.setdiff1d(np.arange(mdp.states), asking)], 0.0, atol=1e-10)  # an answer room's action changes nothing


# --- statistics


def test_the_statistics_of_gradients_are_their_definitions():
    gradients = jnp.array([[1.0, 0.0], [3.0, 0.0], [2.0, 2.0]])
    true = jnp.array([2.0, 0.0])
    found = gradient_statistics(gradients, true)
    mean = gradients.mean(axis=0)
    np.testing.assert_allclose(found.snr, 4 / 2.0)
    np.testing.assert_allclose(found.bias, float(((mean - true) ** 2).sum()) / 4)
    np.testing.assert_allclose(found.variance, np.var(np.asarray(gradients), axis=0).sum() / 4)
    np.testing.assert_allclose(1 / found.snr, found.variance + found.bias)
    weighted = gradient_statistics(gradients, true, weights=jnp.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose((weighted.snr, weighted.variance, weighted.bias), (4, 0.25, 0))
    np.testing.assert_allclose(decibels([100.0, 0.0]), [20.0, -80.0])


def test_endless_processes_are_not_enumerated():
    with pytest.raises(ValueError, match="more than 1000 episodes"):
        every_episode(world(0)[0], most=1000)
