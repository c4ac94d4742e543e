"""Every estimator against enumeration: its mean over all episodes, exact models given, and what the paper says of single episodes and of variances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.analysis.tabular import expected_contributions as expected
from mesocosm.analysis.tabular.enumeration import by_state, episode_probability, every_episode
from mesocosm.envs import TabularMDP, Tree
from mesocosm.envs.random_mdp import random_mdp, random_policy
from mesocosm.learning import contributions as c
from mesocosm.learning.outcomes import binned_outcomes, grouped_outcomes, reward_outcomes, state_outcomes

STATES, ACTIONS, REWARDS = 6, 2, 3


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def world():
    """A random process in three layers, a policy, all episodes with their probabilities, exact and distorted models."""
    with jax.enable_x64(True):
        mdp = random_mdp(jax.random.key(1), STATES, ACTIONS, REWARDS, layers=3)
        policy = jax.nn.softmax(random_policy(jax.random.key(2), STATES, ACTIONS))
        episodes = every_episode(mdp)
        return mdp, policy, episodes, episode_probability(mdp, policy, episodes)


@jax.jit
def mean_by_state(world, contributions):
    """$E[\\sum_t 1\\{S_t = s\\} C_t(a)]$ over all episodes, over the expected visits: $E[C_t(a) | S_t = s]$."""
    mdp, policy, episodes, weight = world
    total = jnp.einsum("e,esa->sa", weight, jax.vmap(by_state, in_axes=(0, 0, 0, None))(episodes.states, contributions, episodes.taken, mdp.states))
    return total / dp.occupancy(mdp, policy)[:, None]


def along(world, function, *models):
    """A contribution function on every episode; models are tables over states, read along it."""
    mdp, policy, episodes, _ = world
    rewards = jnp.where(episodes.taken, jnp.asarray(mdp.reward_values)[episodes.rewards], 0.0)
    read = [model[episodes.states] for model in models]
    return jax.jit(jax.vmap(function))(episodes.actions, rewards, policy[episodes.states], *read, jnp.asarray(episodes.taken))


def outcomes_along(world, encoding):
    _, _, episodes, _ = world
    return jnp.asarray(encoding.classes)[episodes.states, episodes.actions, episodes.rewards]


def cocoa_along(world, encoding, coefficients):
    return _cocoa_along(world, outcomes_along(world, encoding), coefficients)


@jax.jit
def _cocoa_along(world, outcomes, coefficients):
    mdp, policy, episodes, _ = world
    rewards = jnp.where(episodes.taken, jnp.asarray(mdp.reward_values)[episodes.rewards], 0.0)
    return jax.vmap(c.cocoa)(episodes.actions, rewards, policy[episodes.states], outcomes, coefficients[episodes.states])


def centred(policy, table):
    return table - jnp.sum(policy * table, axis=1, keepdims=True)


# --- means, of exact and of wrong models


@pytest.mark.whole
def test_classical_estimators_have_their_means(world):
    mdp, policy, _, _ = world
    q = dp.action_values(mdp, policy)
    wrong = q + random_policy(jax.random.key(3), STATES, ACTIONS)
    v = dp.state_values(policy, wrong)
    found = {
        "reinforce": (along(world, lambda a, r, p, _: c.reinforce(a, r, p)), q),
        "advantage": (along(world, lambda a, r, p, v, _: c.advantage(a, r, p, v), v), expected.expected_advantage(mdp, policy, v)),
        "q critic": (along(world, lambda a, r, p, q, _: c.q_critic(q), wrong), expected.expected_q_critic(policy, wrong)),
        "trajcv": (along(world, lambda a, r, p, q, taken: c.trajcv(a, r, p, q, taken), wrong), expected.expected_trajcv(mdp, policy)),
        "discounted": (along(world, lambda a, r, p, _: c.discounted_reinforce(a, r, p, 0.6)), expected.expected_reinforce(mdp, policy, 0.6)),
    }
    for name, (contributions, wanted) in found.items():
        np.testing.assert_allclose(mean_by_state(world, contributions), wanted, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(expected.expected_trajcv(mdp, policy), q, atol=1e-10)
    assert np.abs(expected.expected_reinforce(mdp, policy, 0.6) - q).max() > 0.1


def encodings(mdp):
    split = np.random.default_rng(0).integers(2, size=(STATES, ACTIONS))
    pairs = grouped_outcomes(mdp, np.arange(STATES * ACTIONS).reshape(STATES, ACTIONS), STATES * ACTIONS)
    return {
        "reward": reward_outcomes(mdp),
        "state": state_outcomes(mdp),
        "feature": pairs,
        "grouped": grouped_outcomes(mdp, split, 2),
        "binned": binned_outcomes(mdp, np.array([0.5])),
    }


@pytest.mark.parametrize("name", ["reward", "state", "feature", "grouped", "binned"])
@pytest.mark.whole
def test_cocoa_has_its_mean_with_exact_and_with_wrong_coefficients(world, name):
    mdp, policy, _, _ = world
    encoding = encodings(mdp)[name]
    exact = dp.exact_coefficients(mdp, policy, *encoding)
    wrong = exact * 1.5 + 0.1
    for coefficients in (exact, wrong):
        wanted = expected.expected_cocoa(mdp, policy, encoding.classes, coefficients)
        np.testing.assert_allclose(mean_by_state(world, cocoa_along(world, encoding, coefficients)), wanted, atol=1e-10)
    q = dp.action_values(mdp, policy)
    error = np.abs(centred(policy, mean_by_state(world, cocoa_along(world, encoding, exact)) - q)).max()
    # the state alone predicts later rewards of this process as well as anything that does not know the later action
    assert (error < 1e-10) == (name in ("reward", "feature", "state")), error


@pytest.mark.whole
def test_hca_has_its_mean(world):
    mdp, policy, _episodes, _ = world
    encoding = state_outcomes(mdp)
    exact, reward = dp.exact_coefficients(mdp, policy, *encoding), jnp.asarray(mdp.mean_reward)
    found = along(world, lambda a, r, p, w, m, s, _: c.hca(r, s, w, m), exact, reward, jnp.arange(STATES))
    np.testing.assert_allclose(mean_by_state(world, found), expected.expected_hca(mdp, policy, encoding.classes, exact, reward), atol=1e-10)
    np.testing.assert_allclose(centred(policy, mean_by_state(world, found) - dp.action_values(mdp, policy)), 0.0, atol=1e-10)


@pytest.mark.parametrize("certain", [False, True], ids=["noisy rewards", "certain rewards"])
def test_credit_by_the_return_has_its_mean(world, certain):
    """The counterfactual return is unbiased. HCA-return is biased where an action excludes a return, as it does where rewards are certain."""
    mdp, policy, episodes, _ = world
    if certain:
        chosen = jax.nn.one_hot(jnp.argmax(mdp.reward_probability, axis=2), REWARDS)
        mdp = TabularMDP(mdp.transition, chosen, mdp.reward_values, mdp.initial, mdp.observations)
        world = (mdp, policy, episodes, episode_probability(mdp, policy, episodes))
    returns = dp.return_distribution(mdp, policy, tuple(range(REWARDS)), 6, 3)
    h, z = dp.hindsight(returns, policy), jnp.arange(7.0)

    def seen(rewards, h):
        return jnp.take_along_axis(h, jnp.rint(c.returns(rewards)).astype(int)[:, None, None], axis=2)[..., 0]

    hca = along(world, lambda a, r, p, h, _: c.hca_return(a, r, p, jnp.maximum(seen(r, h), 1e-300)), h)  # episodes that cannot be count nothing
    free = along(world, lambda a, r, p, h, _: c.counterfactual_return(r, p, seen(r, h)), h)
    wanted = {"hca": expected.expected_hca_return(policy, returns, z, h), "cf": expected.expected_counterfactual_return(policy, returns, z, h)}
    q = dp.action_values(mdp, policy)
    for name, contributions in (("hca", hca), ("cf", free)):
        found = jnp.where(jnp.isfinite(contributions), contributions, 0.0)
        np.testing.assert_allclose(mean_by_state(world, found), wanted[name], atol=1e-10, err_msg=name)
    error = {name: np.abs(centred(policy, table - q)).max() for name, table in wanted.items()}
    assert error["cf"] < 1e-9
    assert (error["hca"] > 0.1) == certain


@pytest.mark.parametrize("first", [0.01, 0.3, 2 / 3, 0.99])
def test_the_two_armed_bandit_of_the_appendix(first):
    """Rewards 1 and -2, the return gives the arm away: HCA-return multiplies each reward by the other arm's probability; the counterfactual return is right.

    The paper's policy is (2/3, 1/3), where HCA-return says (1/3, -4/3) and the truth is (1, -2).
    """
    policy, rewards = jnp.array([[first, 1 - first]]), jnp.array([1.0, -2.0])
    episodes = [(jnp.array([a]), rewards[a][None], jnp.eye(2)[a][None]) for a in range(2)]  # the return gives the arm away
    hca = sum(policy[0, a] * c.hca_return(*steps[:2], policy, steps[2])[0] for a, steps in enumerate(episodes))
    np.testing.assert_allclose(hca, [1 - first, -2 * first], atol=1e-12)
    free = sum(policy[0, a] * c.counterfactual_return(steps[1], policy, steps[2])[0] for a, steps in enumerate(episodes))
    np.testing.assert_allclose(free - free @ policy[0], rewards - rewards @ policy[0], atol=1e-12)


def test_an_action_that_the_policy_never_takes_gets_nothing():
    """Also where the other estimators of its row divide by its probability."""
    policy, rewards = jnp.array([[0.25, 0.75, 0.0]]), jnp.array([2.0])
    free = c.counterfactual_return(rewards, policy, jnp.array([[0.5, 0.5, 0.0]]))
    np.testing.assert_allclose(free, [[2.0, -2 / 3, 0.0]], atol=1e-12)
    steps = jnp.broadcast_to(policy, (2, 3))
    found = c.action_sampled_cocoa(jnp.array([1, 1]), jnp.array([0.0, 3.0]), steps, jnp.array([0, 0]), jnp.full((2, 3, 1), 0.5), jnp.array([[0], [0]]))
    np.testing.assert_allclose(found, [[0.5 * 3 / 0.25, 0.0, 0.0], [0.0, 3 / 0.75, 0.0]], atol=1e-12)


def test_sampled_actions_have_the_same_mean(world):
    """Averaged over all pairs of samples, action-sampled COCOA is COCOA."""
    mdp, policy, episodes, _ = world
    encoding = reward_outcomes(mdp)
    w = dp.exact_coefficients(mdp, policy, *encoding)
    whole = cocoa_along(world, encoding, w)
    outcomes, rewards = outcomes_along(world, encoding), jnp.where(episodes.taken, jnp.asarray(mdp.reward_values)[episodes.rewards], 0.0)
    total = 0.0
    for first in range(ACTIONS):
        for second in range(ACTIONS):
            samples = jnp.broadcast_to(jnp.array([first, second]), (*episodes.states.shape, 2))
            found = jax.vmap(c.action_sampled_cocoa)(episodes.actions, rewards, policy[episodes.states], outcomes, w[episodes.states], samples)
            weight = policy[episodes.states][..., first] * policy[episodes.states][..., second]
            total = total + weight[..., None] * found
    np.testing.assert_allclose(total, whole, atol=1e-10)


@pytest.mark.whole
def test_discounted_and_n_step_forms_are_unbiased(world):
    """For the discounted advantage; the bootstrap with coefficients of the state is needed."""
    mdp, policy, episodes, _ = world
    gamma, encoding = 0.7, reward_outcomes(mdp)
    q = dp.action_values(mdp, policy, gamma)
    rewards = jnp.where(episodes.taken, jnp.asarray(mdp.reward_values)[episodes.rewards], 0.0)
    outcomes, here = outcomes_along(world, encoding), policy[episodes.states]
    w = dp.exact_coefficients(mdp, policy, *encoding, discount=gamma)
    whole = jax.vmap(c.discounted_cocoa, in_axes=(0, 0, 0, 0, 0, None))(episodes.actions, rewards, here, outcomes, w[episodes.states], gamma)
    wanted = expected.expected_cocoa(mdp, policy, encoding.classes, w, gamma)
    np.testing.assert_allclose(mean_by_state(world, whole), wanted, atol=1e-10)
    np.testing.assert_allclose(centred(policy, wanted - q), 0.0, atol=1e-10)
    value = dp.state_values(policy, q)
    for n in (1, 2, 3):
        near = dp.coefficients(dp.outcome_counts(dp.successor_by_recursion(mdp, policy, n - 1, gamma), dp.outcome_probability(mdp, policy, *encoding)), policy)
        far = dp.coefficients(dp.state_after(mdp, policy, n), policy)
        shift = lambda x, n=n: jnp.concatenate([x[:, n:], jnp.zeros_like(x[:, :n])], axis=1)  # noqa: E731
        alive = shift(jnp.asarray(episodes.taken))
        ahead = shift(jnp.asarray(episodes.states))
        bootstrap, values = far[episodes.states, :, ahead], jnp.where(alive, value[ahead], 0.0)
        found = jax.vmap(c.n_step_cocoa, in_axes=(0, 0, 0, 0, 0, 0, 0, None, None))(
            episodes.actions, rewards, here, outcomes, near[episodes.states], bootstrap, values, n, gamma
        )
        np.testing.assert_allclose(centred(policy, mean_by_state(world, found) - q), 0.0, atol=1e-10)
        blind = jax.vmap(c.n_step_cocoa, in_axes=(0, 0, 0, 0, 0, 0, 0, None, None))(
            episodes.actions, rewards, here, outcomes, near[episodes.states], 0 * bootstrap, values, n, gamma
        )
        assert n == 3 or np.abs(centred(policy, mean_by_state(world, blind) - q)).max() > 1e-3


def test_the_gradient_of_the_loss_is_the_estimator(world):
    """Autodiff of the loss over a policy's parameters equals minus the sum of gradients of probabilities times contributions, over the steps."""
    mdp, policy, episodes, weight = world
    logits = random_policy(jax.random.key(2), STATES, ACTIONS)
    contributions = along(world, lambda a, r, p, _: c.reinforce(a, r, p))

    def loss(logits):
        table = jax.nn.softmax(logits)
        return jnp.sum(weight * jax.vmap(c.contribution_loss)(table[episodes.states], contributions, jnp.asarray(episodes.taken)))

    def value(logits):
        return mdp.initial @ dp.state_values(jax.nn.softmax(logits), dp.action_values(mdp, jax.nn.softmax(logits)))

    def true(logits):
        return dp.policy_gradient(jax.nn.softmax, logits, dp.occupancy(mdp, policy)[:, None] * dp.action_values(mdp, policy))

    of_loss, of_value, wanted = jax.jit(lambda logits: (jax.grad(loss)(logits), jax.grad(value)(logits), true(logits)))(logits)
    np.testing.assert_allclose(-episodes.states.shape[1] * of_loss, wanted, atol=1e-10)
    np.testing.assert_allclose(of_value, wanted, atol=1e-10)


