"""The policy-gradient learner: credit with exact models, its expected step, and that it learns what can be learned."""

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.envs import Interleaving, KeyToDoor, LayeredMDP
from mesocosm.envs.random_mdp import random_mdp
from mesocosm.learning import exact_credit as credit
from mesocosm.learning.fit import fit
from mesocosm.learning.optimizers import adam
from mesocosm.learning.outcomes import reward_outcomes, state_outcomes
from mesocosm.learning.policy_gradient import CreditedSteps, PolicyGradient, negative_p_log_p
from mesocosm.nn.policy import NetworkPolicy, TabularPolicy, explore

ENV = KeyToDoor(6)
PARAMS = ENV.params(layout=5)
UNIT = 0.1 * 23 / 6


def build(key):
    return TabularPolicy(0.3 * jax.random.normal(key, (12, 4)))


def network(key):
    return NetworkPolicy.create(9, 4, width=16, key=key)


def credits():
    mdp = ENV.tabular(PARAMS)
    layered = LayeredMDP.of(mdp)
    return {
        "reinforce": credit.Reinforce(),
        "advantage": credit.ExactAdvantage(layered),
        "q-critic": credit.ExactQCritic(layered),
        "trajcv": credit.ExactTrajCV(layered),
        "cocoa-reward": credit.ExactCocoa.of(layered, reward_outcomes(mdp)),
        "hca-plus": credit.ExactCocoa.of(layered, state_outcomes(mdp)),
        "counterfactual": credit.ExactCounterfactualReturn.of(mdp, UNIT),
        "hca-return": credit.ExactHCAReturn.of(mdp, UNIT),
    }


def learner(name, build=build, batch_size=8, learning_rate=0.05, entropy=0.0):
    rate = {"learning_rate": learning_rate}
    return PolicyGradient(build, ENV, PARAMS, ENV.tabular(PARAMS).observations, credits()[name], adam, rate, entropy, 0.05, batch_size)


def flat(policy):
    return jax.flatten_util.ravel_pytree(eqx.filter(policy, eqx.is_inexact_array))[0]


def gradients(name, build=build, batches=48):
    """The learner's own gradient, one a batch of 64 episodes."""

    def plain(learning_rate):
        import optax

        return optax.sgd(learning_rate)

    one = learner(name, build, 64, 1.0)
    one = PolicyGradient(one.build, ENV, PARAMS, one.observations, one.credit, plain, {"learning_rate": 1.0}, 0.0, 0.05, 64)
    state = one.init(jax.random.key(3))
    step = jax.jit(lambda key: flat(one.update(state, key)[0].model))
    before = flat(state.model)
    return one, state, np.stack([step(key) - before for key in jax.random.split(jax.random.key(0), batches)])


@pytest.mark.whole
@pytest.mark.parametrize("name", ["reinforce", "advantage", "q-critic", "trajcv", "cocoa-reward", "hca-plus", "counterfactual", "hca-return"])
def test_the_mean_step_is_the_true_gradient(name):
    """Within sampling error, through the mixture with exploration; HCA-return's is not."""
    one, state, found = gradients(name)
    mdp = ENV.tabular(PARAMS)

    def policy(logits):
        return explore(logits, 0.05)

    table = policy(state.model.logits)
    true = dp.policy_gradient(policy, state.model.logits, dp.occupancy(mdp, table)[:, None] * dp.action_values(mdp, table)).reshape(-1) / ENV.length
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found)) + 1e-6
    z = (found.mean(axis=0) - true) / error
    assert np.abs(true).max() > 0.003
    assert (np.abs(z).max() < 4.5) == (name != "hca-return"), np.abs(z).max()
    assert one.model(state) is state.model


def test_the_objective_is_its_formula_also_where_an_episode_has_ended():
    one = learner("q-critic", entropy=0.7)
    random, model = np.random.default_rng(0), build(jax.random.key(1))
    states, taken = random.integers(0, 12, (3, 6)), np.arange(6) < np.array([[2], [6], [4]])
    rewards, contributions = random.standard_normal((3, 6)).astype(np.float32), random.standard_normal((3, 6, 4)).astype(np.float32)
    table = np.asarray(one.probabilities(model), np.float64)
    steps = credit.Steps(*map(jnp.asarray, (states, np.zeros((3, 6), np.int32), rewards, table[states].astype(np.float32), taken)))
    loss, metrics = one.objective(model, CreditedSteps(steps, jnp.asarray(contributions)), jax.random.key(0))
    gain = np.sum(table[states] * contributions, axis=-1) * taken
    entropy = -np.sum(table[states] * np.log(table[states]), axis=-1) * taken
    np.testing.assert_allclose(loss, -gain.sum() / 18 - 0.7 * entropy.sum() / 18, rtol=1e-5)
    np.testing.assert_allclose(metrics["return"], rewards.sum() / 3, rtol=1e-5)


