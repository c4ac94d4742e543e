"""A quantised weight is read as its format means, or its block is skipped with the names that were not understood."""

import json

import ml_dtypes
import numpy as np
import pytest
from test_checkpoint_files import write_raw

from mesocosm.audit import audit
from mesocosm.audit.checkpoint import Checkpoint, Tensor
from mesocosm.audit.errors import Skip
from packed_models import FAMILIES, pack, write

CODES = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
FP8 = CODES.astype(np.float32)
ONE = np.float32([0.5])


def checkpoint(config=None, **tensors):
    named = {name.replace("__", "."): value for name, value in tensors.items()}
    return Checkpoint("x", {name: Tensor(value.shape, dtype, lambda value=value: value) for name, (dtype, value) in named.items()}, config or {})


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [
        (ONE, CODES * 0.5),
        (np.float32(0.5), CODES * 0.5),
        (np.float32([1, 2, 3]), CODES * np.array([[1], [2], [3]])),
        (np.float32([[1, 2, 3, 4]]), CODES * np.array([[1, 2, 3, 4]])),
        (np.float32([[1, 10], [2, 20]]), CODES * np.array([[1, 1, 10, 10], [1, 1, 10, 10], [2, 2, 20, 20]])),
    ],
)
@pytest.mark.parametrize("beside", ["weight_scale", "weight_scale_inv", "scale_weight", "scale"])
def test_weights_are_multiplied_by_number_row_column_or_block(scale, wanted, beside):
    for dtype, codes in (("I8", CODES), ("F8_E4M3", FP8), ("F8_E5M2", FP8)):
        found = checkpoint(**{"m__weight": (dtype, codes), f"m__{beside}": ("F32", scale), "m__bias": ("F32", ONE)}).matrix("m.weight")
        np.testing.assert_allclose(found, wanted)


def test_a_zero_point_is_subtracted_first():
    zero, scale = np.int8([[1], [-2], [3]]), np.float32([[1], [10], [100]])
    tensors = {"m__weight": ("I8", CODES), "m__weight_scale": ("F32", scale), "m__weight_zero_point": ("I8", zero)}
    np.testing.assert_allclose(checkpoint(**tensors).matrix("m.weight"), (FP8 - zero) * scale)
    unsigned = tensors | {"m__weight": ("U8", (CODES + 6).astype(np.uint8))}
    np.testing.assert_allclose(checkpoint(**unsigned).matrix("m.weight"), (FP8 + 6 - zero) * scale)