# --- forms


@pytest.mark.parametrize("name", ["reward", "state", "feature"])
def test_the_cheap_form_is_the_sum_over_pairs(world, name):
    mdp, policy, episodes, _ = world
    encoding = encodings(mdp)[name]
    w = dp.exact_coefficients(mdp, policy, *encoding)
    rewards = jnp.where(episodes.taken, jnp.asarray(mdp.reward_values)[episodes.rewards], 0.0)
    outcomes = outcomes_along(world, encoding)
    pairs = jax.vmap(lambda w, u: w[:, :, u])(w[episodes.states], outcomes)
    found = jax.vmap(c.cocoa_of_pairs)(episodes.actions, rewards, policy[episodes.states], pairs)
    np.testing.assert_allclose(found, cocoa_along(world, encoding, w), atol=1e-12)
    # the pair of a step with itself is never read
    wild = pairs.at[:, jnp.arange(3), :, jnp.arange(3)].set(99.0)
    np.testing.assert_allclose(jax.vmap(c.cocoa_of_pairs)(episodes.actions, rewards, policy[episodes.states], wild), found, atol=1e-12)


def test_without_coefficients_only_the_immediate_reward_counts():
    actions, rewards, policy = jnp.array([0, 1, 1]), jnp.array([1.0, 2.0, 4.0]), jnp.array([[0.25, 0.75]] * 3)
    found = c.cocoa(actions, rewards, policy, jnp.array([0, 1, 0]), jnp.zeros((3, 2, 2)))
    np.testing.assert_allclose(found, [[4.0, 0.0], [0.0, 2 / 0.75], [0.0, 4 / 0.75]])