@pytest.mark.whole
def test_steps_after_the_end_of_an_episode_are_not_taken():
    rooms = Interleaving(3, 2, 1)
    params = rooms.params(death=0.5)
    observations = rooms.tabular(params).observations
    one = PolicyGradient(build, rooms, params, observations, credit.Reinforce(), adam, {"learning_rate": 0.1}, 0.0, 0.0, 64)
    steps = one.episodes(jnp.full((len(observations), rooms.num_actions), 1 / rooms.num_actions), jax.random.key(0))
    lengths = np.asarray(steps.taken).sum(axis=1)
    np.testing.assert_array_equal(steps.taken, np.arange(steps.taken.shape[1]) < lengths[:, None])
    assert lengths.min() == 1
    assert 1.5 < lengths.mean() < 2.5


@pytest.mark.whole
def test_a_network_policy_learns_through_the_same_table():
    """Its gradient is that of the table, pulled back."""
    _, state, found = gradients("q-critic", network, batches=24)
    trained, fixed = eqx.partition(state.model, eqx.is_inexact_array)
    mdp, (vector, unravel) = ENV.tabular(PARAMS), jax.flatten_util.ravel_pytree(trained)

    def policy(vector):
        return explore(eqx.combine(unravel(vector), fixed)(jnp.asarray(mdp.observations, jnp.float32)), 0.05)

    table = policy(vector)
    true = dp.policy_gradient(policy, vector, dp.occupancy(mdp, table)[:, None] * dp.action_values(mdp, table)) / ENV.length
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found)) + 1e-6
    assert np.abs((found.mean(axis=0) - true) / error).max() < 5.5


@pytest.mark.slow
def test_arrays_are_an_environment_to_learn_in():
    """Episodes are sampled from the arrays; the optimum comes from dynamic programming."""
    mdp = random_mdp(jax.random.key(1), states=6, actions=3, rewards=3, layers=3)
    start = Partial(lambda key: TabularPolicy(jnp.zeros((6, 3))))
    one = PolicyGradient(start, mdp, mdp, mdp.observations, credit.ExactQCritic(LayeredMDP.of(mdp)), adam, {"learning_rate": 0.1}, 0.0, 0.0, 16)

    def value(policy):
        return float(np.sum(np.asarray(mdp.initial)[:, None] * policy * dp.action_values(mdp, policy)))

    best = np.zeros((6, 3))
    for _ in range(3):
        best = mdp.mean_reward + mdp.transition @ best.max(axis=1)
    optimum = float(mdp.initial @ best.max(axis=1))
    learned = fit(one, 200, [0]).model.logits[0]
    assert value(jnp.full((6, 3), 1 / 3)) < 0.9 * optimum
    assert value(jax.nn.softmax(learned)) > 0.98 * optimum


@pytest.mark.slow
def test_cocoa_learns_what_reinforce_does_not():
    """The treasure is hidden behind noisy apples; the same number of episodes teaches one and not the other."""
    took = {}
    for name in ("cocoa-reward", "reinforce"):
        one = learner(name, network, learning_rate=0.01, entropy=0.02)
        took[name] = fit(one, 250, range(4), probe=(key_probability, 250)).probes["key"][:, -1]
    assert np.median(took["cocoa-reward"]) > 0.8
    assert took["cocoa-reward"].mean() > took["reinforce"].mean() + 0.1


def key_probability(learner, state, key):
    return {"key": learner.probabilities(state.model)[0, 0]}


@pytest.mark.whole
def test_entropy_pulls_towards_the_uniform_policy():
    sharp = Partial(lambda key: TabularPolicy(jnp.zeros((12, 4)).at[:, 0].set(3.0)))
    after = [fit(learner("q-critic", sharp, entropy=entropy), 60, [0]).model.logits[0, 0] for entropy in (0.0, 30.0)]
    assert jax.nn.softmax(after[1]).max() < jax.nn.softmax(after[0]).max() - 0.2


def test_exploration_is_a_mixture():
    np.testing.assert_allclose(explore(jnp.array([100.0, 0.0]), 0.1), [0.95, 0.05], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.slow
def test_entropy_of_a_certain_policy_is_zero_with_a_finite_gradient(dtype):
    logits = jnp.array([[200.0, 0.0, -1e4], [3.0, -jnp.inf, -jnp.inf], [0.0, 0.0, 0.0]], dtype)

    def entropy(logits):
        return negative_p_log_p(jax.nn.softmax(logits, axis=-1)).sum(-1)

    np.testing.assert_allclose(entropy(logits).astype("float32"), [0.0, 0.0, np.log(3.0)], atol=2e-2 if dtype != "float32" else 1e-6)
    assert jnp.isfinite(jax.grad(lambda logits: entropy(logits).sum())(logits)).all()
    p = jnp.array([0.0, float(jnp.finfo(dtype).smallest_subnormal), 0.5, 1.0], dtype)
    np.testing.assert_allclose(negative_p_log_p(p).astype("float32"), [0.0, 0.0, 0.5 * np.log(2.0), 0.0], atol=2e-2 if dtype == "bfloat16" else 1e-3)
    assert jnp.isfinite(jax.vmap(jax.grad(negative_p_log_p))(p)).all()
