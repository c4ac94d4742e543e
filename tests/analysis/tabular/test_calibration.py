"""Calibration of hindsight distributions: exact ones, ones that know nothing, and sums over all pairs of all episodes."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.analysis.tabular.calibration import compare_coefficients, hindsight_calibration
from mesocosm.envs.random_mdp import random_mdp, random_policy
from mesocosm.learning.outcomes import reward_outcomes

STATES, ACTIONS, REWARDS = 5, 3, 2


@pytest.fixture(scope="module")
def problem():
    with jax.enable_x64():
        mdp = random_mdp(jax.random.key(0), STATES, ACTIONS, REWARDS)
        policy = jax.nn.softmax(random_policy(jax.random.key(1), STATES, ACTIONS))
        classes, number = reward_outcomes(mdp)
        return mdp, policy, classes, dp.exact_coefficients(mdp, policy, classes, number)


@pytest.mark.whole
def test_exact_coefficients_are_calibrated_and_have_the_least_log_loss(problem):
    with jax.enable_x64():
        mdp, policy, classes, w = problem
        found = hindsight_calibration(mdp, policy, classes, w)
        assert float(found.log_loss) == pytest.approx(float(found.least_log_loss), abs=1e-12)
        assert max(float(found.calibration_error), float(found.coefficient_error)) < 1e-12
        assert float(found.coefficient_size) > 0.01
        assert float(found.policy_log_loss) > float(found.least_log_loss)


@pytest.mark.whole
def test_coefficients_of_zero_are_the_policy(problem):
    with jax.enable_x64():
        mdp, policy, classes, w = problem
        found = hindsight_calibration(mdp, policy, classes, 0 * w)
        assert float(found.log_loss) == pytest.approx(float(found.policy_log_loss), abs=1e-12)
        assert float(found.coefficient_error) == pytest.approx(float(found.coefficient_size), abs=1e-12)


def test_all_errors_are_their_sums_over_pairs():
    draw = np.random.default_rng(0)
    policy, pairs = draw.dirichlet(np.ones(ACTIONS), STATES), draw.random((STATES, 4))
    h, p = (np.moveaxis(draw.dirichlet(np.ones(ACTIONS), (STATES, 4)), 2, 1) for _ in range(2))
    w, exact = h / policy[..., None] - 1, p / policy[..., None] - 1
    found = compare_coefficients(*(jnp.asarray(x, jnp.float32) for x in (w, exact, policy, pairs)), bins=5)
    losses, square, size, gaps = np.zeros(3), 0.0, 0.0, np.zeros(5)
    for s in range(STATES):
        for u in range(4):
            share = pairs[s, u] / pairs.sum()
            for a in range(ACTIONS):
                losses += share * p[s, a, u] * -np.log([h[s, a, u], p[s, a, u], policy[s, a]])
                square += share * policy[s, a] * (w[s, a, u] - exact[s, a, u]) ** 2
                size += share * policy[s, a] * exact[s, a, u] ** 2
                gaps[int(h[s, a, u] * 5)] += share * (h[s, a, u] - p[s, a, u]) / ACTIONS
    np.testing.assert_allclose(found[:3], losses, rtol=1e-4)
    np.testing.assert_allclose(found[3:], [np.abs(gaps).sum(), square**0.5, size**0.5], rtol=1e-4)


@pytest.mark.whole
def test_what_does_not_fit_or_is_not_finite_is_refused(problem, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would complain first
    mdp, policy, classes, w = jax.tree.map(lambda x: np.asarray(x, np.float32 if np.issubdtype(x.dtype, np.floating) else x.dtype), problem)
    with pytest.raises(ValueError, match=r"the shape of the coefficients is \[5, 2, 2\], not \[5, 3, 2\]"):
        hindsight_calibration(mdp, policy, classes, w[:, :2])
    with pytest.raises(ValueError, match=r"the shape of the policy is \[4, 3\], not \[5, 3\]"):
        hindsight_calibration(mdp, policy[:4], classes, w)
    with pytest.raises(ValueError, match=r"the shape of the outcomes is \[5, 3, 1\], not \[5, 3, 2\]"):
        hindsight_calibration(mdp, policy, classes[..., :1], w)
    with pytest.raises(ValueError, match="coefficients of 1 outcomes, and an event has outcome 1"):
        hindsight_calibration(mdp, policy, classes, w[..., :1])
    with pytest.raises(ValueError, match="one bin or more, not 0"):
        hindsight_calibration(mdp, policy, classes, w, bins=0)
    with pytest.raises(ValueError, match=r"the shape of the pairs is \[5, 1\], not \[5, 2\]"):
        compare_coefficients(w, w, policy, jnp.ones((5, 1)))
    lost = np.where(np.arange(STATES)[:, None, None] == 0, np.nan, w)
    with pytest.raises(ValueError, match="a learned coefficient is not finite"):
        hindsight_calibration(mdp, policy, classes, lost)
    assert all(np.isnan(jax.jit(compare_coefficients)(lost, w, policy, jnp.ones((5, 2)))[i]) for i in (0, 3, 4))  # in a compiled program it shows


@pytest.mark.whole
def test_pairs_count_as_often_as_they_are_seen(problem):
    """Sampled: the log loss of the policy is the mean over pairs of a step and a later reward of one class, -log pi(A | S)."""
    mdp, policy, classes, _ = problem
    kept = np.where(np.asarray(classes) == 1, 0, -1)  # one outcome, the second reward
    with jax.enable_x64():
        found = hindsight_calibration(mdp, policy, kept, jnp.zeros((STATES, ACTIONS, 1)))
    draw = np.random.default_rng(0)
    transition, rewards, chances = (np.asarray(x, np.float64) for x in (mdp.transition, mdp.reward_probability, policy))
    total, count = 0.0, 0
    for _ in range(20000):
        state, surprises = draw.choice(STATES, p=np.asarray(mdp.initial)), []
        while state < STATES:
            action = draw.choice(ACTIONS, p=chances[state])
            if draw.random() < rewards[state, action, 1]:
                total, count = total + sum(surprises), count + len(surprises)
            surprises.append(-np.log(chances[state, action]))
            state = draw.choice(STATES + 1, p=[*transition[state, action], max(0.0, 1 - transition[state, action].sum())])
    assert float(found.policy_log_loss) == pytest.approx(total / count, rel=0.02)
