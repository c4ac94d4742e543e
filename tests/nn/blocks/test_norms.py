"""The layer norm's derivative, which is written out, against automatic differentiation of the formula."""

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.nn.blocks.norms import standardise, unit_norm


def plain(x, epsilon):
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + epsilon)


def test_the_derivatives_of_standardise_are_those_of_its_formula():
    """Both modes and the second derivative, at an epsilon that matters; and a constant token, where only epsilon keeps the derivative finite."""
    with jax.enable_x64(True):
        x, moved, weight = np.random.default_rng(0).standard_normal((3, 4, 6))
        x[2] = 3.0

        def derivatives(form, x, moved):
            def cubes(x):
                return jnp.sum(form(x, 0.3) ** 3 * weight)

            return jax.jvp(lambda x: form(x, 0.3), (x,), (moved,)), jax.grad(cubes)(x), jax.hessian(cubes)(x)

        found, wanted = (jax.jit(derivatives, static_argnums=0)(form, x, moved) for form in (standardise, plain))
        assert np.abs(wanted[2]).max() > 0.1
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, wanted)


def test_a_unit_vector_has_length_one_where_its_squares_overflow():
    x = jnp.array([[300.0, 400.0, 0.0], [0.0, 0.0, 0.0], [3e-4, 0.0, 4e-4]], jnp.float16)
    found = unit_norm(x)
    assert found.dtype == jnp.float16
    np.testing.assert_allclose(found, [[0.6, 0.8, 0.0], [0.0, 0.0, 0.0], [0.6, 0.0, 0.8]], atol=2e-3)
