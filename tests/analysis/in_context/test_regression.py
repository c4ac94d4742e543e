from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from mesocosm.analysis.in_context.regression import (
    ChebyshevInverse,
    ExactInverse,
    NeumannInverse,
    NewtonSchulzInverse,
    RichardsonInverse,
    fit_inverse,
    gradient_step,
    grid_search,
    least_squares,
    line_search,
    precondition,
    prefix_moments,
    softmax_regression,
)
from mesocosm.tasks.linear_systems import next_token_loss, per_position_loss


def systems(sequences, dim=10, length=50, noise=0.01, seed=0):
    """Orthogonal linear systems in NumPy, independent of the task under the same name."""
    rng = np.random.default_rng(seed)
    transitions = stats.ortho_group.rvs(dim, size=sequences, random_state=rng).reshape(sequences, dim, dim)
    states = [rng.uniform(-1, 1, size=(sequences, dim))]
    for _ in range(length):
        states.append(np.einsum("bij,bj->bi", transitions, states[-1]) + noise * rng.normal(size=(sequences, dim)))
    return np.stack(states, axis=1), transitions


@pytest.fixture(scope="module")
def paper_scale():
    return systems(1024)[0].astype(np.float32)


def mean_loss(predictor, sequences):
    return np.asarray(jax.jit(lambda sequences: per_position_loss(jax.vmap(predictor)(sequences[:, :-1]), sequences[:, 1:]))(sequences))


@jax.jit
def apply(inverse, matrix, right):
    return inverse(matrix, right)


def positive_definite(seed, dim=6, condition=50.0):
    rng = np.random.default_rng(seed)
    basis = stats.ortho_group.rvs(dim, random_state=rng)
    return (basis * np.geomspace(1.0, condition, dim)) @ basis.T, rng.normal(size=dim)


@pytest.mark.parametrize("include_last_pair", [True, False])
@pytest.mark.parametrize("ridge", [1e-3, 0.7])
def test_ridge_is_lstsq_at_every_position(include_last_pair, ridge):
    dim, length = 4, 12
    states = systems(1, dim, length, noise=0.1)[0][0]
    with jax.enable_x64(True):
        predictions = jax.jit(lambda inputs: least_squares(inputs, ridge=ridge, include_last_pair=include_last_pair))(states[:-1])
        assert predictions.dtype == jnp.float64
        predictions = np.asarray(predictions)
    for t in range(length):  # 0-based: position t has seen states[0..t]
        last = t if include_last_pair else t - 1
        sources = np.concatenate([states[: max(last, 0)], np.sqrt(ridge) * np.eye(dim)])  # ridge regression as least squares on more rows
        goals = np.concatenate([states[1 : last + 1], np.zeros((dim, dim))])
        np.testing.assert_allclose(predictions[t], states[t] @ np.linalg.lstsq(sources, goals)[0], atol=1e-9)


def test_prefix_moments_are_sums_over_pairs():
    states = systems(1, 3, 6)[0][0]
    with jax.enable_x64(True):
        with_last, without = (jax.jit(prefix_moments, static_argnames="include_last_pair")(states, include_last_pair=include) for include in (True, False))
    for t in range(len(states)):
        pairs = [(states[i], states[i + 1]) for i in range(t)]
        for moments, known in ((with_last, pairs), (without, pairs[:-1])):
            np.testing.assert_allclose(moments.cross[t], sum((np.outer(y, x) for x, y in known), np.zeros((3, 3))), atol=1e-12)
            np.testing.assert_allclose(moments.gram[t], sum((np.outer(x, x) for x, _ in known), np.zeros((3, 3))), atol=1e-12)


@jax.jit
def explicit_gradient_step(inputs, step_size):
    """Phi_1 s_t, with Phi_1 one step from 0 down the gradient of 1/2 sum ||s_t' - Phi s_t'-1||^2, by autodiff."""

    def loss(phi, known):
        return 0.5 * jnp.sum(known[:, None] * (inputs[1:] - inputs[:-1] @ phi.T) ** 2)

    def at(t):
        return -step_size * jax.grad(loss)(jnp.zeros((3, 3)), 1.0 * (jnp.arange(8) < t)) @ inputs[t]

    return jax.vmap(at)(jnp.arange(9))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.floats(0.001, 1.0))
def test_gradient_step_is_autodiff_of_the_loss_in_context(seed, step_size):
    states = systems(1, 3, 8, noise=0.1, seed=seed)[0][0]
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(gradient_step)(states, step_size), explicit_gradient_step(states, step_size), atol=1e-12)


