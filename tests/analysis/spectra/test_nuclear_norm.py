"""The oracle: the nuclear norm's derivative is the polar factor, its proximal map thresholds, its optimality is certified."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.spectra.nuclear_norm import nuclear_norm, subgradient_error, threshold_singular_values


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


@pytest.mark.parametrize(("m", "n", "r"), [(6, 5, 3), (4, 7, 4)])
def test_the_norm_and_its_gradient_are_those_of_the_product(m, n, r):
    """The gradient by central differences, and as U V^T B."""
    a, b = normal(0, m, r), normal(1, n, r)
    left, s, right = np.linalg.svd(a @ b.T, full_matrices=False)
    assert nuclear_norm(a, b) == pytest.approx(s.sum(), rel=1e-12)
    grad_a, grad_b = jax.grad(nuclear_norm, argnums=(0, 1))(a, b)
    polar = left[:, :r] @ right[:r]
    np.testing.assert_allclose(grad_a, polar @ b, atol=1e-10)
    np.testing.assert_allclose(grad_b, polar.T @ a, atol=1e-10)
    move_a, move_b, h = normal(2, m, r), normal(3, n, r), 1e-6
    slope = (nuclear_norm(a + h * move_a, b + h * move_b) - nuclear_norm(a - h * move_a, b - h * move_b)) / (2 * h)
    assert slope == pytest.approx((jnp.sum(grad_a * move_a) + jnp.sum(grad_b * move_b)).item(), rel=1e-6)


def test_a_missing_direction_has_a_finite_subgradient():
    a, b = normal(4, 5, 3), normal(5, 5, 3)
    a = a.at[:, 2].set(a[:, 1])
    b = b.at[:, 2].set(-b[:, 1])  # the last two columns cancel: rank 1
    grad = jax.grad(nuclear_norm)(a, b)
    assert jnp.all(jnp.isfinite(grad))
    for seed in range(10):  # convex in the product: the linear estimate lies below
        moved = a + normal(seed, 5, 3)
        assert nuclear_norm(moved, b) >= nuclear_norm(a, b) + jnp.sum(grad * (moved - a)) - 1e-10


def test_the_proximal_map_minimises_its_objective_and_is_certified():
    matrix, threshold = normal(6, 6, 4), 1.1
    best = threshold_singular_values(matrix, threshold)

    def objective(w):
        return jnp.sum((w - matrix) ** 2) / 2 + threshold * jnp.linalg.svd(w, compute_uv=False).sum()

    assert np.linalg.matrix_rank(best, tol=1e-9) < 4
    assert all(objective(best + 0.1 * normal(seed, 6, 4)) > objective(best) for seed in range(20))
    assert subgradient_error(best - matrix, best, threshold) < 1e-12
    assert subgradient_error(0.9 * best - matrix, 0.9 * best, threshold) > 1e-2
    assert subgradient_error(-matrix, jnp.zeros((6, 4)), 100.0) == 0
    assert subgradient_error(-matrix, jnp.zeros((6, 4)), 0.1) > 1
