"""The cocoa study's trials against their definitions: what is measured of a policy, which models learn from what, and what a switch or noise changes."""

from types import MappingProxyType, SimpleNamespace
from unittest.mock import Mock

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mesocosm.analysis.tables import long_table
from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.envs import KeyToDoor
from mesocosm.envs.key_to_door import APPLE_LEFT, APPLE_RIGHT, OPEN_DOOR, TAKE_KEY
from mesocosm.learning.actor_credit import ActorCreditState
from mesocosm.learning.credit_calibration import event_classes
from mesocosm.learning.exact_credit import ExactQCritic, Reinforce, Steps
from mesocosm.learning.gradient_learner import GradientState
from mesocosm.learning.learned_credit import Coefficients, Experience
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.policy_gradient import PolicyGradient
from mesocosm.learning.reward_features import RewardFeatures
from mesocosm.nn.policy import TabularPolicy
from mesocosm.studies.cocoa import learned, shadow, switched
from mesocosm.studies.cocoa.config import Features, LearnedModels, Learning, LearningRates, Rooms, Shadow, Switched
from mesocosm.studies.cocoa.features import FeatureOutcomes, _build, _samples, learn_features
from mesocosm.studies.cocoa.learned import LearnedArm, actor_credit, learned_credit, learner_of, learner_of_arm, progress, train_policy
from mesocosm.studies.cocoa.perturbed import _noisy, skilled
from mesocosm.studies.cocoa.rooms import RoomsArm, correct, room_credit, rooms_of
from mesocosm.studies.cocoa.shadow import ShadowArm, first_step, measure, shadow_learner, train_shadows
from mesocosm.studies.cocoa.signal import exact_credit
from mesocosm.studies.cocoa.switched import ExactSwitchedArm, SwitchedArm, learn_switched, learn_switched_exactly
from mesocosm.studies.cocoa.track import track_of
from mesocosm.studies.cocoa.train import EstimatorArm, learn
from mesocosm.studies.interface import Context

SIZES = LearnedModels(length=6, width=4, exploration=0.5)
TRACK = track_of(SIZES)
OBSERVATIONS = jnp.asarray(TRACK.mdp.observations, jnp.float32)
SHADOW = Shadow(length=6, width=4, exploration=0.5, batch_size=4, estimators=("cocoa-reward", "advantage"), exact=("q-critic",))


def context_of(seeds, fit):
    """A context that evaluates, makes tables, and has this instead of training."""
    context = Mock(spec=Context)
    context.seeds = list(range(seeds))
    context.fit.side_effect = fit
    context.keys.side_effect = lambda stream: jax.random.split(jax.random.key(0), seeds)
    context.evaluate.side_effect = lambda function, *per_seed, shared=(): jax.vmap(lambda *parts: function(*parts, *shared))(*per_seed)
    context.rows.side_effect = lambda axes=MappingProxyType({}), **columns: long_table({"seed": range(seeds), **axes}, **columns)
    return context


def treasure_of(policy):
    """Of a track of length 6."""
    return float(policy[0, TAKE_KEY] * policy[8, OPEN_DOOR])


# --- what is measured


@pytest.mark.whole
def test_the_treasure_is_measured_without_exploration_and_the_bias_with_it():
    """Half of all actions explore."""
    learner = learner_of(SIZES, LearningRates(1e-3, 1e-3), TRACK, learned_credit("q-critic", SIZES, TRACK))
    state = learner.init(jax.random.key(0))
    greedy = jax.nn.softmax(state.policy.model(OBSERVATIONS))
    found, table = progress(TRACK.process, learner, state, jax.random.key(1)), 0.5 * greedy + 0.125
    assert float(found["treasure"]) == pytest.approx(treasure_of(greedy), rel=1e-5)
    assert float(found["key"]) == pytest.approx(float(greedy[0, TAKE_KEY]), rel=1e-5)
    true, believed = dp.action_values(TRACK.mdp, table)[0], jax.vmap(state.credit.model)(OBSERVATIONS)[0]

    def gradient(contribution):
        return np.asarray(table[0] * (contribution - table[0] @ contribution), np.float64)

    wanted = np.sum((gradient(believed) - gradient(true)) ** 2) / np.sum(gradient(true) ** 2)
    assert float(found["logit_bias"]) == pytest.approx(wanted, rel=1e-3)