def test_sums_after_a_step_leave_the_step_out():
    x = jnp.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(c.sum_after(x), [6, 4, 0])
    np.testing.assert_allclose(c.returns(x), [7, 6, 4])
    np.testing.assert_allclose(c.discounted_sum_after(x, 0.5), [2.0, 2.0, 0.0])
    np.testing.assert_allclose(c.discounted_sum_after(x, 1.0), c.sum_after(x))


# --- on the tree: single episodes and variances


def tree_gradients(tree, offset, names):
    """Gradient of every episode by every estimator, uniform tabular softmax policy: estimators, episodes, parameters."""
    params, mdp = tree.params(offset), tree.tabular(tree.params(offset))
    episodes = every_episode(mdp)
    return jax.jit(lambda: _tree_gradients(tree, params, mdp, episodes, names))()


def _tree_gradients(tree, params, mdp, episodes, names):
    logits = jnp.zeros((mdp.states, mdp.actions))
    policy = jax.nn.softmax(logits)
    weight = episode_probability(mdp, policy, episodes)
    world = (mdp, policy, episodes, weight)
    makers = {
        "reinforce": lambda: along(world, lambda a, r, p, _: c.reinforce(a, r, p)),
        "state": lambda: cocoa_along(world, state_outcomes(mdp), dp.exact_coefficients(mdp, policy, *state_outcomes(mdp))),
        "reward": lambda: cocoa_along(world, reward_outcomes(mdp), dp.exact_coefficients(mdp, policy, *reward_outcomes(mdp))),
    }

    def groups(number):
        encoding = grouped_outcomes(mdp, tree.outcomes(params, number), 5 * number)
        return cocoa_along(world, encoding, dp.exact_coefficients(mdp, policy, *encoding))

    found = []
    for name in names:
        contributions = makers[name]() if isinstance(name, str) else groups(name)
        table = jax.vmap(by_state, in_axes=(0, 0, 0, None))(episodes.states, contributions, episodes.taken, mdp.states)
        found.append(jax.vmap(lambda t: dp.policy_gradient(jax.nn.softmax, logits, t))(table).reshape(len(weight), -1))
    true = dp.policy_gradient(jax.nn.softmax, logits, dp.occupancy(mdp, policy)[:, None] * dp.action_values(mdp, policy)).reshape(-1)
    return found, weight, true


