"""Learned credit: every loss and every contribution against loops over steps and pairs in NumPy, and networks that find the exact models."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.analysis.tabular.enumeration import episode_probability, every_episode
from mesocosm.envs.random_mdp import random_mdp, random_policy
from mesocosm.learning import learned_credit as learned
from mesocosm.learning.contributions import sum_after
from mesocosm.learning.exact_credit import Steps
from mesocosm.learning.hindsight_losses import CLASSIFICATION, CONTRASTIVE
from mesocosm.learning.learned_credit import Experience, lambda_returns
from mesocosm.learning.outcomes import reward_outcomes
from mesocosm.learning.reward_features import RewardFeatures

BATCH, TIME, STATES, ACTIONS, FEATURES = 3, 6, 7, 3, 4
VALUES = (0.5, -1.0)


@pytest.fixture(scope="module")
def experience():
    """Random episodes of different lengths, one of a single step, in states that recur."""
    draw = np.random.default_rng(0)
    lengths = np.array([[6], [1], [4]])
    taken = np.arange(TIME) < lengths
    rows, actions = draw.integers(0, STATES, (BATCH, TIME)), draw.integers(0, ACTIONS, (BATCH, TIME))
    rewards = np.where(taken, draw.choice([0.0, *VALUES], (BATCH, TIME)), 0.0)
    observations = draw.standard_normal((STATES, FEATURES))
    policy = draw.dirichlet(np.ones(ACTIONS), STATES)
    as_float = [jnp.asarray(x, jnp.float32) for x in (observations, policy, rewards)]
    steps = Steps(jnp.asarray(rows, jnp.int32), jnp.asarray(actions, jnp.int32), as_float[2], as_float[1][rows], jnp.asarray(taken))
    return Experience(as_float[0], as_float[1], steps)


def walk(experience):
    """The steps taken of each episode: (observation, action, reward, policy)."""
    observations, _, steps = experience
    for b in range(BATCH):
        length = int(steps.taken[b].sum())
        yield [(observations[steps.states[b, t]], int(steps.actions[b, t]), float(steps.rewards[b, t]), steps.policy[b, t]) for t in range(length)]


def contributions(credit, network, experience):
    models = credit.models_of(network, experience.observations, experience.policy)
    return jax.vmap(credit.contributions, in_axes=(None, 0))(models, experience.steps)


def assert_contributions(credit, network, experience, by_hand):
    """`by_hand(episode, t)` is C_t, for the steps taken."""
    found = np.asarray(contributions(credit, network, experience))
    for b, episode in enumerate(walk(experience)):
        for t in range(len(episode)):
            np.testing.assert_allclose(found[b, t], by_hand(episode, t), rtol=2e-3, atol=2e-4, err_msg=f"{b}, {t}")


def immediate(episode, t):
    _, action, reward, policy = episode[t]
    return np.eye(ACTIONS)[action] / np.asarray(policy)[action] * reward


# --- hindsight ---------------------------------------------------------------------------------------------------------


def one_hot(reward):
    return np.array([reward == value for value in VALUES], np.float32)


HINDSIGHT = {
    "reward": learned.LearnedCocoa(FEATURES, ACTIONS, VALUES, width=8),
    "reward, contrastive": learned.LearnedCocoa(FEATURES, ACTIONS, VALUES, objective=CONTRASTIVE, width=8),
    "state": learned.LearnedCocoaOfPairs(FEATURES, ACTIONS, rewarded_only=False, width=8),
    "state, rewarded": learned.LearnedCocoaOfPairs(FEATURES, ACTIONS, width=8),
    "feature": learned.LearnedCocoaOfPairs(FEATURES, ACTIONS, RewardFeatures.create(FEATURES, ACTIONS, key=jax.random.key(3)), width=8),
    "feature, contrastive": learned.LearnedCocoaOfPairs(
        FEATURES, ACTIONS, RewardFeatures.create(FEATURES, ACTIONS, key=jax.random.key(3)), objective=CONTRASTIVE, width=8
    ),
    "hca": learned.LearnedHCA(FEATURES, ACTIONS, width=8),
    "reward, by episode": learned.LearnedCocoa(FEATURES, ACTIONS, VALUES, width=8, by_episode=True),
    "state, by episode": learned.LearnedCocoaOfPairs(FEATURES, ACTIONS, width=8, by_episode=True),
}


def outcome(name, step):
    observation, action, reward, _ = step
    if name.startswith("reward"):
        return one_hot(reward)
    if name.startswith("feature"):
        return (np.asarray(HINDSIGHT[name].encoding.mask)[action] ** 2 * np.asarray(observation) > 0.05).astype(np.float32)
    return observation


def output(name, network, here, there):
    """The network on one pair of steps."""
    return network(here[0], jnp.asarray(outcome(name, there)), jnp.log(here[3]))


@pytest.mark.whole
@pytest.mark.parametrize("name", HINDSIGHT)
def test_hindsight_learns_from_every_pair_of_a_step_and_a_later_outcome(experience, name):
    credit = HINDSIGHT[name]
    network = credit.build(jax.random.key(0))
    hindsight, reward = network if name == "hca" else (network, None)
    total = 0.0
    for episode in walk(experience):
        pairs = [(t, k) for t in range(len(episode)) for k in range(t + 1, len(episode)) if name == "state" or episode[k][2] != 0]
        losses = [credit.objective.loss(output(name, hindsight, episode[t], episode[k]), jnp.eye(ACTIONS)[episode[t][1]], episode[t][3]) for t, k in pairs]
        total += sum(losses) / (max(len(pairs), 1) if credit.by_episode else 15) / BATCH
        if reward is not None:
            total += np.sum([(r - float(reward(o)[a])) ** 2 for o, a, r, _ in episode]) / (BATCH * TIME)
    np.testing.assert_allclose(credit.loss(network, experience), total, rtol=1e-4)


@pytest.mark.whole
@pytest.mark.parametrize("name", HINDSIGHT)
def test_hindsight_weighs_every_later_reward_by_its_coefficient(experience, name):
    credit = HINDSIGHT[name]
    network = credit.build(jax.random.key(0))
    hindsight, reward = network if name == "hca" else (network, None)

    def by_hand(episode, t):
        now = immediate(episode, t) if reward is None else np.asarray(reward(episode[t][0]))
        for k in range(t + 1, len(episode)):
            w = credit.objective.coefficients(output(name, hindsight, episode[t], episode[k]), episode[t][3])
            now = now + (np.asarray(w) + (reward is not None)) * episode[k][2]
        return now

    assert_contributions(credit, network, experience, by_hand)


@pytest.mark.whole
@pytest.mark.parametrize("name", ["reward", "state", "feature"])
def test_a_silent_network_leaves_the_immediate_reward(experience, name):
    credit = HINDSIGHT[name]
    network = credit.build(jax.random.key(0))
    silent = eqx.tree_at(lambda n: (n.shift, n.gates), network, replace_fn=lambda linear: jax.tree.map(jnp.zeros_like, linear))
    assert_contributions(credit, silent, experience, immediate)


@pytest.mark.whole
def test_rewards_by_class_and_by_pairs_are_the_same(experience):
    """The T x T form, with the same network, against the counts by outcome."""

    class RewardOutcomes(learned.LearnedCocoaOfPairs):
        def outputs(self, network, observations, steps):
            table = by_class.outputs(network, observations, experience.policy)[steps.states]
            classes = jnp.maximum(by_class.outcomes(steps.rewards), 0)
            return jnp.take_along_axis(table, classes[None, :, None], axis=1)

    by_class, by_pairs = HINDSIGHT["reward"], RewardOutcomes(FEATURES, ACTIONS, width=8)
    network = by_class.build(jax.random.key(0))
    np.testing.assert_allclose(by_pairs.loss(network, experience), by_class.loss(network, experience), rtol=1e-6)
    np.testing.assert_allclose(contributions(by_pairs, network, experience), contributions(by_class, network, experience), atol=1e-5)


@pytest.mark.parametrize("name", ["reward", "state", "hca"])
def test_states_and_steps_as_rows_are_the_same(experience, name):
    """All states of a finite environment, or the batch's own observations."""
    credit, steps = HINDSIGHT[name], experience.steps
    rows = jnp.arange(BATCH * TIME, dtype=jnp.int32).reshape(BATCH, TIME)
    seen = steps.states.reshape(-1)
    again = Experience(experience.observations[seen], experience.policy[seen], steps._replace(states=rows))
    network = credit.build(jax.random.key(0))
    np.testing.assert_allclose(credit.loss(network, again), credit.loss(network, experience), rtol=1e-5)
    np.testing.assert_allclose(contributions(credit, network, again), contributions(credit, network, experience), rtol=1e-4, atol=1e-5)


