"""Against NumPy, against jax.numpy's own derivatives, and in every way of being vmapped."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.numerics import linear_algebra as la


def _random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def _positive(*shape):
    x = _random(*shape, 2 * shape[-1])
    return x @ np.swapaxes(x, -1, -2)


def _symmetric(*shape):
    x = _random(*shape, shape[-1])
    return x + np.swapaxes(x, -1, -2)


def _invariants_of_eigenvectors(values, vectors):
    return values, vectors**2, vectors * values[..., None, :] ** 3 @ vectors.mT


def _invariants_of_singular_vectors(left, values, right):
    return values, left**2, right**2, left @ (values[..., None] ** 2 * right)


def _numpy_least_squares(a, b):
    return jnp.vectorize(lambda a, b: jnp.linalg.lstsq(a, b)[0], signature="(m,n),(m,k)->(n,k)")(a, b)


SQUARE, TALL, COLUMNS = _random(3, 4, 4), _random(3, 6, 4), _random(3, 4, 2, seed=1)
CASES = {  # ours, jax.numpy's, arguments
    "solve": (la.solve, jnp.linalg.solve, (SQUARE, COLUMNS)),
    "solve_positive": (lambda a, b: la.solve_positive(a @ a.mT, b), lambda a, b: jnp.linalg.solve(a @ a.mT, b), (SQUARE, COLUMNS)),
    "cholesky": (lambda a: la.cholesky(a @ a.mT), lambda a: jnp.linalg.cholesky(a @ a.mT), (SQUARE,)),
    "lower_inverse": (la.lower_inverse, lambda a: jnp.linalg.inv(jnp.tril(a)), (SQUARE,)),
    "eigh": (lambda a: _invariants_of_eigenvectors(*la.eigh(a)), lambda a: _invariants_of_eigenvectors(*jnp.linalg.eigh(a)), (_symmetric(3, 4),)),
    **{
        f"svd {m} x {n}": (
            lambda a: _invariants_of_singular_vectors(*la.svd(a)),
            lambda a: _invariants_of_singular_vectors(*jnp.linalg.svd(a, full_matrices=False)),
            (_random(3, m, n),),
        )
        for m, n in ((4, 4), (6, 3), (3, 5))
    },
    "qr": (lambda a: tuple(la.qr(a)), lambda a: tuple(jnp.linalg.qr(a)), (TALL,)),
    "least_squares": (la.least_squares, _numpy_least_squares, (TALL, _random(3, 6, 2, seed=1))),
}


def _twice_vmapped(function):
    return lambda *given: jax.tree.map(lambda y: y[0], jax.vmap(jax.vmap(function))(*(a[None] for a in given)))


@partial(jax.jit, static_argnums=0)
def _forward_and_backward(function, given, moved):
    """Outside of the test, so that jax.numpy's side is compiled once for all ways."""
    values, pull = jax.vjp(function, *given)
    weights = jax.tree.map(lambda leaf: jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), values)
    return values, jax.jvp(function, given, moved)[1], pull(weights)


@pytest.mark.parametrize(
    "way", [lambda function: function, jax.vmap, pytest.param(_twice_vmapped, marks=pytest.mark.whole)], ids=["batch", "vmap", "vmap of vmap"]
)
@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives_are_those_of_jax_numpy(name, way):
    ours, theirs, arguments = CASES[name]
    with jax.enable_x64(True):
        arguments = tuple(map(jnp.asarray, arguments))
        moved = tuple(jnp.asarray(_random(*a.shape, seed=7)) for a in arguments)
        found, wanted = (_forward_and_backward(function, arguments, moved) for function in (way(ours), theirs))
        for mine, yours in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-9)


@pytest.mark.whole
def test_one_matrix_against_many_right_hand_sides():
    with jax.enable_x64(True):
        a, b = jnp.asarray(_positive(5)), jnp.asarray(_random(7, 5, 2))
        for solve in (la.solve, la.solve_positive):
            wanted = np.linalg.solve(a[None], b)
            np.testing.assert_allclose(solve(a, b), wanted, rtol=1e-9)
            np.testing.assert_allclose(jax.vmap(solve, in_axes=(None, 0))(a, b), wanted, rtol=1e-9)


