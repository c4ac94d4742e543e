"""Both kernels at the edges: zero, equal, nearly equal, opposite, tiny and large inputs, in every precision, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.tangent.infinite_width import erf_moments, infinite_width_kernels, relu_moments

CASES = [(nonlinearity, depth, bias) for nonlinearity in ("relu", "erf") for depth in (1, 3) for bias in (0.0, 0.3)]
FEW = [case if case[1:] == (3, 0.3) else pytest.param(*case, marks=pytest.mark.whole) for case in CASES]


def precise(x, y, depth, nonlinearity, bias):
    """Both kernels for all pairs of points, by the formulae of Cho and Saul, and of Williams, in extended precision."""
    x, y = (np.asarray(points, np.float64).astype(np.longdouble) for points in (x, y))
    pi = 4 * np.arctan(np.longdouble(1))
    q1, q2, k = (inner / x.shape[1] + np.longdouble(bias) ** 2 for inner in ((x * x).sum(1)[:, None], (y * y).sum(1)[None], x @ y.T))

    def moments(q1, q2, k):
        if nonlinearity == "erf":
            product = (1 + 2 * q1) * (1 + 2 * q2)
            return 2 / pi * np.arcsin(2 * k / np.sqrt(product)), 4 / pi / np.sqrt(product - 4 * k**2)
        norm = np.sqrt(q1 * q2)
        t = np.arccos(np.clip(k / np.where(norm > 0, norm, 1), -1, 1))
        return norm * (np.sin(t) + (pi - t) * np.cos(t)) / (2 * pi), (pi - t) / (2 * pi)

    theta = k
    for layer in range(1, depth + 1):
        beta = np.longdouble(bias) ** 2 if layer < depth else 0
        value, slope = moments(q1, q2, k)
        q1, q2 = (2 * moments(q, q, q)[0] + beta for q in (q1, q2))
        k = 2 * value + beta
        theta = k + 2 * slope * theta
    return k, theta


@partial(jax.jit, static_argnums=(2, 3, 4))
def kernels(a, b, depth, nonlinearity, bias):
    return infinite_width_kernels(a, b, depth=depth, nonlinearity=nonlinearity, bias_scale=bias)


def points(dtype):
    x = np.asarray(jax.random.normal(jax.random.key(0), (3, 5)), np.float64)
    near = [x[0] * (1 + 1e-3), x[0] + 1e-3 * x[1], x[0] + 1e-6 * x[1], x[0] * 3, -x[0], -x[0] + 1e-4 * x[1]]
    rows = [*x, np.zeros(5), *near, 1e-4 * x[1], 30 * x[2]]
    return jnp.asarray(np.array(rows), dtype)


@pytest.mark.whole
@pytest.mark.parametrize(("nonlinearity", "depth", "bias"), FEW)
def test_values_are_exact_to_rounding(nonlinearity, depth, bias):
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            x = points(dtype)
            seen = kernels(x, x, depth, nonlinearity, bias)
        assert seen.ntk.dtype == x.dtype
        unit = max(8 * float(jnp.finfo(dtype).eps), 1e-9)  # the reference has nine digits of a small angle
        for kernel, want in zip(seen, precise(x, x, depth, nonlinearity, bias), strict=True):
            size = np.sqrt(np.outer(np.diagonal(want), np.diagonal(want)))
            tiny = 2 * float(jnp.finfo(dtype).smallest_subnormal)
            assert (np.abs(np.asarray(kernel, np.float64) - want) <= unit * size + tiny).all(), (
                dtype,
                np.max(np.abs(np.asarray(kernel, np.float64) - want) / (size + tiny)),
            )


@pytest.mark.parametrize(("nonlinearity", "depth", "bias"), CASES)
@pytest.mark.whole
def test_gradient_at_equal_inputs_is_that_of_the_diagonal(nonlinearity, depth, bias):
    def same(x):
        return kernels(x[None], x[None], depth, nonlinearity, bias).ntk[0, 0]

    x = jnp.array([1.0, 2.0, -0.5])
    with jax.enable_x64(True):
        steps, wide = 1e-6 * np.eye(3), np.asarray(x, np.float64)
        want = [(float(same(jnp.asarray(wide + step))) - float(same(jnp.asarray(wide - step)))) / 2e-6 for step in steps]
    np.testing.assert_allclose(jax.grad(same)(x), want, rtol=2e-5)


@pytest.mark.whole
@pytest.mark.parametrize(("nonlinearity", "depth", "bias"), CASES)
@pytest.mark.parametrize("other", ["near", "far", "opposite"])
def test_gradient_of_one_input(nonlinearity, depth, bias, other):
    with jax.enable_x64(True):
        x = jnp.array([1.0, 2.0, -0.5])
        y = {"near": x + jnp.array([1e-3, -2e-3, 1e-3]), "far": jnp.array([0.3, -1.0, 2.0]), "opposite": -2 * x + 1e-3}[other]

        def kernel(x, y):
            return kernels(x[None], y[None], depth, nonlinearity, bias).ntk[0, 0]

        steps = 1e-7 * jnp.eye(3)
        want = [(kernel(x + step, y) - kernel(x - step, y)) / 2e-7 for step in steps]
        seen = jax.grad(kernel)(x, y)
        np.testing.assert_allclose(seen, want, rtol=1e-5, atol=1e-7)
        low = jax.grad(kernel)(x.astype("float32"), y.astype("float32"))
    np.testing.assert_allclose(low, seen, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("nonlinearity", "depth", "bias"), CASES)
@pytest.mark.whole
def test_gradients_are_finite_wherever_inputs_are(nonlinearity, depth, bias):
    x = points("float32")
    x = jnp.concatenate([x, x, 1e-25 * x, 1e-38 * x])

    def total(a, b):
        both = kernels(a, b, depth, nonlinearity, bias)
        return both.ntk.sum() + both.nngp.sum()

    assert jnp.isfinite(total(x, x))
    for gradient in jax.grad(total, (0, 1))(x, x):
        assert jnp.isfinite(gradient).all()


@pytest.mark.whole
def test_zero_input_without_biases_gives_zero_rows_and_the_central_difference_as_gradient():
    y = jnp.array([[1.0, 2.0], [3.0, -1.0]])

    def kernel(x):
        return infinite_width_kernels(x[None], y, depth=1).nngp[0]

    assert (kernel(jnp.zeros(2)) == 0).all()
    step = 1e-3
    want = jnp.stack([(kernel(step * e) - kernel(-step * e)) / (2 * step) for e in jnp.eye(2)], axis=1)
    np.testing.assert_allclose(jax.jacrev(kernel)(jnp.zeros(2)), want, rtol=1e-4)


@pytest.mark.parametrize("moments", [relu_moments, erf_moments])
def test_moments_are_finite_with_their_gradients_at_zero_and_equal_variances(moments):
    one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
    for given in ((zero, zero, zero), (one, zero, zero), (one, one, one), (one, one, -one)):
        assert all(jnp.isfinite(part).all() for part in moments(*given))
        gradients = jax.grad(lambda given: sum(part.sum() for part in moments(*given)))(given)
        assert all(jnp.isfinite(part).all() for part in gradients)
