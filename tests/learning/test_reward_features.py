"""Reward features: their formulas, the derivative through the threshold, shrinkage, and that they find what the reward depends on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.learning.fit import fit
from mesocosm.learning.optimizers import adam, sgd
from mesocosm.learning.reward_features import FeatureLearner, GatedRewardFeatures, RewardFeatures, RewardSamples, reward_error

ACTIONS, FEATURES = 2, 3


def samples(number=400):
    """Action 0 is paid by the first entry of the observation, action 1 by the second; the third is noise."""
    draw = np.random.default_rng(0)
    observations, actions = draw.integers(0, 2, (number, FEATURES)).astype(np.float32), draw.integers(0, 2, number).astype(np.int32)
    rewards = 0.5 * np.take_along_axis(observations, actions[:, None], axis=1)[:, 0]
    return RewardSamples(jnp.asarray(observations), jnp.asarray(actions), jnp.asarray(rewards))


def build(key):
    return RewardFeatures.create(FEATURES, ACTIONS, key=key)


def gated(key):
    return GatedRewardFeatures.create(FEATURES, ACTIONS, outcome_dim=16, key=key)


def test_masked_features_are_their_formula():
    model = eqx.tree_at(lambda m: m.mask, build(jax.random.key(0)), jax.random.normal(jax.random.key(1), (ACTIONS, FEATURES)))
    x, a = np.array([[1.0, -2.0, 0.01], [0.5, 3.0, -1.0]], np.float32), np.array([1, 0], np.int32)
    y = np.asarray(model.mask)[a] ** 2 * x
    np.testing.assert_allclose(model(jnp.asarray(x), jnp.asarray(a)), np.maximum(y, 0) @ np.asarray(model.readout), rtol=1e-5)
    np.testing.assert_array_equal(model.outcomes(jnp.asarray(x), jnp.asarray(a)), (y > 0.05) * 1.0)
    slope = jax.grad(lambda x: model(x, jnp.int32(0)))(jnp.array([1.0, -2.0, 3.0]))
    np.testing.assert_allclose(slope, np.asarray(model.mask)[0] ** 2 * np.asarray(model.readout), rtol=1e-5)  # also where the ReLU is flat


def test_gated_features_are_their_formula():
    model = gated(jax.random.key(0))
    x, a = np.array([[1.0, -2.0, 0.01], [0.5, 3.0, -1.0]], np.float32), np.array([1, 0], np.int32)
    y = np.stack([np.asarray(model.mask)[action] ** 2 @ row for row, action in zip(x, a, strict=True)])
    np.testing.assert_array_equal(model.outcomes(jnp.asarray(x), jnp.asarray(a)), (y > 0.05) * 1.0)
    np.testing.assert_allclose(model(jnp.asarray(x), jnp.asarray(a)), (y > 0.05) @ np.asarray(model.readout), rtol=1e-5)
    slope = jax.grad(lambda x: model(x, jnp.int32(0)))(jnp.asarray(x[0]))
    np.testing.assert_allclose(slope, np.asarray(model.readout) @ np.asarray(model.mask)[0] ** 2, rtol=1e-4)


def test_each_step_ends_with_the_shrinkage():
    learner = FeatureLearner(build, samples(), sgd, {"learning_rate": 0.1}, 0.25, 0.5)
    state = learner.init(jax.random.key(0))
    after, metrics = learner.update(state, jax.random.key(1))
    s = samples()

    def error(model):
        return jnp.mean((model(s.observations, s.actions) - s.rewards) ** 2)

    slope = eqx.filter_grad(error)(state.model)
    np.testing.assert_allclose(after.model.mask, 0.75 * (state.model.mask - 0.1 * slope.mask), rtol=1e-5)
    np.testing.assert_allclose(after.model.readout, 0.5 * (state.model.readout - 0.1 * slope.readout), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], error(state.model), rtol=1e-5)


@pytest.mark.whole
@pytest.mark.parametrize("make", [build, gated], ids=["mask", "gates"])
def test_they_learn_what_the_reward_depends_on(make):
    """The outcomes tell paid steps from unpaid ones; masks drop the noise."""
    s = samples()
    learned = fit(FeatureLearner(make, s, adam, {"learning_rate": 0.01}, 0.003, 0.0), 1500, [0]).model
    model = jax.tree.map(lambda leaf: leaf[0], learned)
    outcomes = np.asarray(model.outcomes(s.observations, s.actions))
    paid = {tuple(row) for row in outcomes[np.asarray(s.rewards) > 0]}
    unpaid = {tuple(row) for row in outcomes[np.asarray(s.rewards) == 0]}
    assert paid
    assert not paid & unpaid
    if make is build:
        assert np.abs(np.asarray(model.mask)[:, 2]).max() < 0.2


def test_the_error_of_mean_rewards_is_that_of_the_steps_but_for_a_constant():
    """Events seen once, twice and five times, whose rewards vary; two models."""
    draw, counts = np.random.default_rng(0), np.array([1, 2, 5])
    observations, actions, rewards = draw.random((3, FEATURES)), np.array([0, 1, 0]), draw.random(8)
    event = np.repeat(np.arange(3), counts)
    steps = RewardSamples(jnp.asarray(observations[event], jnp.float32), jnp.asarray(actions[event]), jnp.asarray(rewards, jnp.float32))
    means = np.array([rewards[event == each].mean() for each in range(3)])
    shares = jnp.asarray(counts / 8, jnp.float32)
    events = RewardSamples(jnp.asarray(observations, jnp.float32), jnp.asarray(actions), jnp.asarray(means, jnp.float32), shares)
    constants = [float(reward_error(model, steps) - reward_error(model, events)) for model in (build(jax.random.key(0)), build(jax.random.key(1)))]
    np.testing.assert_allclose(constants, np.mean((rewards - means[event]) ** 2), rtol=1e-4)
