"""A policy and its learned credit: one step by hand, states or steps as rows, episodes from outside, and what both learn."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.analysis.tabular.expected_contributions import expected_cocoa
from mesocosm.envs import KeyToDoor, LayeredMDP
from mesocosm.envs.key_to_door import OPEN_DOOR, TAKE_KEY
from mesocosm.learning.actor_credit import ActorCredit, Episodes
from mesocosm.learning.contributions import contribution_loss
from mesocosm.learning.exact_credit import ExactQCritic, Reinforce, Steps
from mesocosm.learning.fit import fit
from mesocosm.learning.learned_credit import Coefficients, Experience, LearnedAdvantage, LearnedCocoa, LearnedQCritic
from mesocosm.learning.optimizers import adam, sgd
from mesocosm.learning.outcomes import reward_outcomes
from mesocosm.learning.policy_gradient import PolicyGradient
from mesocosm.nn.policy import NetworkPolicy, TabularPolicy

ENV = KeyToDoor(6)
PARAMS = ENV.params(layout=5)
MDP = ENV.tabular(PARAMS)
VALUES = tuple(float(value) for value in MDP.reward_values if value)
COCOA = LearnedCocoa(9, 4, VALUES, width=16)


def network(key):
    return NetworkPolicy.create(9, 4, width=16, key=key)


def uniform(key):
    return TabularPolicy(jnp.zeros((12, 4)))


def actor(credit=COCOA, observations=None, optimizer=adam, rate=0.01, credit_rate=0.01, batch_size=8, build=network, entropy=0.0):
    rates = {"learning_rate": rate}, {"learning_rate": credit_rate}
    return ActorCredit(build, ENV, PARAMS, observations, credit, optimizer, rates[0], entropy, 0.05, batch_size, optimizer, rates[1])


def arrays(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


def assert_close(one, other, atol=1e-5):
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.whole
def test_a_step_improves_the_credit_then_the_policy_by_the_improved_credit():
    """By hand, with plain gradient descent."""
    learner = actor(optimizer=sgd, rate=0.5, credit_rate=0.3, entropy=0.2)
    state = learner.init(jax.random.key(0))
    episodes = learner.sample(state.policy.model, jax.random.key(1))
    after, metrics = learner.step(state, episodes, jax.random.key(2))

    def probabilities(policy):
        return 0.95 * jax.nn.softmax(jax.vmap(policy)(episodes.observations)) + 0.05 / 4

    table = probabilities(state.policy.model)
    rows = jnp.arange(8 * 6).reshape(8, 6)
    steps = Steps(rows, episodes.actions, episodes.rewards, table, episodes.taken)
    experience = Experience(episodes.observations.reshape(48, 9), table.reshape(48, 4), steps)

    def descend(loss, module, rate):
        moves = jax.tree.map(lambda g: -rate * g, eqx.filter_grad(loss)(module))
        return eqx.apply_updates(module, moves)

    improved = descend(lambda n: COCOA.loss(n, experience), state.credit.model, 0.3)
    models = COCOA.models_of(improved, experience.observations, experience.policy)
    contributions = jax.vmap(COCOA.contributions, in_axes=(None, 0))(models, steps)

    def loss(policy):
        chosen = probabilities(policy)
        gains = jax.vmap(contribution_loss)(chosen, contributions, episodes.taken)
        return jnp.mean(gains) + 0.2 * jnp.mean(jnp.sum(chosen * jnp.log(chosen), axis=-1))

    assert_close(after.credit.model, improved)
    assert_close(after.policy.model, descend(loss, state.policy.model, 0.5))
    assert max(jnp.abs(a - b).max() for a, b in zip(arrays(after.policy.model), arrays(state.policy.model), strict=True)) > 1e-3
    np.testing.assert_allclose(metrics["loss"], loss(state.policy.model), rtol=1e-4)
    np.testing.assert_allclose(metrics["credit_loss"], COCOA.loss(state.credit.model, experience), rtol=1e-4)


@pytest.mark.whole
@pytest.mark.parametrize("credit", [COCOA, LearnedQCritic(9, 4, width=16)])
def test_states_or_steps_as_rows_are_the_same_learner(credit):
    """The same episodes, once through the finite environment's states and once through observations only."""
    finite, seen = actor(credit, MDP.observations), actor(credit)
    state, key = finite.init(jax.random.key(0)), jax.random.key(1)
    steps = finite.episodes(finite.probabilities(state.policy.model), key)
    episodes = Episodes(jnp.asarray(MDP.observations, jnp.float32)[steps.states], steps.actions, steps.rewards, steps.taken)
    for a, b in zip(finite.update(state, key), seen.step(state, episodes, key), strict=True):
        assert_close(a, b)


