"""Networks in the tangent parametrisation: their formulas, their scales, and the mirror of a read-out."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn.tangent_parametrisation import TangentCNN, TangentMLP, negate_readout


@eqx.filter_jit
def drawn(create, *sizes, **more):
    return create(*sizes, **more, key=jax.random.key(0))


def normal(*shape):
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def test_a_network_is_its_formula():
    network = drawn(TangentMLP.create, 3, 2, width=5, depth=2, bias_scale=0.4, readout_scale=0.7)
    x = normal(3)
    w1, w2, w3 = (np.asarray(layer.weight, np.float64) for layer in network.layers)
    b1, b2 = (np.asarray(layer.bias, np.float64) for layer in network.layers[:2])
    h = np.maximum(w1 @ x / np.sqrt(3) + 0.4 * b1, 0)
    h = np.maximum(np.sqrt(2 / 5) * w2 @ h + 0.4 * b2, 0)
    np.testing.assert_allclose(eqx.filter_jit(network)(x), 0.7 * np.sqrt(2 / 5) * w3 @ h, rtol=1e-5)
    assert network.layers[2].bias is None


def test_a_convolution_is_its_formula():
    network = drawn(TangentCNN.create, 2, 3, width=4, depth=1, stride=2)
    x = normal(2, 5, 5)
    weight, readout = (np.asarray(w, np.float64) for w in (network.convolutions[0].weight, network.readout.weight))
    padded = np.pad(x.astype(np.float64), [(0, 0), (1, 1), (1, 1)])
    seen = np.array([[[np.sum(w * padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]) for j in range(3)] for i in range(3)] for w in weight]) / np.sqrt(18)
    wanted = np.sqrt(2 / 4) * readout @ np.maximum(seen, 0).mean((1, 2))
    np.testing.assert_allclose(eqx.filter_jit(network)(x), wanted, rtol=1e-4)


@pytest.mark.whole
@pytest.mark.parametrize("depth", [1, 4])
def test_every_width_and_depth_has_the_same_scale(depth):
    x = normal(20)

    @partial(jax.jit, static_argnums=0)
    def outputs(width, keys):
        return jax.vmap(lambda key: TangentMLP.create(20, 1, width=width, depth=depth, key=key)(jnp.asarray(x))[0])(keys)

    narrow, wide = (np.mean(np.square(outputs(width, jax.random.split(jax.random.key(0), 4000)))) for width in (8, 32))
    assert narrow == pytest.approx(wide, rel=0.25)
    assert wide == pytest.approx(np.mean(x**2), rel=0.15)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (lambda: drawn(TangentMLP.create, 4, 2, width=6, depth=2, bias_scale=0.3), (4,)),
        (lambda: drawn(TangentCNN.create, 1, 2, width=4), (6, 6)),
    ],
)
def test_a_mirrored_network_is_the_negative_function(network, shape):
    network, x = network(), normal(*shape)
    mirrored = eqx.filter_jit(negate_readout)(network)
    np.testing.assert_array_equal(eqx.filter_jit(mirrored)(x), -np.asarray(eqx.filter_jit(network)(x)))
    np.testing.assert_array_equal(jax.tree.leaves(mirrored)[0], jax.tree.leaves(network)[0])


@pytest.mark.whole
def test_grey_pictures_need_no_channel():
    network, x = eqx.filter_jit(drawn(TangentCNN.create, 1, 2, width=4)), normal(6, 6)
    np.testing.assert_array_equal(network(x), network(x[None]))