def test_gradient_step_moves_towards_the_target():
    """Noise-free orthogonal systems: f_t . s_{t+1} = eta sum_{j=1}^{t-1} (s_1^T W^j s_1)^2 >= 0."""
    states, transitions = systems(4, 6, 15, noise=0.0)
    predictions = jax.jit(jax.vmap(gradient_step, in_axes=(0, None)))(states[:, :-1].astype(np.float32), 0.03)
    towards = np.sum(predictions * states[:, 1:], axis=-1)
    for sequence, system, ours in zip(states, transitions, towards, strict=True):
        returns = [(sequence[0] @ np.linalg.matrix_power(system, j) @ sequence[0]) ** 2 for j in range(1, 15)]
        np.testing.assert_allclose(ours, 0.03 * np.concatenate([[0], np.cumsum(returns)]), rtol=1e-4, atol=1e-7)


def test_line_search_is_the_minimum():
    with jax.enable_x64(True):
        sequences = jnp.asarray(systems(16, 5, 20)[0])
        value = float(jax.jit(line_search)(sequences))

        @jax.jit
        def loss(step_size):
            return next_token_loss(jax.vmap(gradient_step, in_axes=(0, None))(sequences[:, :-1], step_size), sequences[:, 1:])

        found = optimize.minimize_scalar(lambda step_size: float(loss(step_size)), bracket=(0.0, 0.1), tol=1e-12)
        np.testing.assert_allclose(value, found.x, rtol=1e-6)
        steps = np.array([0.8, 0.9, 1.0, 1.1, 1.2]) * value
        losses = jax.jit(partial(grid_search, gradient_step))(steps, sequences)
        np.testing.assert_allclose(losses, [loss(step) for step in steps], rtol=1e-12)
        assert np.argmin(losses) == 2


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_polynomials_that_are_the_neumann_series(steps):
    """alpha = 1 and beta = 0, omega = 1, and the fixed norm ||A||_F all give (1/c) sum_{j<=k} (I - A/c)^j."""
    with jax.enable_x64(True):
        matrix, right = positive_definite(0)
        norm = np.linalg.norm(matrix)
        series = sum(np.linalg.matrix_power(np.eye(6) - matrix / norm, j) for j in range(steps + 1)) / norm
        for inverse in (ChebyshevInverse.neumann(steps), RichardsonInverse(jnp.asarray(np.ones(steps))), NeumannInverse(norm, steps)):
            np.testing.assert_allclose(apply(inverse, matrix, right), series @ right, rtol=1e-12)
            np.testing.assert_allclose(apply(inverse, matrix, np.eye(6)), series, rtol=1e-10, atol=1e-14)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_chebyshev_inverse_is_the_matrix_recipe(seed):
    """The recipe with matrices, line by line, against the polynomial applied to a vector; the first momentum has no effect."""
    rng = np.random.default_rng(seed)
    step_sizes, momenta = rng.uniform(0.5, 2.0, 4), rng.uniform(-0.5, 0.5, 4)
    with jax.enable_x64(True):
        matrix, right = positive_definite(seed)
        norm = np.linalg.norm(matrix)
        scaled, x, term, before = matrix / norm, np.eye(6), np.eye(6), np.eye(6)
        for step_size, momentum in zip(step_sizes, momenta, strict=True):
            term = term @ (np.eye(6) - step_size * scaled)
            x, before = x + term + momentum * (x - before), x
        inverse = ChebyshevInverse(jnp.asarray(step_sizes), jnp.asarray(momenta))
        np.testing.assert_allclose(apply(inverse, matrix, right), x @ right / norm, rtol=1e-9, atol=1e-12)
        without_first = ChebyshevInverse(inverse.step_sizes, jnp.asarray(np.r_[9.0, momenta[1:]]))
        np.testing.assert_allclose(apply(without_first, matrix, right), apply(inverse, matrix, right), rtol=1e-12)


def test_errors_of_the_series_fall_with_its_length():
    with jax.enable_x64(True):
        matrix, right = positive_definite(1)
        solution, norm = np.linalg.solve(matrix, right), np.linalg.norm(matrix)
        errors = [np.linalg.norm(apply(NeumannInverse(norm, k), matrix, right) - solution) for k in (0, 1, 2, 8, 64, 512, 2048)]
        assert np.all(np.diff(errors) < 0)
        assert errors[-1] < 1e-4 * errors[0]
        np.testing.assert_allclose(apply(ExactInverse(), matrix, right), solution, rtol=1e-12)