@pytest.mark.whole
@pytest.mark.parametrize("offset", [0, 3])
def test_where_no_two_sequences_meet_state_outcomes_are_reinforce(offset):
    """Proposition 2, episode by episode; where two meet, they differ."""
    (hca, reinforce), _, _ = tree_gradients(Tree(3, 4, 0), offset, ["state", "reinforce"])
    np.testing.assert_allclose(hca, reinforce, atol=1e-10)
    (hca, reinforce), _, _ = tree_gradients(Tree(3, 4, 1), offset, ["state", "reinforce"])
    assert np.abs(hca - reinforce).max() > 0.1


@pytest.mark.whole
@pytest.mark.parametrize("overlap", [0, 2])
def test_on_the_tree_all_are_unbiased_and_variance_grows_with_the_groups(overlap):
    names = ["reward", 1, 2, 4, 8, 16, "state", "reinforce"]
    gradients, weight, true = tree_gradients(Tree(3, 4, overlap), 2, names)
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(weight @ gradient, true, atol=1e-10 * np.abs(true).max(), err_msg=str(name))
    variance = [float(weight @ jnp.sum((gradient - true) ** 2, axis=1)) for gradient in gradients]
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-12)  # one group is the reward
    assert np.all(np.diff(variance) >= -1e-12)
    assert variance[0] < 0.5 * variance[-1]