def test_the_last_tenth_is_what_comes_after_nine_tenths():
    """With learned and with exact models; solved is what was above 0.9 up to the tenth iteration, that included."""
    treasure = np.array([[0.1, 0.95, 0.2, 0.5, 0.7], [0.1, 0.2, 0.99, 0.0, 0.4]])
    fitted = SimpleNamespace(model=None, state=None, probe_steps=np.array([0, 10, 18, 19, 20]), probes={"treasure": treasure, "key": treasure})
    context = context_of(2, lambda *args, **options: fitted)
    learner = learner_of(SIZES, LearningRates(1e-3, 1e-3), TRACK, Reinforce())
    tables = train_policy("reinforce", LearnedModels(length=6, steps=20, every=1), TRACK, learner, context)
    assert tables["learned_last"]["last"].to_list() == pytest.approx([0.6, 0.2])
    assert tables["learned_last"]["mean"].to_list() == pytest.approx([0.49, 0.338])
    solved = learn(EstimatorArm("reinforce", Learning(length=6, steps=20, solved_by=10)), context)["solved"]
    assert solved["last"].to_list() == pytest.approx([0.6, 0.2])
    assert solved["solved"].to_list() == [1, 0]


@pytest.mark.parametrize("name", ["q-critic", "advantage", "trajcv", "cocoa-reward", "hca-plus"])
def test_an_estimator_does_not_know_whether_its_models_are_exact_or_learned(name):
    """The learned one, given exact models instead of a network's, credits an episode as the exact one does."""
    exact, credit = exact_credit(name, TRACK.env, TRACK.params), learned_credit(name, SIZES, TRACK)
    policy = jax.nn.softmax(jax.random.normal(jax.random.key(0), (12, 4)))
    states = jnp.array([0, 2, 4, 6, 8, 11])  # with the key, to the treasure
    small, treasure, large = sorted(TRACK.rewards)
    rewards = jnp.array([0.0, large, 0.0, small, 0.0, treasure])
    steps = Steps(states, jnp.array([TAKE_KEY, 1, 0, 2, OPEN_DOOR, 1]), rewards, policy[states], jnp.ones(6, bool))
    models = given = exact.models(policy)
    if name in ("cocoa-reward", "hca-plus"):
        given = Coefficients(models[..., name == "cocoa-reward" :], OBSERVATIONS)  # the first reward is 0
    np.testing.assert_allclose(credit.contributions(given, steps), exact.contributions(models, steps), rtol=1e-5, atol=1e-6)
    assert jnp.abs(exact.contributions(models, steps)[0]).max() > 0.01


# --- shadow training


def shadow_state():
    learner = shadow_learner(SHADOW, SIZES, TRACK, None)
    return learner, learner.init(jax.random.key(0))