@pytest.mark.whole
@pytest.mark.parametrize("by_episode", [False, True])
def test_the_weights_of_pairs_are_their_frequencies_unless_episodes_are_averaged(by_episode):
    """By enumeration of all episodes: the best classifier on these weights has the exact coefficients, or not."""
    with jax.enable_x64(True):
        mdp = random_mdp(jax.random.key(1), 6, 2, 3, layers=3)
        policy = jax.nn.softmax(random_policy(jax.random.key(2), 6, 2))
        episodes = every_episode(mdp)
        probability = episode_probability(mdp, policy, episodes)
        rewards = jnp.where(episodes.taken, jnp.asarray(mdp.reward_values)[episodes.rewards], 0.0)
        credit = learned.LearnedCocoa(6, 2, (1.0, 2.0), by_episode=by_episode)
        later = jax.vmap(lambda r: sum_after(jax.nn.one_hot(credit.outcomes(r), 2)))(rewards) * episodes.taken[..., None]
        weights = credit.pair_weights(later) * probability[:, None, None]
        pairs = jnp.zeros((6, 2, 2)).at[episodes.states, episodes.actions].add(weights)
        mean = pairs.sum(axis=1, keepdims=True)
        found = jnp.where(mean > 0, pairs / policy[..., None] / jnp.where(mean > 0, mean, 1.0) - 1.0, 0.0)
        exact = dp.exact_coefficients(mdp, policy, *reward_outcomes(mdp))[..., 1:]
        assert (jnp.abs(found - exact).max() > 0.01) if by_episode else jnp.allclose(found, exact, atol=1e-10)