def test_a_reward_that_is_met_again_is_credited_once_for_each():
    """A process with two steps and one state: the closed form by hand."""
    mdp = TabularMDP(np.array([[[0.0], [1.0]]]) * 0.5, np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([0.0, 1.0]), np.array([1.0]), np.eye(1))
    policy = jnp.array([[0.5, 0.5]])
    w = dp.exact_coefficients(mdp, policy, *reward_outcomes(mdp))
    np.testing.assert_allclose(w[0, :, 1], [-1.0, 1.0], atol=1e-12)  # only the second action goes on


@pytest.mark.parametrize("small", [0.0, 1e-45, 1e-40, 1e-30])
def test_probabilities_that_underflow_give_finite_contributions_and_expectations(small):
    """An action of probability 0 multiplies a zero gradient: its contribution must not be infinite."""
    policy = jnp.array([[1.0, small], [0.5, 0.5]], "float32")
    actions, rewards = jnp.array([1, 0]), jnp.array([1.0, 2.0], "float32")
    hindsight = jnp.array([[1.0, small], [small, 1.0]], "float32")
    for found in (
        c.reinforce(actions, rewards, policy),
        c.hca_return(actions, rewards, policy, hindsight),
        c.counterfactual_return(rewards, policy, hindsight),
        c.action_sampled_cocoa(actions, rewards, policy, actions, jnp.ones((2, 2, 2), "float32"), jnp.array([[0], [1]])),
    ):
        assert jnp.isfinite(found).all()
    returns = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]], "float32")
    h = dp.hindsight(returns, policy)
    assert jnp.isfinite(h).all()
    for of in (expected.expected_hca_return, expected.expected_counterfactual_return):
        assert jnp.isfinite(of(policy, returns, jnp.array([1.0, 2.0], "float32"), h)).all()
    assert jnp.isfinite(jax.grad(lambda p: dp.coefficients(returns, p).sum())(policy)).all() or small
