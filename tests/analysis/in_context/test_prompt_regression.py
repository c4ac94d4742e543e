"""Scores and reference predictors of prompts: the context's mean, scikit-learn's ridge, exact fits, and codes that are found again."""

from functools import partial
from inspect import unwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mesocosm.analysis.in_context.prompt_regression import (
    affine_features,
    decoded,
    explained_by_context,
    random_features,
    ridge_predictions,
    ridge_weights,
    search_code,
)
from mesocosm.tasks.compositional_supports import k_hot, support
from mesocosm.tasks.hyperteacher import Hyperteacher, Prompts, Teacher
from mesocosm.tasks.task import batch

INPUTS = 16


def prompts(size, split, activation=jax.nn.gelu, pairs=32):
    teacher = Teacher.create(INPUTS, 16, 1, modules=6, activation=activation, normalised=True, key=jax.random.key(0))
    task = Prompts(Hyperteacher(teacher, support("connected+", k_hot(6, 2)), pairs + 4), 4)
    return jax.jit(batch, static_argnums=(2, 3))(task, jax.random.key(1), size, split), teacher


@pytest.mark.whole
def test_the_contexts_mean_explains_nothing_and_the_outputs_themselves_everything():
    drawn, _ = prompts(50, "iid")
    seen = drawn.context[..., INPUTS:]
    mean = jnp.broadcast_to(seen.mean(axis=1, keepdims=True), drawn.targets.shape)
    np.testing.assert_array_equal(explained_by_context(mean, drawn.targets, seen), (0, 0))
    np.testing.assert_array_equal(explained_by_context(drawn.targets, drawn.targets, seen), (1, 0))
    assert explained_by_context(drawn.targets + 10, drawn.targets, seen).value < -100


def test_the_error_of_a_score_is_its_spread_over_sets_of_tasks():
    keys = jax.random.split(jax.random.key(0), 400)

    def score(key):
        target, noise, seen = (jax.random.normal(k, (50, n, 1)) for k, n in zip(jax.random.split(key, 3), (2, 2, 5), strict=True))
        return explained_by_context(target + 0.7 * noise, target, seen)

    values, errors = jax.jit(jax.vmap(score))(keys)
    assert abs(values.std() / errors.mean() - 1) < 0.15


@pytest.mark.whole
def test_ridge_is_scikit_learns_and_recovers_linear_functions():
    drawn, _ = prompts(8, "ood", activation=_identity)
    for context, queries, targets, *_ in zip(*drawn, strict=True):
        x, y, q = context[:, :INPUTS], context[:, INPUTS:], queries[:, :INPUTS]
        np.testing.assert_allclose(ridge_predictions(affine_features, 1e-4, x, y, q), targets, rtol=0, atol=1e-3)
        theirs = Ridge(alpha=0.5, fit_intercept=False).fit(affine_features(x), y).predict(affine_features(q)).reshape(-1, 1)
        np.testing.assert_allclose(ridge_predictions(affine_features, 0.5, x, y, q), theirs, rtol=0, atol=1e-5)
    weights = jax.random.normal(jax.random.key(3), (10, INPUTS))
    np.testing.assert_allclose(random_features(weights, q)[:, 1:], jax.nn.gelu(q @ weights.T), rtol=0, atol=1e-6)


@pytest.mark.parametrize("width", [5, 40])
def test_ridge_with_more_features_than_examples_is_scikit_learns_too(width):
    random = np.random.default_rng(0)
    features, targets = random.standard_normal((12, width)), random.standard_normal((12, 2))
    found = ridge_weights(*(jnp.asarray(array, jnp.float32) for array in (features, targets)), 0.7)
    np.testing.assert_allclose(found, Ridge(alpha=0.7, fit_intercept=False).fit(features, targets).coef_.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("predicted", "seen"), [((3, 2), (3, 4, 1)), ((3, 2, 1), (2, 4, 1)), ((3, 2, 1), (3, 4, 2)), ((3, 2, 1), (3, 1))])
def test_a_score_of_other_shapes_is_refused(predicted, seen):
    """Predictions of shape (3, 2) would be broadcast against targets of shape (3, 2, 1). Unwrapped, because the shape check of this test run comes first."""
    with pytest.raises(ValueError, match="shape"):
        unwrap(explained_by_context)(jnp.zeros(predicted), jnp.zeros((3, 2, 1)), jnp.zeros(seen))


@pytest.mark.parametrize("sizes", [(4, 3, 2, 2), (4, 4, 2, 1)])
def test_decoding_refuses_labels_of_other_examples(sizes):
    with pytest.raises(ValueError, match="examples have features"):
        unwrap(decoded)(*(jnp.ones((size, 2)) for size in sizes))


def test_decoding_is_scikit_learns_and_pooled_over_labels():
    random = np.random.default_rng(0)
    features, other = random.standard_normal((100, 7)) + 3, random.standard_normal((40, 7))
    labels, others = (np.tanh(f @ random.standard_normal((7, 3))) * [1, 5, 0.1] + 2 for f in (features, other))
    guesses = Ridge(alpha=1.0).fit(features, labels).predict(other)
    wanted = 1 - ((guesses - others) ** 2).sum() / ((others - others.mean(axis=0)) ** 2).sum()
    found = decoded(*(jnp.asarray(array, jnp.float32) for array in (features, labels, other, others)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.whole
def test_the_oracle_finds_the_codes_of_unseen_masks():
    """Through modules without the norm, the code is the task's, divided by the norm of its weights."""
    drawn, teacher = prompts(40, "ood")
    starts = jnp.concatenate([jnp.full((1, 6), 0.3), 0.3 * jax.random.normal(jax.random.key(2), (3, 6))])

    def one(context):
        return search_code(teacher.execute, context[:, :INPUTS], context[:, INPUTS:], starts)

    found = jax.jit(jax.vmap(one))(drawn.context)
    assert np.mean(np.abs(found - drawn.plain_code).max(axis=1) < 1e-2) >= 0.95
    predictions = jax.vmap(teacher.execute)(found, drawn.queries[..., :INPUTS])
    assert explained_by_context(predictions, drawn.targets, drawn.context[..., INPUTS:]).value > 0.99


def test_a_start_that_is_not_a_number_does_not_win():
    def execute(code, x):
        return x @ code[:, None]

    inputs, code = jax.random.normal(jax.random.key(0), (8, 3)), jnp.asarray([1.0, -2.0, 0.5])
    starts = jnp.stack([jnp.full(3, jnp.nan), jnp.zeros(3)])
    np.testing.assert_allclose(search_code(execute, inputs, execute(code, inputs), starts), code, atol=1e-4)


_identity = partial(jnp.multiply, 1.0)
