"""In-context regression: what prompts hold, and the closed-form optimum of one gradient step against prompts and against explicit gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.tasks.regression_prompts import GaussianInputs, RegressionPrompts, UniformInputs, gradient_step, gradient_step_attention
from mesocosm.tasks.task import batch

CASES = [
    (GaussianInputs(), 3, 11, 0.0, 0.06667, 0.8000),
    (GaussianInputs(), 10, 10, 0.0, 0.04762, 5.2381),
    (GaussianInputs(), 5, 15, 0.5, 0.04706, 1.4706),
    (UniformInputs(), 3, 11, 0.0, 0.07246, 0.6087),
    (UniformInputs(), 10, 10, 0.0, 0.05051, 4.9495),
    (UniformInputs(), 5, 15, 0.5, 0.04988, 1.2594),
]


sample = eqx.filter_jit(RegressionPrompts.sample)


def test_a_prompt_holds_pairs_and_then_the_query_without_its_target():
    with jax.enable_x64(True):
        task = RegressionPrompts(input_dim=2, target_dim=3, pairs=5)
        tokens, target = map(np.asarray, sample(task, jax.random.key(0)))
    assert tokens.shape == (6, 5)
    assert (tokens[-1, 2:] == 0).all()
    teacher = np.linalg.lstsq(tokens[:-1, :2], tokens[:-1, 2:], rcond=None)[0]
    np.testing.assert_allclose(tokens[-1, :2] @ teacher, target, rtol=1e-9)


@pytest.mark.parametrize("inputs", [GaussianInputs(), UniformInputs()])
def test_moments_of_the_inputs(inputs):
    drawn = np.asarray(jax.jit(inputs, static_argnums=1)(jax.random.key(0), (200_000,)), np.float64)
    for power, wanted in ((1, 0.0), (2, 1.0), (4, inputs.fourth_moment)):
        assert abs(np.mean(drawn**power) - wanted) < 4 * np.std(drawn**power) / 200_000**0.5


@pytest.mark.parametrize(("inputs", "dim", "pairs", "noise", "step_size", "loss"), CASES)
def test_the_optimum_in_closed_form(inputs, dim, pairs, noise, step_size, loss):
    task = RegressionPrompts(input_dim=dim, target_dim=1, pairs=pairs, inputs=inputs, noise=noise)
    assert abs(task.optimal_step_size() - step_size) < 1e-5
    assert abs(task.one_step_loss() - loss) < 1e-4

    @jax.jit
    def squared_errors(key, step_size):
        prompts = batch(task, key, 40_000)
        found = jax.vmap(lambda tokens: gradient_step(tokens, 1, step_size))(prompts.tokens)
        return (found - prompts.target)[:, 0] ** 2

    errors = np.asarray(squared_errors(jax.random.key(1), task.optimal_step_size()), np.float64)
    assert abs(errors.mean() - loss) < 3 * errors.std() / 200
    with jax.enable_x64(True):
        assert abs(jax.jit(jax.grad(task.one_step_loss))(task.optimal_step_size())) < 1e-12
        np.testing.assert_allclose(task.one_step_loss(), dim * (1 - pairs * task.optimal_step_size()), rtol=1e-13)


def test_linear_attention_takes_the_step_that_autodiff_takes():
    with jax.enable_x64(True):
        task = RegressionPrompts(input_dim=3, target_dim=2, pairs=7, noise=0.3)

        @jax.jit
        def in_three_ways(tokens):
            points, targets = tokens[:-1, :3], tokens[:-1, 3:]
            gradient = jax.grad(lambda w: 0.5 * jnp.sum((points @ w.T - targets) ** 2))(jnp.zeros((2, 3)))
            return -0.05 * gradient @ tokens[-1, :3], gradient_step(tokens, 2, 0.05), gradient_step_attention(3, 2, 0.05)(tokens)[-1, 3:]

        wanted, *found = in_three_ways(sample(task, jax.random.key(0)).tokens)
        for step in found:
            np.testing.assert_allclose(step, wanted, rtol=1e-12)


def test_prompts_out_of_distribution_are_larger():
    task = RegressionPrompts(ood_scale=2.0)
    iid, ood = (sample(task, jax.random.key(3), split) for split in ("iid", "ood"))
    np.testing.assert_allclose(ood.target, 2 * np.asarray(iid.target), rtol=1e-5)


@pytest.mark.whole
def test_noise_is_in_the_pairs_and_not_in_the_target():
    quiet, loud = (sample(RegressionPrompts(noise=noise), jax.random.key(4)) for noise in (0.0, 1.0))
    np.testing.assert_array_equal(quiet.target, loud.target)
    difference = (np.asarray(loud.tokens) - np.asarray(quiet.tokens))[:-1, 3:]
    assert 0.5 < difference.std() < 1.5
