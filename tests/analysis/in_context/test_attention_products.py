import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.in_context.attention_products import (
    CONSTRUCTED_TOKENS,
    BlockScalars,
    Pattern,
    ProductAttention,
    compress,
    effective_step_size,
    expand,
    gradient_descent_scalars,
    interpolate,
    pattern_strength,
)
from mesocosm.analysis.in_context.regression import gradient_step
from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.tasks.linear_systems import constructed_tokens


def random_factors(seed, heads=2, key_dim=5, value_dim=3, dim=8):
    shapes = [(heads, key_dim, dim), (heads, key_dim, dim), (heads, value_dim, dim), (heads, dim, value_dim)]
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


from_factors = jax.jit(ProductAttention.from_factors)
run = jax.jit(lambda layer, tokens: layer(tokens))
compressed = jax.jit(compress, static_argnums=1)
expanded_to = jax.jit(expand, static_argnums=1)
strength = jax.jit(pattern_strength, static_argnums=1)
effective = jax.jit(effective_step_size)


def random_products(seed, **sizes):
    return from_factors(*random_factors(seed, **sizes))


def test_products_compute_what_the_factors_do():
    with jax.enable_x64(True):
        query, key, value, output = random_factors(0)
        tokens = np.random.default_rng(1).normal(size=(6, 8))
        products = from_factors(query, key, value, output)
        query, key, value, output, e = (np.asarray(array) for array in (query, key, value, output, tokens))
        expected = np.zeros((6, 8))
        for h in range(2):
            for t in range(6):
                for s in range(t + 1):
                    expected[t] += output[h] @ (value[h] @ e[s]) * ((key[h] @ e[s]) @ (query[h] @ e[t]))
        np.testing.assert_allclose(run(products, tokens), expected, rtol=1e-9)


def test_products_stand_in_for_the_layer():
    layer = LinearAttention(*random_factors(0))
    tokens = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
    products = from_factors(layer.query, layer.key, layer.value, layer.output)
    np.testing.assert_allclose(run(products, tokens), run(layer, tokens), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("heads", "blocks", "block_size"), [(2, 4, 3), (1, 1, 5), (3, 2, 1)])
def test_compressing_what_was_expanded_gives_it_back(heads, blocks, block_size):
    numbers = np.random.default_rng(0).normal(size=(2, heads, blocks, blocks))
    scalars = BlockScalars(*jnp.asarray(numbers, jnp.float32))
    expanded = expanded_to(scalars, block_size)
    assert expanded.query_key.shape == (heads, blocks * block_size, blocks * block_size)
    for found, known in zip(compressed(expanded, block_size), scalars, strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-6)


def test_compression_is_the_mean_of_the_diagonal_and_a_projection():
    products = random_products(0)
    query_key, value_output = np.asarray(products.query_key), np.asarray(products.value_output)
    scalars = compressed(products, 2)
    np.testing.assert_allclose(np.asarray(scalars.query_key)[1, 2, 3], np.mean(np.diag(query_key[1, 4:6, 6:8])), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(scalars.value_output)[0, 0, 2], np.mean(np.diag(value_output[0, 0:2, 4:6])), rtol=1e-6)
    residual = query_key - np.asarray(expanded_to(scalars, 2).query_key)  # orthogonal to everything that can be compressed without loss
    other = np.asarray(expanded_to(compressed(random_products(1), 2), 2).query_key)
    np.testing.assert_allclose(np.sum(residual * other), 0.0, atol=1e-3)
    assert np.max(np.abs(residual)) > 0.1


def test_interpolation_has_its_end_points():
    first, second = random_products(0), random_products(1)
    between = jax.jit(interpolate)
    for weight, expected in ((0.0, first), (1.0, second)):
        found = between(first, second, weight)
        np.testing.assert_array_equal(found.query_key, expected.query_key)
        np.testing.assert_array_equal(found.value_output, expected.value_output)
    halfway = between(first, second)
    np.testing.assert_allclose(halfway.value_output, (np.asarray(first.value_output) + np.asarray(second.value_output)) / 2, rtol=1e-6)
    with pytest.raises(ValueError, match=r"\(2, 8, 8\) and \(3, 8, 8\)"):
        interpolate(first, random_products(1, heads=3))


def test_the_constructed_layer_is_gradient_descent():
    """Prop. 1: one head with two non-zero blocks writes the prediction of one gradient step, and nothing else."""
    scalars = gradient_descent_scalars(0.07)

    @jax.jit
    def written_and_wanted(inputs):
        tokens = constructed_tokens(inputs).at[:, :6].set(0.0)
        return expand(scalars, 3)(tokens), gradient_step(inputs, 0.07)

    written, wanted = map(np.asarray, written_and_wanted(np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)))
    np.testing.assert_allclose(written[:, :3], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(written[:, 3:], 0.0)
    np.testing.assert_allclose(effective(scalars), 0.07, rtol=1e-6)


def test_strength_of_the_exact_pattern():
    off_pattern, identity = strength(expanded_to(gradient_descent_scalars(-0.07), 3), 3)
    assert off_pattern == 0.0
    np.testing.assert_allclose(identity, -1.0, rtol=1e-6)  # the sign of the step is seen
    other = gradient_descent_scalars(0.07, Pattern(query=1, key=3, value=2, output=0))
    assert strength(expanded_to(other, 3), 3).off_pattern == np.inf


def test_strength_is_that_of_the_whole_tensor():
    """Brute force: the blocks of T = sum_h Q_h (x) V_h, entry by entry."""
    with jax.enable_x64(True):
        products = random_products(0)
        tensor = np.einsum("hab,hcd->abcd", products.query_key, products.value_output).reshape(4, 2, 4, 2, 4, 2, 4, 2)
        norms = np.sqrt(np.sum(tensor**2, axis=(1, 3, 5, 7)))
        main = tensor[2, :, 3, :, 2, :, 0, :]
        cosine = np.einsum("aabb->", main) / (2 * np.linalg.norm(main))
        main_norm = norms[CONSTRUCTED_TOKENS]
        norms[CONSTRUCTED_TOKENS] = 0.0
        found = strength(products, 2)
        np.testing.assert_allclose(found.off_pattern, norms.max() / main_norm, rtol=1e-9)
        np.testing.assert_allclose(found.identity, cosine, rtol=1e-9)


def test_readings_do_not_depend_on_the_factors():
    """Scale moved between a head's products, and heads mixed by a rotation, leave the layer and every reading unchanged."""
    with jax.enable_x64(True):
        products = random_products(0)
        parts = [np.asarray(part) for part in (products.query_key, products.value_output)]
        scale, angle = np.array([3.0, -0.2])[:, None, None], 0.7
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        scaled = ProductAttention(jnp.asarray(parts[0] * scale), jnp.asarray(parts[1] / scale))
        mixed = ProductAttention(*(jnp.asarray(np.einsum("gh,hij->gij", rotation, part)) for part in parts))
        tokens = np.random.default_rng(1).normal(size=(6, 8))
        for other in (scaled, mixed):
            np.testing.assert_allclose(run(other, tokens), run(products, tokens), rtol=1e-9)
            np.testing.assert_allclose(strength(other, 2), strength(products, 2), rtol=1e-9)
            np.testing.assert_allclose(effective(compressed(other, 2)), effective(compressed(products, 2)), rtol=1e-9)


def test_blocks_must_fit():
    with pytest.raises(ValueError, match="8 channels cannot be cut into blocks of 3"):
        compress(random_products(0), 3)