def test_equal_networks_of_shadow_training_start_equal():
    sizes = Shadow(length=6, width=4, estimators=("q-critic", "trajcv", "advantage"), exact=())
    critic, trajcv, advantage = shadow_learner(sizes, SIZES, TRACK, None).init(jax.random.key(0)).shadows
    for a, b in zip(*(jax.tree.leaves(eqx.filter(each.model, eqx.is_array)) for each in (critic, trajcv)), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(advantage.model.layers[0].weight, critic.model.layers[0].weight)


@pytest.mark.slow
def test_every_shadow_learns_from_the_policys_episodes_at_its_own_rate():
    """One step by hand; the policy learns as with the exact Q-critic alone."""
    learner, state = shadow_state()
    key = jax.random.key(1)
    after, _ = learner.update(state, key)
    table = learner.probabilities(state.policy.model)
    steps = learner.episodes(table, key)
    for credit, rate, before, now in zip(learner.shadows, (3e-3, 1e-3), state.shadows, after.shadows, strict=False):
        trained, fixed = eqx.partition(before.model, eqx.is_inexact_array)
        slope = jax.grad(lambda part, credit=credit, fixed=fixed: credit.loss(eqx.combine(part, fixed), Experience(OBSERVATIONS, table, steps)))(trained)
        optimizer = optax.adamw(rate, weight_decay=1e-4)
        wanted = optax.apply_updates(trained, optimizer.update(slope, optimizer.init(trained), trained)[0])
        for a, b in zip(jax.tree.leaves(eqx.filter(now.model, eqx.is_inexact_array)), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    rates = {"learning_rate": SHADOW.learning_rate, "weight_decay": 1e-4}
    critic = ExactQCritic(TRACK.process.layered)
    plain = PolicyGradient(learner.build, TRACK.env, TRACK.params, TRACK.mdp.observations, critic, adamw, rates, SHADOW.entropy, 0.5, 4)
    alone = plain.step(state.policy, plain.credited(table, steps), key)[0].model
    for a, b in zip(*(jax.tree.leaves(eqx.filter(policy, eqx.is_inexact_array)) for policy in (after.policy.model, alone)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.whole
def test_shadows_are_measured_by_the_gradient_of_the_first_step():
    """By all parameters, with exploration; the treasure without it, and exact models without bias or error."""
    learner, state = shadow_state()
    trained, fixed = eqx.partition(state.policy.model, eqx.is_inexact_array)

    def chance(part, action):
        return 0.5 * jax.nn.softmax(eqx.combine(part, fixed)(OBSERVATIONS))[0, action]

    jacobian = np.stack([jax.flatten_util.ravel_pytree(jax.grad(chance)(trained, action))[0] for action in range(4)]).astype(np.float64)
    root = np.asarray(first_step(learner, state.policy.model), np.float64)
    np.testing.assert_allclose(root @ root.T, jacobian @ jacobian.T, rtol=1e-3, atol=1e-5 * np.sum(jacobian**2))
    found = measure(TRACK.process, 8, learner, state, jax.random.key(2))
    assert float(found["treasure"]) == pytest.approx(treasure_of(jax.nn.softmax(state.policy.model(OBSERVATIONS))), rel=1e-5)
    assert float(found["bias"][2]) < 1e-8 < float(found["bias"][0])


class Stopped(Exception):
    """What a test wanted to see was seen."""


@pytest.mark.whole
def test_every_seed_has_features_of_its_own(monkeypatch):
    """In training and in shadow training; the other arrays are the same for all."""
    tables = np.arange(2 * 12 * 4).reshape(2, 12, 4) % 3
    features = FeatureOutcomes(tables, np.stack([np.eye(3, 9), 2 * np.eye(3, 9)]), np.array([3, 3]), np.array([True, True]))
    seen = []

    def fit(name, learner, *args, **options):
        seen.append(learner)
        raise Stopped

    for module in (learned, shadow):
        monkeypatch.setattr(module, "learn_features", lambda *args: (features, context_of(2, fit).rows(number=np.array([3, 3]))))
    learner, found = learner_of_arm(LearnedArm("cocoa-feature", SIZES, Features()), context_of(2, fit), TRACK)
    assert found["features"]["number"].to_list() == [3, 3]
    sizes = Shadow(length=6, width=4, estimators=("cocoa-reward", "cocoa-feature", "reinforce"), exact=("q-critic",))
    with pytest.raises(Stopped):
        train_shadows(ShadowArm(sizes, Features()), context_of(2, fit))
    for credit in (learner.credit, seen[0].shadows[1]):
        np.testing.assert_array_equal(credit.table, features.table)
        np.testing.assert_array_equal(credit.features_of, features.vectors)
    assert learner.observations.shape == (2, *OBSERVATIONS.shape)


# --- features


@pytest.mark.whole
def test_samples_are_mean_rewards_of_the_uniform_policy_over_the_largest():
    """Of 4000 episodes; what was not seen has no share."""
    env = KeyToDoor(5)
    mdp = env.tabular(env.default_params)
    found = _samples(env, 4000, jax.random.key(0), env.default_params, mdp)
    share, wanted = np.asarray(found.shares).reshape(10, 4), np.asarray(dp.occupancy(mdp, jnp.full((10, 4), 0.25))) / 5 / 4
    np.testing.assert_allclose(share, np.broadcast_to(wanted[:, None], (10, 4)), atol=0.006)
    assert share.sum() == pytest.approx(1.0, abs=1e-5)
    exact = np.where(share > 0, np.asarray(mdp.mean_reward) / np.max(mdp.reward_values), 0.0)
    np.testing.assert_allclose(np.asarray(found.rewards).reshape(10, 4), exact, atol=0.12)
    np.testing.assert_array_equal(np.asarray(found.observations).reshape(10, 4, 9)[:, 3], np.asarray(mdp.observations, np.float32))
    assert np.asarray(found.actions).reshape(10, 4)[7].tolist() == [0, 1, 2, 3]


@pytest.mark.whole
def test_the_features_that_are_kept_predict_the_rewards_of_their_seed_best():
    """Each of two seeds has one start of three vectors that predict, and one that keeps the key's bit and predicts nothing."""
    env = KeyToDoor(9)
    params, mdp = env.default_params, env.tabular()
    cells = jnp.zeros((4, 9)).at[1, 2].set(1.0).at[2, 3].set(1.0).at[:, 6].set(1.0)
    good = RewardFeatures(cells, jnp.zeros(9).at[jnp.array([2, 3])].set(0.55).at[6].set(0.2))
    bad = RewardFeatures(cells.at[:, 8].set(1.0), jnp.zeros(9))
    learners, models = [], [jax.tree.map(lambda *leaves: jnp.stack(leaves), *pair) for pair in ((good, bad), (bad, good))]

    def fit(name, learner, steps, **options):
        learners.append((name, learner, steps, options))
        return SimpleNamespace(model=models[len(learners) - 1])

    outcomes, table = learn_features(Features(episodes=200, starts=2, steps=7), context_of(2, fit), env, params, mdp)
    assert table["number"].to_list() == [3, 3]
    assert table["separate"].to_list() == [1, 1]
    assert outcomes.vectors.shape == (2, 3, 9)
    for start, (name, learner, steps, options) in enumerate(learners):
        assert (name, steps, options) == (f"features-{start}", 7, {"per_seed": True})
        assert learner.build.args[0].tolist() == [start, start]
        assert (learner.mask_shrinkage, learner.readout_shrinkage, learner.hyperparameters["learning_rate"]) == (0.002, 0.001, 0.003)
    first, second = (_build(jnp.int32(start), 9, 4, jax.random.key(0)).readout for start in (0, 1))
    assert min(first.min(), second.min()) > 0
    assert jnp.abs(first - second).max() > 0.01


# --- switched rewards


def test_the_switch_turns_the_treasures_sign_and_what_exact_models_know(monkeypatch):
    seen = {}
    monkeypatch.setattr(switched, "_train", lambda name, sizes, learner, other, context, **options: seen.update({name: (learner, other)}) or {})
    sizes = Switched(track=LearnedModels(length=5, width=3))
    learn_switched(SwitchedArm("q-critic", sizes, Features()), Mock(spec=Context))
    learn_switched_exactly(ExactSwitchedArm("q-critic", sizes), Mock(spec=Context))
    assert set(seen) == {"q-critic", "exact-q-critic"}
    for learner, other in seen.values():
        assert float(other.params.treasure) == -float(learner.params.treasure) < 0
    before, after = (each.credit.models(jnp.full((10, 4), 0.25))[0] for each in seen["exact-q-critic"])
    assert before[TAKE_KEY] > before[OPEN_DOOR]
    assert after[TAKE_KEY] < after[OPEN_DOOR]


# --- task interleaving


ROOMS = Rooms(contexts=2, most_open=1, kinds=1, limit=150)


@pytest.mark.whole
def test_questions_are_answered_as_often_as_episodes_say():
    """2000 episodes of a policy that often sees the rewarding object."""
    env = rooms_of(ROOMS)
    params = env.default_params
    mdp, states = env.tabular(params), env.every_state()
    logits = jax.random.normal(jax.random.key(0), (mdp.states, 2)) + jnp.where(states.flip[:, None], jnp.array([0.0, 1.5]), jnp.array([1.5, 0.0]))
    learner = actor_credit(ROOMS, LearningRates(1e-3, 1e-3), lambda key: None, env, params, mdp.observations, Reinforce())
    state = ActorCreditState(GradientState(TabularPolicy(logits), None), GradientState(None, None))
    found = float(correct(mdp, learner, state, jax.random.key(1))["correct"])
    policy = jax.nn.softmax(logits)
    run = jax.vmap(lambda key: env.episode(key, lambda state: policy[env.index(state, params)], params))
    episodes = run(jax.random.split(jax.random.key(2), 2000))
    asked = np.asarray(episodes.taken & ~episodes.states.answer[:, : episodes.taken.shape[1]])
    right = (np.asarray(episodes.actions) == 1) == np.asarray(episodes.states.flip[:, : asked.shape[1]])
    assert found == pytest.approx(right[asked].mean(), abs=0.02)
    assert found > 0.6


def test_the_outcome_of_hca_plus_is_the_rewarding_room():
    mdp = rooms_of(ROOMS).tabular()
    credit = room_credit(RoomsArm("hca-plus", ROOMS), mdp)
    classes, paid = np.asarray(event_classes(credit, mdp)), np.asarray(mdp.reward_probability) * (np.asarray(mdp.reward_values) != 0) > 0
    vectors = np.asarray(credit.vectors(jnp.asarray(mdp.observations, jnp.float32)))
    assert paid.any()
    assert {*classes[paid].tolist()} == {*range(credit.number)}
    np.testing.assert_allclose(vectors[classes[paid]], np.asarray(mdp.observations)[np.nonzero(paid)[0]])


# --- noise


@pytest.mark.whole
def test_the_skilled_policy_takes_the_key_picks_every_apple_and_opens_the_door():
    env = KeyToDoor(9)
    params = env.params(layout=3)
    policy = jnp.asarray(skilled(env, params, 1.0))
    episode = env.episode(jax.random.key(0), lambda state: policy[env.index(state)], params)
    paid = np.isin(np.asarray(params.cells), [APPLE_LEFT, APPLE_RIGHT])
    assert {APPLE_LEFT, APPLE_RIGHT} <= set(np.asarray(params.cells).tolist())
    np.testing.assert_array_equal(np.asarray(episode.rewards) > 0, np.append(paid[:8], True))
    assert float(episode.rewards[-1]) == pytest.approx(float(params.treasure))
    some = skilled(env, params, 0.7)
    np.testing.assert_allclose(np.sort(some, axis=1), np.broadcast_to([0.1, 0.1, 0.1, 0.7], some.shape))


def test_noise_is_one_draw_at_every_size_on_what_each_estimator_has():
    env = KeyToDoor(5)
    exact = {name: exact_credit(name, env, env.default_params) for name in ("cocoa-reward", "hca-plus", "q-critic", "advantage", "reinforce")}
    for name, hindsight in (("cocoa-reward", True), ("hca-plus", True), ("q-critic", False), ("advantage", False)):
        small, large = (_noisy(exact, name, sigma, 10, np.random.default_rng(0)) for sigma in (0.1, 0.3))
        np.testing.assert_allclose(large.noise, 3 * small.noise)
        assert small.hindsight == hindsight
        assert 0.05 < small.noise.std() < 0.15
    assert _noisy(exact, "reinforce", 0.1, 10, np.random.default_rng(0)) is exact["reinforce"]