def test_a_permuting_factorisation_is_solved_both_ways():
    """Pivoting matters: the leading element is zero, and a transposed solve permutes at its end."""
    a = np.array([[0.0, 2.0, 1.0], [1.0, 0.0, 3.0], [4.0, 1.0, 0.0]])
    with jax.enable_x64(True):
        b = jnp.asarray(_random(3, 1))
        np.testing.assert_allclose(la.solve(jnp.asarray(a), b), np.linalg.solve(a, b), rtol=1e-12)
        transposed = jax.linear_transpose(partial(la.solve, jnp.asarray(a)), b)(b)[0]
        np.testing.assert_allclose(transposed, np.linalg.solve(a.T, b), rtol=1e-12)


def test_least_squares_takes_the_smallest_solution_where_columns_depend_on_each_other():
    a = _random(6, 4)
    a[:, 3] = a[:, 0] + a[:, 1]
    b = _random(6, 2, seed=1)
    with jax.enable_x64(True):
        np.testing.assert_allclose(la.least_squares(jnp.asarray(a), jnp.asarray(b)), np.linalg.lstsq(a, b)[0], rtol=1e-8)


def test_least_squares_cuts_off_where_numpy_does_and_solves_for_vectors():
    columns = np.linalg.qr(_random(100, 2))[0]
    with jax.enable_x64(True):
        for small in (50, 150):  # in units of the precision; NumPy's cutoff is 100, the larger of the sizes
            a, b = columns * [1.0, small * np.finfo(float).eps], _random(100)
            found, wanted = la.least_squares(jnp.asarray(a), jnp.asarray(b)), np.linalg.lstsq(a, b)[0]
            np.testing.assert_allclose(found, wanted, rtol=0.1)
            assert (abs(found[1]) > 1e6) == (small > 100)
        assert not la.least_squares(jnp.zeros((4, 3)), jnp.ones((4, 1))).any()


def test_only_the_lower_triangle_of_a_positive_matrix_is_read():
    a, b = _positive(4), _random(4, 1)
    with jax.enable_x64(True):
        np.testing.assert_allclose(la.solve_positive(jnp.asarray(np.tril(a) + np.triu(_random(4, 4), 1)), jnp.asarray(b)), np.linalg.solve(a, b), rtol=1e-9)


def test_the_result_has_the_wider_type():
    with jax.enable_x64(True):
        assert la.solve(jnp.eye(2, dtype=jnp.float32), jnp.ones((2, 1), jnp.float64)).dtype == jnp.float64
        assert la.solve(jnp.eye(2, dtype=jnp.float64), jnp.ones((2, 1), jnp.float32)).dtype == jnp.float64


def test_what_has_no_factor_is_not_a_number():
    assert np.isnan(la.solve_positive(-jnp.eye(3), jnp.ones((3, 1)))).all()
    assert not np.isfinite(la.solve(jnp.zeros((3, 3)), jnp.ones((3, 1)))).any()


def test_sizes_that_disagree_are_named():
    with pytest.raises(ValueError, match="4 rows and the right-hand side 3"):
        la.solve(jnp.eye(4), jnp.ones((3, 1)))
    with pytest.raises(ValueError, match="wide matrix, 2 x 3"):
        jax.jvp(la.qr, (jnp.ones((2, 3)),), (jnp.ones((2, 3)),))


def _by_eigenvectors(a, b):
    values, vectors = la.eigh(a)
    return vectors @ ((vectors.mT @ b) / values[:, None])


def _by_triangles(a, b):
    inverse = la.lower_inverse(la.cholesky(a))
    return inverse.mT @ inverse @ b


def _by_orthogonal_columns(a, b):
    q, r = la.qr(a)
    return la.solve(r, q.mT @ b)


@pytest.mark.parametrize("function", [la.solve, la.solve_positive, la.least_squares, _by_triangles, _by_eigenvectors, _by_orthogonal_columns])
def test_batches_reach_lapack_one_matrix_at_a_time(function):
    """What deadlocks is a LAPACK call for many matrices. The text of the program shows none, forward or backward; jax.numpy's shows some."""
    a, b = jnp.asarray(_positive(9, 4), jnp.float32), jnp.ones((9, 4, 1))

    def loss(solve, a, b):
        return jnp.sum(jax.vmap(solve)(a, b) ** 2)

    programs = [jax.jit(jax.value_and_grad(partial(loss, solve))).lower(a, b).as_text() for solve in (function, jnp.linalg.solve)]
    batched, jax_numpy = (sum("lapack_" in line and "tensor<9x" in line for line in text.splitlines()) for text in programs)
    assert batched == 0
    assert jax_numpy > 0
    assert "lapack_" in programs[0]