@pytest.mark.parametrize("values", [(), (0.0, 1.0), (1.0, 1.0)])
def test_outcomes_are_distinct_rewards_other_than_zero(values):
    with pytest.raises(ValueError, match="distinct rewards"):
        learned.LearnedCocoa(FEATURES, ACTIONS, values)


# --- returns -----------------------------------------------------------------------------------------------------------


def hindsight_of_return(network, episode, t):
    observation, _, _, policy = episode[t]
    z = sum(reward for _, _, reward, _ in episode[t:])
    return np.asarray(jax.nn.softmax(network(observation, jnp.array([z]), jnp.log(policy)) + jnp.log(policy)))


def test_hindsight_of_the_return_learns_from_every_step(experience):
    credit = learned.LearnedHCAReturn(FEATURES, ACTIONS, width=8)
    network = credit.build(jax.random.key(0))
    losses = [np.sum([-np.log(hindsight_of_return(network, episode, t)[episode[t][1]]) for t in range(len(episode))]) / TIME for episode in walk(experience)]
    np.testing.assert_allclose(credit.loss(network, experience), np.mean(losses), rtol=1e-4)


def test_credit_by_the_return_is_its_formula(experience):
    credit = learned.LearnedHCAReturn(FEATURES, ACTIONS, width=8)
    counterfactual = learned.LearnedCounterfactualReturn(FEATURES, ACTIONS, width=8)
    network = credit.build(jax.random.key(0))

    def after(episode, t):
        return sum(reward for _, _, reward, _ in episode[t:])

    def hca(episode, t):
        action, policy, h = episode[t][1], np.asarray(episode[t][3]), hindsight_of_return(network, episode, t)
        return np.eye(ACTIONS)[action] / policy * (1 - policy[action] / h[action]) * after(episode, t)

    assert_contributions(credit, network, experience, hca)
    assert_contributions(
        counterfactual, network, experience, lambda episode, t: (hindsight_of_return(network, episode, t) / np.asarray(episode[t][3]) - 1) * after(episode, t)
    )


# --- values ------------------------------------------------------------------------------------------------------------


def lambda_return(episode, values, t, trace):
    """The definition: n-step returns, weighted by (1 - trace) trace^(n - 1); the last takes what is left."""
    left, total = len(episode) - t, 0.0
    for n in range(1, left + 1):
        g = sum(reward for _, _, reward, _ in episode[t : t + n]) + (values[t + n] if n < left else 0.0)
        total += g * ((1 - trace) * trace ** (n - 1) if n < left else trace ** (n - 1))
    return total


@pytest.mark.parametrize("trace", [0.0, 0.6, 1.0])
def test_the_value_network_regresses_on_the_lambda_return(experience, trace):
    credit = learned.LearnedAdvantage(FEATURES, ACTIONS, trace, width=8)
    network = credit.build(jax.random.key(0))
    total = 0.0
    for episode in walk(experience):
        values = [float(network(observation)[0]) for observation, *_ in episode]
        total += np.sum([(lambda_return(episode, values, t, trace) - values[t]) ** 2 for t in range(len(episode))]) / (BATCH * TIME)
    np.testing.assert_allclose(credit.loss(network, experience), total, rtol=1e-4)


@pytest.mark.parametrize("bootstrap", ["expected", "max"])
def test_the_action_value_network_regresses_on_the_lambda_return(experience, bootstrap):
    credit = learned.LearnedQCritic(FEATURES, ACTIONS, 0.6, bootstrap, width=8)
    network = credit.build(jax.random.key(0))
    total = 0.0
    for episode in walk(experience):
        q = [np.asarray(network(observation)) for observation, *_ in episode]
        values = [max(row) if bootstrap == "max" else row @ np.asarray(policy) for row, (_, _, _, policy) in zip(q, episode, strict=True)]
        total += np.sum([0.5 * (lambda_return(episode, values, t, 0.6) - q[t][episode[t][1]]) ** 2 for t in range(len(episode))]) / (BATCH * TIME)
    np.testing.assert_allclose(credit.loss(network, experience), total, rtol=1e-4)


