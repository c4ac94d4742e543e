"""Both hindsight losses: their formulas pair by pair, and that exact frequencies of pairs give the exact coefficients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.envs.random_mdp import random_mdp, random_policy
from mesocosm.learning.hindsight_losses import CLASSIFICATION, CONTRASTIVE
from mesocosm.learning.outcomes import reward_outcomes

BOTH = pytest.mark.parametrize("objective", [CLASSIFICATION, CONTRASTIVE], ids=["classification", "contrastive"])


def by_hand(name, x, n, policy):
    """One row, in NumPy."""
    if name == "classification":
        h = policy * np.exp(x) / np.sum(policy * np.exp(x))
        return -np.sum(n * np.log(h)), h / policy - 1
    d = 1 / (1 + np.exp(-x))
    return -np.sum(n * np.log(d)) - n.sum() * np.sum(policy * np.log(1 - d)), np.minimum(d / (1 - d), 1 / policy) - 1


@pytest.mark.parametrize("name", ["classification", "contrastive"])
def test_they_are_their_formulas(name):
    objective = CLASSIFICATION if name == "classification" else CONTRASTIVE
    draw = np.random.default_rng(0)
    x, n, policy = draw.standard_normal((5, 3)), draw.random((5, 3)), draw.dirichlet(np.ones(3), 5)
    rows = [by_hand(name, *row) for row in zip(x, n, policy, strict=True)]
    given = [jnp.asarray(part, jnp.float32) for part in (x, n, policy)]
    np.testing.assert_allclose(objective.loss(*given), sum(loss for loss, _ in rows), rtol=1e-5)
    np.testing.assert_allclose(objective.coefficients(given[0], given[2]), [w for _, w in rows], rtol=1e-4, atol=1e-5)


@BOTH
def test_an_output_of_zero_gives_no_credit_for_the_future(objective):
    np.testing.assert_allclose(objective.coefficients(jnp.zeros(3), jnp.array([0.2, 0.3, 0.5])), 0.0, atol=1e-6)


def test_classified_coefficients_average_to_zero():
    x, policy = jax.random.normal(jax.random.key(0), (50, 4)), jax.nn.softmax(jax.random.normal(jax.random.key(1), (50, 4)))
    np.testing.assert_allclose(jnp.sum(policy * CLASSIFICATION.coefficients(x, policy), axis=1), 0.0, atol=1e-6)


@BOTH
def test_an_impossible_action_gives_finite_numbers(objective):
    x, policy = jnp.ones(3), jnp.array([0.0, 0.5, 0.5])
    assert jnp.isfinite(objective.loss(x, policy, policy))
    assert jnp.isfinite(jax.grad(objective.loss)(x, policy, policy)).all()


@pytest.mark.whole
@BOTH
def test_the_minimum_on_exact_frequencies_of_pairs_is_the_exact_coefficient(objective):
    with jax.enable_x64(True):
        mdp, policy = random_mdp(jax.random.key(0), 5, 3, 3), jax.nn.softmax(random_policy(jax.random.key(1), 5, 3))
        encoding = reward_outcomes(mdp)
        counts = dp.outcome_counts(dp.successor(mdp, policy), dp.outcome_probability(mdp, policy, *encoding))
        pairs = jnp.swapaxes((dp.occupancy(mdp, policy)[:, None] * policy)[..., None] * counts, 1, 2)  # states, outcomes, actions

        def loss(x):
            return objective.loss(x, pairs, policy[:, None])

        def newton(x, _):
            flat = x.reshape(-1)
            hessian = jax.hessian(lambda f: loss(f.reshape(x.shape)))(flat) + 1e-9 * jnp.eye(flat.size)  # a classifier may add a constant
            return (flat - jnp.linalg.solve(hessian, jax.grad(loss)(x).reshape(-1))).reshape(x.shape), None

        x, _ = jax.lax.scan(newton, jnp.zeros(pairs.shape), length=30)
        found = jnp.swapaxes(objective.coefficients(x, policy[:, None]), 1, 2)
        exact = dp.exact_coefficients(mdp, policy, *encoding)
        assert jnp.abs(exact).max() > 0.05
        np.testing.assert_allclose(found, exact, atol=1e-5)
