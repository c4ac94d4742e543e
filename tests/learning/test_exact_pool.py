"""Pairs with exact gradients: each agent's step is its own gradient, arms do not touch each other, and a look-ahead is LOLA-DICE's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from mesocosm.envs.matrix_game import PRISONERS_DILEMMA
from mesocosm.learning.exact_pool import LookingAhead, MixedPairs, logit_values, scattered_pairs
from mesocosm.learning.lola import lola_dice, shaping_return
from mesocosm.learning.optimizers import sgd

ARMS, DISCOUNTS = 3, np.array([0.9, 0.8, 0.9])
P_NAIVE, MIX, STEPS, RATES = np.array([1.0, 0.0, 0.3]), np.array([1.0, 1.0, 0.4]), np.array([0, 1, 3]), np.array([2.0, 4.0, 2.0])
BUILD = Partial(scattered_pairs, np.zeros((ARMS, 5)), np.ones(ARMS))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64():
        yield


def ascents(learner):
    """Every agent's step of unit size, and what went in."""
    state, key = learner.init(jax.random.key(0)), jax.random.key(1)
    batch = learner.batch(state.model, jax.random.split(key)[0])
    return learner.update(state, key).state.model - state.model, state.model, batch


def value(discount):
    return lambda own, other, key=None: logit_values(PRISONERS_DILEMMA, discount, own, other)


@pytest.mark.slow
def test_each_agent_of_a_mixed_pool_ascends_its_own_mixture():
    learner = MixedPairs(BUILD, sgd, {"learning_rate": 1.0}, P_NAIVE, DISCOUNTS, 2.0, updates=2, learners=3)
    steps, pairs, naive = ascents(learner)

    def mixture(own, other, learners, share, discount):
        shaped = jnp.mean(jnp.stack([shaping_return(value(discount), own, q, 2.0, 2) for q in learners]))
        return share * shaped + (1 - share) * value(discount)(own, other)[0]

    gradient = jax.jit(jax.grad(mixture))
    for arm in range(ARMS):
        for agent in range(2):
            wanted = gradient(pairs[arm, agent], pairs[arm, 1 - agent], naive[agent], P_NAIVE[arm], DISCOUNTS[arm])
            np.testing.assert_allclose(steps[arm, agent], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.whole
def test_a_look_ahead_is_that_of_lola_dice_with_the_arms_steps_and_rate():
    steps, pairs, _ = ascents(LookingAhead(BUILD, sgd, {"learning_rate": 1.0}, MIX, DISCOUNTS, RATES, STEPS, longest=3))
    for arm in range(ARMS):
        of = value(DISCOUNTS[arm])

        def mixture(own, other, of=of, arm=arm):
            return MIX[arm] * lola_dice(of, own, other, RATES[arm], int(STEPS[arm])) + (1 - MIX[arm]) * of(own, other)[0]

        gradient = jax.jit(jax.grad(mixture))
        for agent in range(2):
            np.testing.assert_allclose(steps[arm, agent], gradient(pairs[arm, agent], pairs[arm, 1 - agent]), rtol=1e-9, atol=1e-12)


def test_arms_start_from_the_same_noise_about_their_centres():
    centres = np.arange(10.0).reshape(2, 5)
    pairs = scattered_pairs(centres, np.array([1.0, 0.0]), jax.random.key(0))
    np.testing.assert_allclose(pairs[1], np.stack([centres[1]] * 2))
    np.testing.assert_allclose(pairs[0] - centres[0], scattered_pairs(centres, np.ones(2), jax.random.key(0))[1] - centres[1], rtol=1e-10)
    assert np.abs(pairs[0][0] - pairs[0][1]).min() > 1e-6
