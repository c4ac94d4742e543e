"""Fuzzy logic functions against truth tables, De Morgan's law, closed-form moments, and a reading of every sequence."""

from itertools import combinations, product

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy.stats import kstest

from mesocosm.tasks.fuzzy_logic import FuzzyLogic, explained_variance, fuzzy_function
from mesocosm.tasks.task import batch

TASK = FuzzyLogic.create(length=16)


def evaluate(point, terms):
    """One value, literal by literal."""
    table = list(product((0, 1), repeat=len(point)))
    return max(min(x if bit else 1 - x for x, bit in zip(point, table[term], strict=True)) for term in terms)


def draw(task, size, split="train", seed=0):
    return jax.jit(batch, static_argnums=(2, 3))(task, jax.random.key(seed), size, split)


def test_at_the_corners_functions_are_boolean():
    """A conjunction of all literals is true at its own row of the truth table alone."""
    corners = jnp.asarray(list(product((0.0, 1.0), repeat=4)))
    for terms in combinations(range(16), 2):
        values = np.asarray(fuzzy_function(corners, jnp.asarray(terms)))
        assert np.flatnonzero(values).tolist() == list(terms)
        assert set(values.tolist()) == {0.0, 1.0}


def test_functions_obey_de_morgan():
    points = jax.random.uniform(jax.random.key(0), (200, 3))
    for terms in ([0, 5], [1, 2, 6]):
        negated = [[1 - x if bit else x for x, bit in zip(points.T, row, strict=True)] for row in np.asarray(list(product((0, 1), repeat=3)))[terms]]
        dual = jnp.min(jnp.stack([jnp.max(jnp.stack(literals), axis=0) for literals in negated]), axis=0)
        np.testing.assert_allclose(fuzzy_function(points, jnp.asarray(terms)), 1 - dual, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("distance", "mean", "variance"), [(1, 0.246875, 0.034886), (2, 0.270833, 0.032899), (3, 0.2875, 0.029844), (4, 0.3, 0.026667)])
def test_moments_are_those_of_the_closed_form(distance, mean, variance):
    """P(y > t) = (1 - t)^(4 - d) (2 (1 - t)^d - max(0, 1 - 2 t)^d) for two terms that differ in d literals."""
    points = jax.random.uniform(jax.random.key(distance), (1_000_000, 4))
    values = np.asarray(jax.jit(fuzzy_function)(points, jnp.asarray([0, 2**distance - 1])), np.float64)
    assert abs(values.mean() - mean) < 1e-3
    assert abs(values.var() - variance) < 1e-3


@pytest.mark.parametrize("queries", [1, 5])
def test_every_token_is_a_point_with_its_value_and_queries_hide_theirs(queries):
    task = FuzzyLogic.create(length=8, queries=queries)
    for split, allowed in (("train", task.combinations.train), ("iid", task.combinations.train), ("ood", task.combinations.held_out)):
        examples = draw(task, 20, split)
        assert examples.tokens.shape == (20, 7 + queries, 5)
        for tokens, targets, terms in zip(*map(np.asarray, examples), strict=True):
            assert terms.tolist() in np.asarray(allowed).tolist()
            wanted = [evaluate(point, terms) for point in tokens[:, :-1]]
            np.testing.assert_allclose(tokens[:7, -1], wanted[:7], rtol=0, atol=1e-6)
            np.testing.assert_allclose(targets, wanted[7:], rtol=0, atol=1e-6)
            assert np.all(tokens[7:, -1] == 0)


def test_unknown_terms_are_in_no_training_combination():
    unknown = TASK.unknown_terms()
    assert len(unknown.combinations.held_out) == 6
    assert set(np.asarray(unknown.combinations.held_out).flat) == {12, 13, 14, 15}
    assert set(np.asarray(unknown.combinations.train).flat) == set(range(12)) == set(np.asarray(TASK.combinations.held_out).flat)
    assert int(draw(unknown, 50, "ood").terms.min()) >= 12
    with pytest.raises(ValueError, match="0 unknown terms"):
        FuzzyLogic.create(unknown=0.0).unknown_terms()


def test_the_true_function_explains_everything_and_the_mean_nothing():
    """The query is exchangeable with the context, so that the mean of a sequence's own values has an expected R^2 of 0."""
    examples = draw(TASK, 10_000, "iid")
    assert tuple(explained_variance(examples.targets, examples)) == (1, 1)
    values = jnp.concatenate([examples.tokens[:, :-1, -1], examples.targets], axis=1)
    found = explained_variance(values.mean(axis=1, keepdims=True), examples)
    assert abs(found.mean) < 0.05
    assert abs(found.pooled) < 0.05


def test_each_query_has_the_variance_of_its_own_sequence():
    examples = draw(FuzzyLogic.create(length=6, queries=3), 4)
    guesses = jnp.full(examples.targets.shape, 0.3)
    errors, variances = [], []
    for tokens, targets in zip(np.asarray(examples.tokens), np.asarray(examples.targets), strict=True):
        for target in targets:
            errors.append((0.3 - target) ** 2)
            variances.append(np.var([*tokens[:5, -1], target]))
    found = explained_variance(guesses, examples)
    np.testing.assert_allclose(found.mean, 1 - np.mean(np.divide(errors, variances)), rtol=1e-4)
    np.testing.assert_allclose(found.pooled, 1 - np.mean(errors) / np.mean(variances), rtol=1e-4)


def test_impossible_tasks_are_refused():
    with pytest.raises(ValueError, match="length = 1"):
        FuzzyLogic.create(length=1)
    with pytest.raises(ValueError, match="13 terms needs at least 1 and at most 12"):
        FuzzyLogic.create(terms=13)


@pytest.mark.parametrize("wrong", [{"variables": 0}, {"unknown": 1.0}, {"unknown": -0.1}, {"unknown": np.nan}, {"held_out": np.inf}, {"held_out": np.nan}])
def test_numbers_out_of_range_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        FuzzyLogic.create(**wrong)


def test_predictions_need_the_shape_of_the_targets(monkeypatch):
    """(batch, queries, 1) would broadcast against (batch, queries)."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would complain first
    examples = draw(TASK, 3)
    with pytest.raises(ValueError, match=r"\(3, 1, 1\) predictions for \(3, 1\) targets"):
        explained_variance(examples.targets[..., None], examples)


def test_points_are_uniform_and_independent():
    points = np.asarray(draw(TASK, 2000).tokens)[..., :-1]
    assert kstest(points[:, 0].ravel(), "uniform").pvalue > 1e-3
    assert kstest(points[:, -1].ravel(), "uniform").pvalue > 1e-3
    together = np.corrcoef(points[:, [0, 1, -1]].reshape(2000, -1), rowvar=False)
    assert np.abs(together - np.eye(12)).max() < 0.1


def test_coverage_need_not_be_required():
    assert len(FuzzyLogic.create(held_out=0.95, require_coverage=False).combinations.train) == 4