@pytest.mark.parametrize("config", [{"weight_block_size": [128, 64]}, {"config_groups": {"group_0": {"weights": {"block_structure": "128x64"}}}}])
@pytest.mark.parametrize("shape", [(192, 100), (300, 64), (128, 130)])
def test_the_last_block_may_be_smaller(config, shape):
    random = np.random.default_rng(0)
    codes = np.round(random.standard_normal(shape) * 4).astype(np.float32)
    scale = np.exp(random.standard_normal((-(-shape[0] // 128), -(-shape[1] // 64)))).astype(np.float32)
    wanted = codes.copy()
    for i in range(shape[0]):
        for j in range(shape[1]):
            wanted[i, j] *= scale[i // 128, j // 64]
    tensors = {"m__weight": ("F8_E4M3", codes), "m__weight_scale_inv": ("F32", scale)}
    np.testing.assert_allclose(checkpoint({"quantization_config": config}, **tensors).matrix("m.weight"), wanted)


def test_blocks_that_the_shapes_do_not_tell_are_skipped():
    """Two blocks of 192 rows have 96 or 128 rows."""
    codes, scale = np.ones((192, 4), np.float32), np.float32([[1], [2]])
    with pytest.raises(Skip, match="the blocks are unknown"):
        checkpoint(m__weight=("F8_E4M3", codes), m__weight_scale_inv=("F32", scale)).matrix("m.weight")
    found = checkpoint(m__weight=("F8_E4M3", codes[:128].repeat(2, 0)), m__weight_scale_inv=("F32", scale)).matrix("m.weight")
    assert found[:, 0].tolist() == [1] * 128 + [2] * 128


@pytest.mark.parametrize(
    ("dtype", "beside", "told"),
    [
        ("I8", {}, "m.weight is I8 and has no scale"),
        ("I8", {"SCB": ONE}, "not understood: SCB"),
        ("I8", {"weight_scale": np.ones((5, 1), np.float32)}, "weight_scale has 5 numbers along an axis of m.weight with 3 entries"),
        ("I8", {"weight_scale": np.ones(4, np.float32)}, "does not tell which axis"),
        ("I8", {"weight_scale": ONE, "pre_quant_scale": ONE}, "not understood: pre_quant_scale"),
        ("I8", {"weight_scale": ONE, "scale_weight": ONE}, r"not understood: scale_weight|not understood: weight_scale"),
        ("U8", {"weight_scale": ONE}, "may hold several numbers in one"),
        ("I32", {"weight_scale": ONE}, "may hold several numbers in one"),
        ("U8", {"weight__absmax": ONE, "weight__quant_map": ONE}, "not understood: weight.absmax, weight.quant_map"),
        ("F8_E4M3", {"amax": ONE}, "not understood: amax"),
        ("F8_E4M3", {"weight_scale": ONE, "weight_scale_2": ONE}, "not understood: weight_scale_2"),
        ("F32", {"weight_scale": ONE}, "not understood: weight_scale"),
        ("F32", {"lora_A": FP8, "lora_B": FP8}, "an adapter that is not merged"),
        ("F32", {"lora_A__default__weight": FP8}, "an adapter that is not merged"),
        ("F32", {"hada_w1_a": FP8}, "an adapter that is not merged"),
    ],
)
def test_what_is_not_understood_is_named(dtype, beside, told):
    tensors = {"m__weight": (dtype, CODES if dtype[0] in "IU" else FP8), **{f"m__{name}": ("F32", value) for name, value in beside.items()}}
    with pytest.raises(Skip, match=told):
        checkpoint(**tensors).matrix("m.weight")


def test_a_zero_point_that_is_packed_is_not_taken_as_one_of_blocks():
    tensors = {"m__weight": ("I8", CODES), "m__weight_scale": ("F32", np.ones((3, 1))), "m__weight_zero_point": ("I32", np.full((2, 1), 7))}
    with pytest.raises(Skip, match=r"m\.weight_zero_point has another shape than m\.weight_scale"):
        checkpoint(**tensors).matrix("m.weight")
    tensors["m__weight_zero_point"] = ("I32", np.full((3, 1), 7))
    np.testing.assert_array_equal(checkpoint(**tensors).matrix("m.weight"), CODES - 7.0)


def test_scales_that_contradict_the_blocks_of_the_config_are_not_taken():
    tensors = {"m__weight": ("F8_E4M3", np.ones((192, 4))), "m__weight_scale_inv": ("F32", np.ones((3, 1)))}
    np.testing.assert_array_equal(checkpoint(**tensors).matrix("m.weight"), 1)
    with pytest.raises(Skip, match=r"\[3, 1\] does not fit blocks of 128 x 4, which config\.json states"):
        checkpoint({"quantization_config": {"weight_block_size": [128, 4]}}, **tensors).matrix("m.weight")


@pytest.mark.parametrize("name", ["m_zero_point", "m_zp", "m_weight_zeros"])
def test_a_zero_point_outside_the_module_is_named(name):
    tensors = {"m__weight": ("I8", CODES), "m__weight_scale": ("F32", ONE), name: ("F32", ONE)}
    with pytest.raises(Skip, match=f"not understood: {name}"):
        checkpoint(**tensors).matrix("m.weight")


def test_scales_of_activations_leave_the_weight_alone():
    tensors = {"m__weight": ("F8_E4M3", FP8), "m__weight_scale": ("F32", ONE), "m__input_scale": ("F32", np.float32(7))}
    np.testing.assert_allclose(checkpoint(**tensors).matrix("m.weight"), FP8 / 2)


@pytest.mark.parametrize("hint", [{"m__q_scale": ONE}, {"scaled_fp8": ONE}, {"other__layer__weight_scale": ONE}, {"scales__m__q": ONE}])
def test_float8_without_a_scale_is_taken_only_where_nothing_hints_at_one(hint):
    plain = {"m__q__weight": ("F8_E4M3", FP8)}
    np.testing.assert_array_equal(checkpoint(**plain, logit_scale=("F32", ONE)).matrix("m.q.weight"), FP8)
    with pytest.raises(Skip, match="without a scale beside it, but there is"):
        checkpoint(**plain, **{name: ("F32", value) for name, value in hint.items()}).matrix("m.q.weight")
    with pytest.raises(Skip, match=r"there is quantization_config"):
        checkpoint({"quantization_config": {"quant_method": "fp8"}}, **plain).matrix("m.q.weight")


def test_scales_that_are_powers_of_two(tmp_path):
    """F8_E8M0 holds 2^(byte - 127)."""
    codes = FP8.astype(ml_dtypes.float8_e4m3fn)
    tensors = {"m.weight": ("F8_E4M3", (3, 4), codes.tobytes()), "m.scale": ("F8_E8M0", (3, 1), bytes([127, 120, 130]))}
    from mesocosm.audit.checkpoint import open_checkpoint

    found = open_checkpoint(str(write_raw(tmp_path / "m.safetensors", tensors))).matrix("m.weight")
    np.testing.assert_array_equal(found, FP8 * np.array([[1], [2.0**-7], [8]]))


def test_quantised_blocks_say_so_and_have_the_numbers_of_plain_ones(tmp_path):
    family = FAMILIES["bert"]
    codes = {name: value.astype(ml_dtypes.float8_e4m3fn) for name, value in pack(family)[0].items()}
    scales = {f"{name}_scale": np.float32([0.1 * (n + 1)]) for n, name in enumerate(codes)}
    stored = {name: ("F8_E4M3", value.shape, value.tobytes()) for name, value in codes.items()}
    path = write_raw(tmp_path / "model.safetensors", stored | {name: ("F32", (1,), value.tobytes()) for name, value in scales.items()})
    (tmp_path / "config.json").write_text(json.dumps(family.config))
    found = audit(path).rows
    assert found["notes"].unique().to_list() == ["quantised: small singular values are rounding errors"]
    plain = {name: value.astype(np.float32) * scales[f"{name}_scale"] for name, value in codes.items()}
    wanted = audit(write(tmp_path / "plain", plain, family.config)).rows
    assert found.drop("model", "notes").equals(wanted.drop("model", "notes"))


def test_a_block_that_cannot_be_read_leaves_the_others_alone(tmp_path):
    family = FAMILIES["llama"]
    stored = {name: ("F32", value.shape, value.tobytes()) for name, value in pack(family)[0].items()}
    name = next(name for name in stored if name.endswith("layers.0.self_attn.q_proj.weight"))
    shape = stored[name][1]
    (tmp_path / "config.json").write_text(json.dumps(family.config))
    for dtype, raw in (("F4", bytes(72)), ("F6_E2M3", bytes(108)), ("C64", bytes(8 * 144))):
        path = write_raw(tmp_path / "model.safetensors", stored | {name: (dtype, shape, raw)})
        found = audit(path)
        assert found.audited["layer"].unique().to_list() == [1]
        assert found.skipped["layer"].to_list() == [0]
        assert dtype in found.skipped["reason"].item()
