"""A model comes back from its file bit for bit, and as no other model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from mesocosm.nn import Attention, language_model, load_model, save_model


def build(key, **options):
    return language_model(11, 12, layers=2, max_length=8, **options, key=key)


@pytest.mark.whole
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_comes_back_bit_for_bit(tmp_path, dtype):
    path = tmp_path / "a[1]*.safetensors"
    model = jax.tree.map(lambda leaf: leaf.astype(dtype), build(jax.random.key(3)))
    save_model(path, jax.tree.map(jnp.zeros_like, model))
    save_model(path, model)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert load_file(path)["blocks.1.mixer.query"].shape == (4, 3, 12)
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), eqx.filter_eval_shape(build, jax.random.key(0)))
    for like in (jax.tree.map(jnp.zeros_like, model), abstract):
        loaded = load_model(str(path), like)
        assert eqx.tree_equal(loaded, model)
        np.testing.assert_array_equal(loaded(jnp.arange(8)), model(jnp.arange(8)))


def test_an_array_of_any_layout_and_a_bare_array(tmp_path):
    path = tmp_path / "file"
    turned = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3).T, "b": jnp.float32(2.0), "rate": 0.1, "of": jax.nn.relu}
    save_model(path, turned)
    loaded = load_model(path, {**turned, "rate": 0.2})
    np.testing.assert_array_equal(loaded["a"], turned["a"])
    assert (loaded["b"].shape, float(loaded["b"]), loaded["rate"], loaded["of"]) == ((), 2.0, 0.2, jax.nn.relu)  # numbers and functions are not in the file
    save_model(path, jnp.arange(3))
    np.testing.assert_array_equal(load_model(path, jnp.zeros(3, int)), [0, 1, 2])


def test_another_model_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, build(jax.random.key(0)))
    with pytest.raises(ValueError, match=r"model\.safetensors holds another model: blocks\.0\.mixer\.biases\.key is absent and should be float32\[4, 3\]"):
        load_model(path, build(jax.random.key(0), mixer=lambda dim, *, key: Attention.create(dim, bias=True, key=key)))
    with pytest.raises(ValueError, match=r"readout\.weight is absent and should be float32\[11, 12\]"):
        load_model(path, build(jax.random.key(0), tied=False))
    with jax.enable_x64(True):
        double = jnp.ones(2)
        save_model(path, double)
    with pytest.raises(ValueError, match="float64: load it within"):
        load_model(path, jax.ShapeDtypeStruct((2,), "float64"))
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is not a safetensors file"):
        load_model(path, double)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nothing", double)