@pytest.mark.whole
def test_update_is_sampling_and_a_step():
    learner = actor()
    state, key = learner.init(jax.random.key(0)), jax.random.key(1)
    for a, b in zip(learner.update(state, key), learner.step(state, learner.sample(state.policy.model, key), key), strict=True):
        assert_close(a, b)


@pytest.mark.whole
def test_episodes_from_outside_need_no_environment_and_pictures_are_observations():
    draw = np.random.default_rng(0)
    observations = jnp.asarray(draw.standard_normal((4, 5, 3, 3)), jnp.float32)
    actions = jnp.asarray(draw.integers(0, 4, (4, 5)), jnp.int32)
    taken = jnp.arange(5) < jnp.array([[5], [2], [1], [4]])
    episodes = Episodes(observations, actions, jnp.where(taken, 1.0, 0.0), taken)

    def build(key):
        return TabularPolicy(jnp.zeros((20, 4)))

    learner = replace(actor(LearnedCocoa(9, 4, (1.0,), width=8), build=build), env=None, params=None)
    state, metrics = eqx.filter_jit(learner.step)(learner.init(jax.random.key(0)), episodes, jax.random.key(1))
    assert all(jnp.isfinite(leaf).all() for leaf in arrays(state))
    np.testing.assert_allclose(metrics["return"], taken.sum() / 4)
    assert not state.policy.model.logits.reshape(4, 5, 4)[~taken].any()  # no credit after the end


@pytest.mark.whole
@pytest.mark.parametrize("credit", [Reinforce(), ExactQCritic(LayeredMDP.of(MDP))], ids=["reinforce", "exact"])
def test_credit_that_learns_nothing_gives_the_policy_gradient(credit):
    learner = actor(credit, MDP.observations)
    state, key = learner.init(jax.random.key(0)), jax.random.key(1)
    after, metrics = learner.update(state, key)
    plain = PolicyGradient(network, ENV, PARAMS, MDP.observations, credit, adam, {"learning_rate": 0.01}, 0.0, 0.05, 8)
    table = plain.probabilities(state.policy.model)
    wanted, told = plain.step(state.policy, plain.credited(table, plain.episodes(table, key)), key)
    assert_close(after.policy.model, wanted.model)
    assert metrics.keys() == told.keys()


@pytest.mark.whole
def test_both_optimisers_have_their_own_rates():
    for rate, credit_rate in ((0.1, 0.0), (0.0, 0.1)):
        learner = actor(rate=rate, credit_rate=credit_rate)
        state = learner.init(jax.random.key(0))
        after, _ = eqx.filter_jit(learner.update)(state, jax.random.key(1))
        parts = (after.policy.model, state.policy.model), (after.credit.model, state.credit.model)
        assert [any((a != b).any() for a, b in zip(arrays(x), arrays(y), strict=True)) for x, y in parts] == [rate > 0, credit_rate > 0]


# --- what is learned ---------------------------------------------------------------------------------------------------


def models(learner, state, key):
    """The present models in all states."""
    table = learner.probabilities(state.policy.model)
    found = learner.credit.models_of(state.credit.model, jnp.asarray(MDP.observations, jnp.float32), table)
    return {"models": found.w if isinstance(found, Coefficients) else found}


def learned_under_the_uniform_policy(credit, steps):
    learner = actor(credit, MDP.observations, rate=0.0, batch_size=64, build=uniform)
    return fit(learner, steps, [0], probe=(models, steps)).probes["models"][0]


POLICY = jnp.full((12, 4), 0.25)