def test_newton_schulz_inverts():
    """16 steps invert to 1e-4 for n = 10 and condition 99, even if the trace is as large as it can be; 12 from I / tr(A) do not."""
    errors = {steps: [] for steps in (12, 16)}
    for seed in range(10):
        basis = stats.ortho_group.rvs(10, random_state=seed)
        matrix, right = (x.astype(np.float32) for x in ((basis * [1.0, *[99.0] * 9]) @ basis.T, basis @ np.ones(10)))
        for steps, found in errors.items():
            solution = np.linalg.solve(matrix.astype(float), right.astype(float))
            found.append(np.linalg.norm(apply(NewtonSchulzInverse(steps), matrix, right) - solution) / np.linalg.norm(solution))
    assert max(errors[16]) < 1e-4 < max(errors[12])


@pytest.mark.whole
def test_predictors_are_causal():
    inputs = systems(1, 4, 10)[0][0].astype(np.float32)
    pair = np.stack([inputs, inputs + (np.arange(len(inputs)) >= 6)[:, None]], dtype=np.float32)
    predictors = [least_squares, lambda x: gradient_step(x, 0.1), lambda x: softmax_regression(x, 2.0)]
    predictors += [lambda x: least_squares(x, ChebyshevInverse.neumann(3)), lambda x: precondition(x, ExactInverse())]
    for predictor in predictors:
        before, after = np.asarray(jax.jit(jax.vmap(predictor))(pair))
        np.testing.assert_array_equal(before[:6], after[:6])
        assert np.all(np.abs(before[6:] - after[6:]).max(axis=-1) > 0)


def test_softmax_regression_is_nadaraya_watson():
    inputs = np.asarray(systems(1, 3, 8)[0][0], np.float32)
    predict = jax.jit(softmax_regression)
    predictions = np.asarray(predict(inputs, 1.7))
    np.testing.assert_array_equal(predictions[0], 0.0)
    for t in range(1, len(inputs)):
        weights = np.exp(1.7 * inputs[:t] @ inputs[t])
        np.testing.assert_allclose(predictions[t], (weights / weights.sum()) @ inputs[1 : t + 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(predict(inputs, 0.0))[4], inputs[1:5].mean(0), rtol=1e-5)
    assert np.all(np.isfinite(jax.jit(jax.grad(lambda x: softmax_regression(x, 1.7).sum()))(inputs)))


@pytest.mark.whole
def test_losses_of_the_reference_predictors(paper_scale):
    """n = 10, T = 50, 1024 sequences: gradient descent 0.915, ridge 0.186 with the newest pair and 0.2106 without (sampling error 0.01 and below)."""
    step_size = jax.jit(line_search)(paper_scale)
    np.testing.assert_allclose(step_size, 0.0325, atol=0.0015)
    descent = mean_loss(lambda inputs: gradient_step(inputs, step_size), paper_scale)
    np.testing.assert_allclose(descent.mean(), 0.905, atol=0.04)
    with_last = mean_loss(least_squares, paper_scale)
    without = mean_loss(lambda inputs: least_squares(inputs, include_last_pair=False), paper_scale)
    np.testing.assert_allclose(with_last.mean(), 0.186, rtol=0.05)
    np.testing.assert_allclose(without.mean(), 0.2106, rtol=0.05)
    for losses in (descent, with_last, without):
        np.testing.assert_allclose(losses[0], 10 / 6 + 10 * 0.01**2 / 2, rtol=0.05)  # nothing is known yet: the zero predictor
    np.testing.assert_allclose(with_last[49], 6e-4, rtol=0.15)
    assert with_last[10] < 0.01 < 0.05 < without[10]  # with 10 pairs the system is determined, with 9 it is not


@pytest.mark.whole
def test_fitted_polynomial_comes_near_ridge(paper_scale):
    """Six learned steps: within 15 % of the paper's 0.234 without the newest pair, better than the series they start from and than a fixed norm of 70."""
    start = ChebyshevInverse.neumann(6)
    fitted, losses = fit_inverse(start, paper_scale[:512], jax.random.key(0), steps=300, batch_size=32, learning_rate=3e-2, include_last_pair=False)
    held_out = paper_scale[512:]
    loss = {
        name: float(mean_loss(lambda inputs, inverse=inverse: least_squares(inputs, inverse, include_last_pair=False), held_out).mean())
        for name, inverse in {"fitted": fitted, "series": start, "norm 70": NeumannInverse(), "exact": ExactInverse()}.items()
    }
    assert losses.shape == (300,)
    assert loss["exact"] < loss["fitted"] < 0.8 * loss["series"] < loss["norm 70"]
    np.testing.assert_allclose(loss["fitted"], 0.234, rtol=0.15)
    assert eqx.tree_equal(fitted.momenta[0], start.momenta[0])  # no effect, so no gradient
