"""Published parameters come back bit for bit, and as no other module."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from mesocosm.lab.store.parameters import abstract_model, check_model, load_model, save_model


@dataclass(frozen=True)
class Sizes:
    width: int = 3
    dtype: str = "float32"


class Net(eqx.Module):
    layers: list[eqx.nn.Linear]
    scale: jax.Array
    count: jax.Array
    activation: object = jax.nn.relu
    bias: jax.Array | None = None

    def __call__(self, x):
        return self.scale * self.activation(self.layers[1](self.activation(self.layers[0](x))))


def build(config: Sizes, key) -> Net:
    first, second, third = jax.random.split(key, 3)
    layers = [eqx.nn.Linear(2, config.width, key=first), eqx.nn.Linear(config.width, 1, key=second)]
    return Net(layers, jax.random.normal(third, (), config.dtype), jnp.array(3))


def several(config, seeds):
    models = [build(config, jax.random.key(seed)) for seed in seeds]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *models), models


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_seed_comes_back_bit_for_bit(tmp_path, dtype):
    config, path = Sizes(dtype=dtype), tmp_path / "net.safetensors"
    stacked, models = several(config, (4, 9, 11))
    save_model(path, stacked, {"seeds": [4, 9, 11]})
    assert set(load_file(path)) == {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "scale", "count"}
    for seed, model in zip((4, 9, 11), models, strict=True):
        assert eqx.tree_equal(load_model(path, build, config, seed), model)
    assert eqx.tree_equal(load_model(path, build, config), stacked)
    two = load_model(path, build, config, [11, 4])
    assert eqx.tree_equal(two, several(config, (11, 4))[0])
    x = jnp.arange(2.0)
    np.testing.assert_array_equal(load_model(path, build, config, 9)(x), models[1](x))
    with pytest.raises(ValueError, match=r"seed 5 was not trained; net\.safetensors holds seeds 4, 9, 11"):
        load_model(path, build, config, 5)


def test_float64_comes_back_in_a_float32_world(tmp_path):
    path = tmp_path / "net.safetensors"
    with jax.enable_x64(True):
        stacked, (model,) = several(Sizes(dtype="float64"), (0,))
    save_model(path, stacked, {"seeds": [0]})
    loaded = load_model(path, build, Sizes(dtype="float64"), 0, precision="float64")
    assert (loaded.scale.dtype, loaded.count.dtype) == (np.float64, np.int64)
    assert np.asarray(loaded.layers[0].weight).tobytes() == np.asarray(model.layers[0].weight).tobytes()


def test_another_module_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_model(path, several(Sizes(), (0, 1))[0], {"seeds": [0, 1]})
    with pytest.raises(ValueError, match=r"layers\.0\.bias is float32\[2, 3\] and should be float32\[2, 4\]"):
        load_model(path, build, Sizes(width=4), 0)
    with pytest.raises(ValueError, match=r"scale is float32\[2\] and should be bfloat16\[2\]"):
        load_model(path, build, Sizes(dtype="bfloat16"), 0)
    with pytest.raises(ValueError, match=r"count is int32\[2\] and should be absent"):
        load_model(path, lambda config, key: eqx.tree_at(lambda net: net.count, build(config, key), None), Sizes(), 0)
    with pytest.raises(ValueError, match=r"another is absent and should be float32\[2, 5\]"):
        load_model(path, lambda config, key: {"another": jnp.zeros(5)}, Sizes(), 0)


def test_an_abstract_model_initialises_nothing():
    abstract = abstract_model(lambda config, key: {"huge": jax.random.normal(key, (10**6, 10**6))}, None, "float64")
    assert abstract["huge"] == jax.ShapeDtypeStruct((10**6, 10**6), np.float64)
    check_model("it", {"huge": jax.ShapeDtypeStruct((2, 10**6, 10**6), np.float64)}, abstract, 2)
    with pytest.raises(ValueError, match="it is not the module that the trial declares: huge"):
        check_model("it", {"huge": jax.ShapeDtypeStruct((3, 10**6, 10**6), np.float64)}, abstract, 2)
