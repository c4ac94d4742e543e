"""Closed forms against gradient descent; kernels of infinite width against many wide networks and against integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from mesocosm.analysis.tangent.infinite_width import erf_moments, infinite_width_kernels, relu_moments
from mesocosm.analysis.tangent.kernel import kernel_block, of_module
from mesocosm.analysis.tangent.kernel_regression import (
    as_matrix,
    dual_weights,
    gaussian_process,
    interpolation_weights,
    linearised,
    tangent_gaussian_process,
    with_jitter,
)
from mesocosm.nn.tangent_parametrisation import TangentMLP


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def setting(outputs=2, activation=jax.nn.relu):
    keys = jax.random.split(jax.random.key(3), 4)
    network = TangentMLP.create(4, outputs, width=40, depth=2, bias_scale=0.3, activation=activation, key=keys[0])
    x, test = jax.random.normal(keys[1], (5, 4)), jax.random.normal(keys[2], (6, 4))
    return (*of_module(network), x, test, jax.random.normal(keys[3], (5, outputs)))


def descend(function, params, x, y, rate, steps, ridge=0.0):
    """Gradient descent on half the squared error of the linearised model."""
    model = linearised(function, params)

    def loss(moved):
        away = sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(params), strict=True))
        return 0.5 * jnp.sum((jax.vmap(model, (None, 0))(moved, x) - y) ** 2) + 0.5 * ridge * away

    def step(_, moved):
        return jax.tree.map(lambda p, g: p - rate * g, moved, jax.grad(loss)(moved))

    moved = jax.jit(lambda: jax.lax.fori_loop(0, steps, step, params))()
    return lambda x: jax.vmap(model, (None, 0))(moved, x)


def kernels(function, params, x, test):
    return as_matrix(kernel_block(function, params, x)), as_matrix(kernel_block(function, params, test, x))


@pytest.mark.whole
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_the_end_of_training_is_the_closed_form(ridge):
    function, params, x, test, y = setting()
    train_kernel, test_kernel = kernels(function, params, x, test)
    start, start_test = (jax.vmap(function, (None, 0))(params, points) for points in (x, test))
    values = np.linalg.eigvalsh(train_kernel) + ridge
    rate = 1 / values.max()
    steps = int(np.ceil(14 / (rate * values.min())))
    weights = dual_weights(train_kernel, (y - start).reshape(-1, 1), ridge=ridge)
    wanted = start_test + (test_kernel @ weights).reshape(start_test.shape)
    found = descend(function, params, x, y, rate, steps, ridge)(test)
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 1e-4


@pytest.mark.whole
@pytest.mark.parametrize("time", [0.01, 0.3, 5.0])
def test_any_time_is_the_closed_form(time):
    function, params, x, test, y = setting()
    train_kernel, test_kernel = kernels(function, params, x, test)
    start, start_test = (jax.vmap(function, (None, 0))(params, points) for points in (x, test))
    wanted = start_test + (test_kernel @ dual_weights(train_kernel, (y - start).reshape(-1, 1), time=time)).reshape(start_test.shape)
    found = descend(function, params, x, y, time / 20000, 20000)(test)
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted - start_test) < 1e-3


def test_after_long_time_nothing_more_happens_and_flat_directions_stand_still():
    kernel = jnp.diag(jnp.array([2.0, 1.0, 0.0]))
    right = jnp.array([[1.0], [1.0], [1.0]])
    np.testing.assert_allclose(dual_weights(kernel, right, time=100.0)[:2], [[0.5], [1.0]], rtol=1e-12)
    np.testing.assert_allclose(dual_weights(kernel, right, time=3.0)[2], [3.0])  # the limit: dual weights grow, kernel times them stays zero


@pytest.mark.whole
def test_the_linearised_model_is_the_tangent():
    function, params, x, _, _ = setting(activation=jnp.tanh)
    direction = jax.tree.map(lambda p: jax.random.normal(jax.random.key(9), p.shape), params)

    def error(size):
        moved = jax.tree.map(lambda p, d: p + size * d, params, direction)
        return np.abs(linearised(function, params)(moved, x[0]) - function(moved, x[0])).max()

    assert error(0.0) == 0
    assert 3.5 < error(2e-3) / error(1e-3) < 4.5  # the remainder is quadratic


@pytest.mark.whole
def test_weights_interpolate_and_jitter_is_relative():
    function, params, x, test, _ = setting(outputs=1)
    train_kernel, test_kernel = kernels(function, params, x, test)
    np.testing.assert_allclose(interpolation_weights(train_kernel, train_kernel), np.eye(5), atol=1e-9)
    np.testing.assert_allclose(interpolation_weights(test_kernel, train_kernel), test_kernel @ np.linalg.inv(train_kernel), rtol=1e-7, atol=1e-9)
    scaled = with_jitter(3 * train_kernel, 0.1)
    np.testing.assert_allclose(scaled, 3 * with_jitter(train_kernel, 0.1), rtol=1e-12)
    np.testing.assert_allclose(np.trace(scaled), 1.1 * np.trace(3 * train_kernel))


@pytest.mark.whole
def test_a_gaussian_process_is_conditioning():
    _, _, x, test, y = setting(outputs=1)
    both = infinite_width_kernels(jnp.concatenate([x, test]), jnp.concatenate([x, test]), depth=2, bias_scale=0.2).nngp
    mean, variance = gaussian_process(both[5:, :5], both[:5, :5], jnp.diagonal(both)[5:], y)
    inverse = np.linalg.inv(both)  # the precision of the test points given the others, one at a time
    for place in range(6):
        rows = [*range(5), 5 + place]
        inverse = np.linalg.inv(both[np.ix_(rows, rows)])
        np.testing.assert_allclose(variance[place], 1 / inverse[5, 5], rtol=1e-7)
        np.testing.assert_allclose(mean[place], -inverse[5, :5] @ y / inverse[5, 5], rtol=1e-7)


@pytest.mark.whole
def test_the_ntk_gp_is_bayesian_regression_on_the_gradients():
    """In the space of weights w ~ N(0, I), instead of functions."""
    function, params, x, test, y = setting()
    found = jax.jit(lambda noise: tangent_gaussian_process(function, params, x, y, test, noise=noise))(0.3)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    slopes, slopes_test = (np.asarray(jax.vmap(jax.jacobian(lambda w, one: function(unravel(w), one)), (None, 0))(flat, points)) for points in (x, test))
    rows, rows_test = slopes.reshape(-1, flat.size), slopes_test.reshape(-1, flat.size)
    precision = np.eye(flat.size) + rows.T @ rows / 0.3
    np.testing.assert_allclose(found.mean.reshape(-1), rows_test @ np.linalg.solve(precision, rows.T @ y.reshape(-1) / 0.3), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.variance.reshape(-1), np.sum(rows_test * np.linalg.solve(precision, rows_test.T).T, axis=1), rtol=1e-6)
    assert found.mean.shape == found.variance.shape == (6, 2)
    exact = tangent_gaussian_process(function, params, x, y, x)
    np.testing.assert_allclose(exact.mean, y, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(exact.variance, 0, atol=1e-7)
    with pytest.raises(ValueError, match=r"5 examples with 2 outputs need as many targets, not the shape \(4, 2\)"):
        tangent_gaussian_process(function, params, x, y[:4], test)


# --- infinite width ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moments", [relu_moments, erf_moments])
def test_moments_are_expectations(moments):
    covariance = np.array([[0.8, 0.5], [0.5, 1.7]])
    u, v = np.random.default_rng(0).multivariate_normal([0, 0], covariance, 2_000_000).T
    found = moments(*(jnp.array([[number]]) for number in (0.8, 1.7, 0.5)))
    value, slope = (relu, step) if moments is relu_moments else (erf, bell)
    np.testing.assert_allclose(found.value[0, 0], np.mean(value(u) * value(v)), atol=2e-3)
    np.testing.assert_allclose(found.slope[0, 0], np.mean(slope(u) * slope(v)), atol=2e-3)


def relu(u):
    return np.maximum(u, 0)


def step(u):
    return u > 0


def bell(u):
    return 2 / np.sqrt(np.pi) * np.exp(-(u**2))


@pytest.mark.whole
@pytest.mark.parametrize(("nonlinearity", "activation"), [("relu", jax.nn.relu), ("erf", jax.lax.erf)])
@pytest.mark.parametrize(("depth", "bias_scale"), [(1, 0.0), (2, 0.4)])
def test_kernels_of_infinite_width_are_means_over_wide_networks(nonlinearity, activation, depth, bias_scale):
    width, number = (512, 100) if depth == 1 else (256, 200)
    x = jax.random.normal(jax.random.key(0), (5, 3))
    wanted = infinite_width_kernels(x, x, depth=depth, nonlinearity=nonlinearity, bias_scale=bias_scale)

    def one(key):
        network = TangentMLP.create(3, 1, width=width, depth=depth, bias_scale=bias_scale, activation=activation, key=key)
        function, params = of_module(network)
        return kernel_block(function, params, x)[:, 0, :, 0], jax.vmap(network)(x)[:, 0]

    kernel, outputs = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=20))(jax.random.split(jax.random.key(1), number))
    mean = kernel.mean(0)
    assert np.linalg.norm(mean - wanted.ntk) / np.linalg.norm(wanted.ntk) < 0.03
    covariance = outputs.T @ outputs / number
    assert np.linalg.norm(covariance - wanted.nngp) / np.linalg.norm(wanted.nngp) < 4 / np.sqrt(number)
    np.testing.assert_allclose(
        infinite_width_kernels(x, x[:2], depth=depth, nonlinearity=nonlinearity, bias_scale=bias_scale).ntk, wanted.ntk[:, :2], rtol=1e-10
    )


@pytest.mark.whole
def test_long_training_on_near_duplicates_fits_as_well_as_shorter_training_and_has_gradients():
    """Rounding makes eigenvalues of a positive kernel negative: exp(-t a) must not grow with them."""
    x = jax.random.normal(jax.random.key(0), (20, 3), "float32")
    x = jnp.concatenate([x, x + jnp.float32(1e-6)])
    kernel, y = infinite_width_kernels(x, x, depth=2).ntk, jnp.sin(x[:, :1])
    assert kernel.dtype == jnp.float32
    kernels = jnp.stack([kernel, kernel - 1e-6 * jnp.trace(kernel) / 40 * jnp.eye(40, dtype=kernel.dtype)])  # the second has negative eigenvalues for sure
    for time in (1e4, 1e6, 1e8, 1e30, float("inf")):
        weights = dual_weights(kernels, jnp.stack([y, y]), time=time)
        assert float(jnp.abs(kernels @ weights - y).max()) < 2e-3
        assert jnp.isfinite(jax.grad(lambda y, time=time: dual_weights(kernel, y, time=time).sum())(y)).all()


@pytest.mark.whole
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_time_meets_its_limits(dtype):
    """Zero directions move at the speed of their residual; without time, nothing moves; after infinite time, all of it has."""
    kernel, residual = jnp.diag(jnp.array([0.0, 1e-3, 2.0], dtype)), jnp.ones((3, 1), dtype)
    np.testing.assert_allclose(dual_weights(kernel, residual, time=0.0), np.zeros((3, 1)))
    values = np.array([0.0, 1e-3, 2.0])
    for time in (1e-20, 1e-3, 1.0, 30.0):
        want = np.where(values > 0, -np.expm1(-time * values) / np.where(values > 0, values, 1), time)
        np.testing.assert_allclose(dual_weights(kernel, residual, time=time)[:, 0], want, rtol=1e-5)
    np.testing.assert_allclose(dual_weights(kernel, residual, time=float("inf"))[1:, 0], [1e3, 0.5], rtol=1e-4)
    for time in (0.0, 1.0, 1e8, float("inf")):
        moved = jax.grad(lambda kernel, time=time: dual_weights(kernel, residual, time=time).sum())(kernel)
        assert jnp.isfinite(moved).all()
    slope = jax.grad(lambda time: dual_weights(kernel, residual, time=time).sum())(jnp.ones((), dtype))
    np.testing.assert_allclose(slope, np.exp(-values).sum(), rtol=1e-5)
