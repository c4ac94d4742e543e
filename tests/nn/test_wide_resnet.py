"""Wide residual networks: sizes, the residual path, and an ensemble of small ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.learning.ensemble import Ensemble
from mesocosm.nn.wide_resnet import WideResNet


def test_the_usual_network_has_its_36_million_parameters():
    shapes = eqx.filter_eval_shape(lambda key: WideResNet.create(3, 10, key=key), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes) if isinstance(leaf, jax.ShapeDtypeStruct)) == pytest.approx(36.5e6, rel=0.01)
    assert len(shapes.blocks) == 12


def test_a_block_without_weights_is_its_shortcut():
    network = eqx.filter_jit(WideResNet.create)(3, 5, depth=10, widening=1, key=jax.random.key(0))
    block = network.blocks[0]  # 16 to 16 channels
    silent = eqx.tree_at(lambda b: b.convolutions[1].weight, block, replace_fn=lambda w: jnp.asarray(np.zeros_like(w)))
    x = np.random.default_rng(1).standard_normal((16, 8, 8), np.float32)
    np.testing.assert_array_equal(eqx.filter_jit(silent)(x), x)
    assert not np.allclose(eqx.filter_jit(block)(x), x)
    assert [b.shortcut is None for b in network.blocks] == [True, False, False]
    assert eqx.filter_eval_shape(network.blocks[2], jax.ShapeDtypeStruct((32, 8, 8), x.dtype)).shape == (64, 4, 4)


@pytest.mark.slow
def test_small_ones_learn_as_an_ensemble():
    def draw(key):
        return WideResNet.create(3, 2, depth=10, widening=1, key=key)

    x = jax.random.normal(jax.random.key(0), (8, 3, 8, 8))
    y = jax.nn.one_hot(jnp.arange(8) % 2, 2)
    fitted = Ensemble(draw, members=2, variant="gd-c").fit(x, y, steps=40, learning_rate=3e-3)
    assert float(fitted.losses.max()) < 0.1  # predicting the mean is worth 0.25


@pytest.mark.parametrize("depth", [4, 12])
def test_a_depth_that_no_network_has_is_refused(depth):
    with pytest.raises(ValueError, match=f"10, 16, 22, 28, ..., not {depth}".replace(".", r"\.")):
        WideResNet.create(3, 10, depth=depth, key=jax.random.key(0))