@pytest.mark.whole
def test_learned_coefficients_approach_the_exact_ones_and_so_does_their_expected_contribution():
    encoding = reward_outcomes(MDP)
    exact = np.asarray(dp.exact_coefficients(MDP, POLICY, *encoding))
    treasure = int(np.argmin(np.abs(np.asarray(MDP.reward_values) - PARAMS.treasure)))
    errors = []
    for learned in learned_under_the_uniform_policy(COCOA, 1500):
        padded = np.concatenate([np.zeros((12, 4, 1)), learned], axis=2)  # no coefficient of the reward 0
        errors.append(np.abs(padded[0] - exact[0])[:, 1:].max())
        bias = np.asarray(expected_cocoa(MDP, POLICY, encoding.classes, jnp.asarray(padded, jnp.float32)) - dp.action_values(MDP, POLICY))
    assert exact[0, 0, treasure] == pytest.approx(3)
    assert errors[-1] < 0.35 < errors[0]
    centred = bias - bias.mean(axis=1, keepdims=True)
    assert np.abs(centred[0]).max() < 0.1 * np.abs(np.asarray(dp.action_values(MDP, POLICY))[0]).max()


@pytest.mark.slow
def test_learned_values_approach_the_exact_ones():
    q, visited = np.asarray(dp.action_values(MDP, POLICY)), np.asarray(dp.occupancy(MDP, POLICY)) > 0
    value = learned_under_the_uniform_policy(LearnedAdvantage(9, 4, width=64), 600)
    critic = learned_under_the_uniform_policy(LearnedQCritic(9, 4, width=64), 600)
    for found, wanted in ((value, q.mean(axis=1)), (critic, q)):
        first, last = (np.abs(table - wanted)[visited].mean() for table in found)
        assert last < 0.1 * np.abs(q[visited]).mean() < first


@pytest.mark.whole
def test_further_updates_are_further_steps_on_the_same_batch():
    """Three steps of the networks by hand; the policy then learns by the third."""
    learner = actor(optimizer=sgd, credit_rate=0.3, observations=MDP.observations)
    state, key = learner.init(jax.random.key(0)), jax.random.key(1)
    after, metrics = replace(learner, credit_updates=3).update(state, key)
    table = learner.probabilities(state.policy.model)
    experience = Experience(jnp.asarray(MDP.observations, jnp.float32), table, learner.episodes(table, key))
    network = state.credit.model
    assert float(metrics["credit_loss"]) == pytest.approx(float(COCOA.loss(network, experience)), rel=1e-5)
    for _ in range(3):
        moves = jax.tree.map(lambda g: -0.3 * g, eqx.filter_grad(COCOA.loss)(network, experience))
        network = eqx.apply_updates(network, moves)
    assert_close(after.credit.model, network)
    by_hand = replace(learner, credit_hyperparameters={"learning_rate": 0.0}).learn(
        state._replace(credit=state.credit._replace(model=network)), experience, key
    )
    assert_close(after.policy.model, by_hand[0].policy.model)


@pytest.mark.whole
def test_many_updates_are_one_loop():
    """The program of nine is as long as that of three; none is refused."""
    learner = actor(observations=MDP.observations)
    state, key = learner.init(jax.random.key(0)), jax.random.key(1)
    programs = (eqx.filter_make_jaxpr(replace(learner, credit_updates=updates).update)(state, key)[0] for updates in (3, 9))
    three, nine = (len(str(program)) for program in programs)
    assert abs(nine - three) < 10
    with pytest.raises(ValueError, match="one step or more on each batch, not 0"):
        replace(learner, credit_updates=0)


@pytest.mark.slow
def test_a_policy_reaches_the_treasure_unless_pairs_are_averaged_by_episode():
    """The key leads to one more reward; if its pairs then count less, apples seem to speak against it."""
    final = []
    for by_episode in (False, True):
        credit = LearnedCocoa(9, 4, VALUES, width=64, gain=0.1, by_episode=by_episode)
        learner = actor(credit, MDP.observations, rate=0.001, credit_rate=0.003, entropy=0.1)
        final.append(fit(learner, 1600, range(3), probe=(treasure, 1600)).probes["treasure"])
    by_pairs, by_episode = final
    assert by_pairs[:, -1].min() > 0.8 > 0.3 > by_pairs[:, 0].max()
    assert by_episode[:, -1].max() < 0.1


def treasure(learner, state, key):
    """Its probability without exploration."""
    chosen = jax.nn.softmax(state.policy.model(jnp.asarray(MDP.observations, jnp.float32)))
    return {"treasure": chosen[0, TAKE_KEY] * chosen[8, OPEN_DOOR]}


@pytest.mark.whole
def test_optimisers_are_any_of_optax():
    learner = replace(actor(), credit_optimizer=optax.adamw)
    assert jnp.isfinite(eqx.filter_jit(learner.update)(learner.init(jax.random.key(0)), jax.random.key(1))[1]["credit_loss"])