@pytest.mark.parametrize("credit", [learned.LearnedAdvantage(FEATURES, ACTIONS, 0.6, width=8), learned.LearnedQCritic(FEATURES, ACTIONS, 0.6, width=8)])
def test_no_gradient_flows_through_the_target(experience, credit):
    """Where all values are zero but the last layer's bias moves them, the derivative is that of regression on fixed targets."""
    network = credit.build(jax.random.key(0))
    network = eqx.tree_at(lambda n: n.layers[-1], network, replace_fn=lambda layer: jax.tree.map(jnp.zeros_like, layer))
    trained, fixed = eqx.partition(network, eqx.is_inexact_array)
    bias = jax.grad(lambda leaves: credit.loss(eqx.combine(leaves, fixed), experience))(trained).layers[-1].bias.sum()
    after = [np.sum([lambda_return(episode, [0.0] * len(episode), t, 0.6) for t in range(len(episode))]) / TIME for episode in walk(experience)]
    factor = 2.0 if isinstance(credit, learned.LearnedAdvantage) else 1.0
    np.testing.assert_allclose(bias, -factor * np.mean(after), rtol=1e-5, atol=1e-6)


def test_observations_of_another_size_are_refused(experience):
    credit = learned.LearnedAdvantage(FEATURES + 1, ACTIONS, width=8)
    with pytest.raises(ValueError, match=f"{FEATURES} entries, LearnedAdvantage was made for {FEATURES + 1}"):
        credit.loss(credit.build(jax.random.key(0)), experience)


def test_values_of_unknown_bootstraps_are_refused():
    with pytest.raises(ValueError, match="'expected' or 'max', not 'mean'"):
        learned.LearnedQCritic(FEATURES, ACTIONS, bootstrap="mean")


def test_lambda_returns_ignore_what_comes_after_the_end():
    found = lambda_returns(jnp.array([1.0, 2.0, 0.0]), jnp.array([5.0, 7.0, 100.0]), jnp.array([True, True, False]), 0.25)
    np.testing.assert_allclose(found[:2], [1 + 0.75 * 7 + 0.25 * 2, 2.0])


def test_value_estimators_are_their_formulas(experience):
    advantage, critic = learned.LearnedAdvantage(FEATURES, ACTIONS, width=8), learned.LearnedQCritic(FEATURES, ACTIONS, width=8)
    trajcv = learned.LearnedTrajCV(FEATURES, ACTIONS, width=8)
    value, action_value = advantage.build(jax.random.key(0)), critic.build(jax.random.key(0))

    def after(episode, t):
        return sum(reward for _, _, reward, _ in episode[t:])

    def chosen(episode, t):
        return np.eye(ACTIONS)[episode[t][1]] / np.asarray(episode[t][3])[episode[t][1]]

    def surprise(episode, t):
        q = np.asarray(action_value(episode[t][0]))
        return q[episode[t][1]] - q @ np.asarray(episode[t][3])

    def control(episode, t):
        q = np.asarray(action_value(episode[t][0]))
        left = after(episode, t) - q[episode[t][1]] - sum(surprise(episode, k) for k in range(t + 1, len(episode)))
        return chosen(episode, t) * left + q

    assert_contributions(advantage, value, experience, lambda e, t: chosen(e, t) * (after(e, t) - float(value(e[t][0])[0])))
    assert_contributions(critic, action_value, experience, lambda e, t: np.asarray(action_value(e[t][0])))
    assert_contributions(trajcv, action_value, experience, control)


def test_classification_is_the_default():
    assert HINDSIGHT["reward"].objective == HINDSIGHT["state"].objective == CLASSIFICATION


def test_networks_have_the_gain_and_the_leak_of_their_credit():
    """A gain scales what is behind the hidden layer."""
    plain, other = (
        learned.LearnedCocoa(FEATURES, ACTIONS, VALUES, width=8, gain=gain, leak=leak).build(jax.random.key(0)) for gain, leak in ((1.0, 0.0), (0.1, 0.2))
    )
    assert (plain.leak, other.leak) == (0.0, 0.2)
    np.testing.assert_array_equal(other.hidden.weight, plain.hidden.weight)
    for mine, theirs in ((other.shift, plain.shift), (other.gates, plain.gates)):
        np.testing.assert_allclose(mine.weight, 0.1 * theirs.weight, rtol=1e-5)
