"""Networks in the tangent parametrisation: their formulas, their scales, and the mirror of a read-out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn.tangent_parametrisation import TangentCNN, TangentMLP, negate_readout


def test_a_network_is_its_formula():
    network = TangentMLP.create(3, 2, width=5, depth=2, bias_scale=0.4, readout_scale=0.7, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3,))
    w1, w2, w3 = (np.asarray(layer.weight, np.float64) for layer in network.layers)
    b1, b2 = (np.asarray(layer.bias, np.float64) for layer in network.layers[:2])
    h = np.maximum(w1 @ np.asarray(x) / np.sqrt(3) + 0.4 * b1, 0)
    h = np.maximum(np.sqrt(2 / 5) * w2 @ h + 0.4 * b2, 0)
    np.testing.assert_allclose(network(x), 0.7 * np.sqrt(2 / 5) * w3 @ h, rtol=1e-5)
    assert network.layers[2].bias is None


def test_a_convolution_is_its_formula():
    network = TangentCNN.create(2, 3, width=4, depth=1, stride=2, key=jax.random.key(0))
    x = np.asarray(jax.random.normal(jax.random.key(1), (2, 5, 5)), np.float64)
    weight, readout = (np.asarray(w, np.float64) for w in (network.convolutions[0].weight, network.readout.weight))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)])
    seen = np.array([[[np.sum(w * padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]) for j in range(3)] for i in range(3)] for w in weight]) / np.sqrt(18)
    wanted = np.sqrt(2 / 4) * readout @ np.maximum(seen, 0).mean((1, 2))
    np.testing.assert_allclose(network(jnp.asarray(x, jnp.float32)), wanted, rtol=1e-4)


@pytest.mark.parametrize("depth", [1, 4])
def test_every_width_and_depth_has_the_same_scale(depth):
    x = jax.random.normal(jax.random.key(1), (20,))

    def second_moment(width):
        networks = jax.vmap(lambda key: TangentMLP.create(20, 1, width=width, depth=depth, key=key)(x)[0])
        return float(jnp.mean(networks(jax.random.split(jax.random.key(0), 4000)) ** 2))

    assert second_moment(8) == pytest.approx(second_moment(64), rel=0.25)
    assert second_moment(64) == pytest.approx(float(jnp.mean(x**2)), rel=0.15)


@pytest.mark.parametrize(
    "build", [lambda key: TangentMLP.create(4, 2, width=6, depth=2, bias_scale=0.3, key=key), lambda key: TangentCNN.create(1, 2, width=4, key=key)]
)
def test_a_mirrored_network_is_the_negative_function(build):
    network = build(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4,) if isinstance(network, TangentMLP) else (6, 6))
    np.testing.assert_array_equal(negate_readout(network)(x), -network(x))
    np.testing.assert_array_equal(jax.tree.leaves(negate_readout(network))[0], jax.tree.leaves(network)[0])


def test_grey_pictures_need_no_channel():
    network = TangentCNN.create(1, 2, width=4, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (6, 6))
    np.testing.assert_array_equal(network(x), network(x[None]))
