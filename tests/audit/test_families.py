"""Each line of the table of families, by checkpoints that are balanced only if the line is right; what the table does not know is unknown."""

import numpy as np
import pytest

from mesocosm.audit import audit
from mesocosm.audit.block_tensors import meaning_of
from packed_models import write

HEADS, SIZE, WIDTH, LAYERS = 2, 16, 32, 4
BASE = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "num_hidden_layers": LAYERS, "head_dim": SIZE}


def pairs(interleaved, rotated):
    """The rotating pairs of a head's coordinates."""
    half = rotated // 2
    return [(2 * i, 2 * i + 1) if interleaved else (i, i + half) for i in range(half)]


def balanced(interleaved, rotated, *, gated=False, layers=LAYERS, gain=None, extra=()):
    """Query and key whose traces agree over the pairs alone: within a pair the norms are exchanged, elsewhere the key is ten times larger."""
    random = np.random.default_rng(0)
    tensors = {}
    for layer in range(layers):
        query, key = (random.standard_normal((HEADS, SIZE, WIDTH)) for _ in range(2))
        norms = np.exp(random.standard_normal((HEADS, SIZE)))
        other = 10 * norms
        for first, second in pairs(interleaved, rotated):
            other[:, [first, second]] = norms[:, [second, first]]
        query *= (norms / np.linalg.norm(query, axis=-1))[..., None]
        key *= (other / np.linalg.norm(key, axis=-1))[..., None]
        if gated:
            query = np.stack([query, random.standard_normal(query.shape)], axis=1)
        block = f"model.layers.{layer}.self_attn"
        plain = random.standard_normal((HEADS * SIZE, WIDTH))
        parts = {"q": query.reshape(-1, WIDTH), "k": key.reshape(-1, WIDTH), "v": plain, "o": plain.T}
        tensors |= {f"{block}.{name}_proj.weight": value for name, value in parts.items()}
        tensors |= {f"{block}.{name}": np.ones(SIZE) for name in extra}
        if gain is not None:
            tensors[f"model.layers.{layer}.input_layernorm.weight"] = gain
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def rows(folder, tensors, **config):
    return audit(write(folder, tensors, {**BASE, **config})).rows


NESTED = {"sliding_attention": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}, "full_attention": {"partial_rotary_factor": 0.25}, "chunked_attention": None}
PLAIN = ("llama", "mistral", "qwen2", "qwen3", "olmo2", "phi3", "gpt_oss", "hunyuan_v1_dense", "gpt_neox_japanese", "gemma3_text")
ROTARY = [  # model type, further config, neighbours, rotating coordinates
    *((name, {}, False, 16) for name in PLAIN),
    ("persimmon", {}, False, 8),
    ("phi", {}, False, 8),
    ("phi", {"partial_rotary_factor": 0.25}, False, 4),
    ("stablelm", {}, False, 4),
    ("stablelm", {"rope_scaling": {"rope_type": "default", "partial_rotary_factor": 0.5}}, False, 8),
    ("stablelm", {"rope_parameters": {"partial_rotary_factor": 0.5}}, False, 8),
    ("minimax", {"rotary_dim": 6}, False, 6),
    ("minimax", {}, False, 16),
    ("cohere", {}, True, 16),
    ("helium", {}, True, 16),
    ("glm", {}, True, 8),
    ("glm4", {"partial_rotary_factor": 1.0}, True, 16),
    ("gptj", {"rotary_dim": 4}, True, 4),
    ("gptj", {"rotary_dim": None}, True, 16),
    ("codegen", {"rotary_dim": 8}, True, 8),
    ("nemotron", {}, False, 8),
    ("gemma", {}, False, 16),
    ("qwen3_next", {"attn_output_gate": False}, False, 4),
    *(
        ("gemma3_text", {"rope_parameters": NESTED, "layer_types": [kind]}, False, rotated)
        for kind, rotated in (("sliding_attention", 8), ("full_attention", 4))
    ),
    ("qwen3_5_text", {"rope_parameters": {"partial_rotary_factor": 0.5}, "attn_output_gate": False}, False, 8),
]


@pytest.mark.parametrize(("name", "config", "interleaved", "rotated"), ROTARY)
def test_the_pairs_of_a_family_are_balanced_where_they_rotate(name, config, interleaved, rotated, tmp_path):
    found = rows(tmp_path, balanced(interleaved, rotated, layers=1), model_type=name, **config).filter(product="QK")
    assert found["applies"].unique().to_list() == ["pair-only"]
    assert found["pair_relD"].max() < 1e-6
    wrong = rows(tmp_path / "wrong", balanced(not interleaved, rotated, layers=1), model_type=name, **config).filter(product="QK")
    assert wrong["pair_relD"].min() > 0.01


GAINS = [
    *((name, 1) for name in ("gemma", "gemma2", "gemma3_text", "nemotron", "qwen3_next", "qwen3_5", "qwen3_5_moe_text")),
    *((name, 0) for name in ("llama", "qwen3", "mistral", "cohere", "stablelm", "phi", "gemma3n")),
]


@pytest.mark.parametrize(("name", "offset"), GAINS)
def test_a_gain_of_one_is_stored_as_one_or_as_zero(name, offset, tmp_path):
    stored = np.full(WIDTH, 1.0 - offset)
    gated = name.startswith("qwen3_")
    stored[:3] += 1e-3
    found = rows(tmp_path, balanced(False, 16, layers=1, gain=stored, gated=gated), model_type=name)
    assert found["status"].unique().to_list() == ["audited"]
    assert (found["rank95_sum_folded"] == found["rank95_sum"]).all()


def test_a_gain_of_unknown_meaning_is_not_folded(tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1, gain=np.ones(WIDTH)), model_type="never_seen", rope_theta=1e4)
    assert found["rank95_sum_folded"].is_null().all()


R, A, U = "pair-only", "yes", "unknown"
LAYERED = [
    ("smollm3", {"no_rope_layers": [1, 1, 1, 0]}, [R, R, R, A]),
    ("smollm3", {"no_rope_layers": [0, 1, 0, 1]}, [A, R, A, R]),
    ("smollm3", {"no_rope_layers": [3]}, [U, U, U, U]),
    ("smollm3", {"no_rope_layer_interval": 2}, [R, A, R, A]),
    ("smollm3", {}, [R, R, R, A]),
    ("llama4_text", {"no_rope_layers": []}, [R, R, R, A]),
    ("cohere2", {"layer_types": ["sliding_attention", "full_attention"] * 2}, [R, A, R, A]),
    ("cohere2", {"sliding_window_pattern": 4}, [R, R, R, A]),
    ("cohere2", {}, [U, U, U, U]),
    ("exaone4", {"sliding_window": 8, "sliding_window_pattern": "LLLG"}, [R, R, R, A]),
    ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 4}, [R, R, R, R]),
    ("gemma3_text", {"layer_types": ["sliding_attention", "full_attention"] * 2}, [R, R, R, R]),  # rotates everywhere, with two bases
    ("gemma3_text", {"layer_types": ["sliding_attention", "chunked_attention", "full_attention", "other"], "rope_parameters": NESTED}, [R, U, R, U]),
    ("gemma3_text", {"rope_parameters": NESTED}, [U, U, U, U]),
    ("qwen2", {"layer_types": ["sliding_attention", "full_attention"] * 2}, [R, R, R, R]),
    ("llama", {"nope_layer_interval": 4}, [U, U, U, U]),
    ("never_seen", {"rope_theta": 1e4}, [R, R, R, R]),
    ("never_seen", {"rope_theta": 1e4, "no_rope_layers": [1, 0, 1, 0]}, [R, A, R, A]),
    ("never_seen", {"rope_theta": 1e4, "layer_types": ["sliding_attention", "full_attention"] * 2}, [U, U, U, U]),
    ("never_seen", {"rope_theta": 1e4, "sliding_window_pattern": 4}, [U, U, U, U]),
    ("never_seen", {}, [U, U, U, U]),
    ("granite", {"position_embedding_type": "nope"}, [A, A, A, A]),
    ("bert", {"position_embedding_type": "relative_key"}, [U, U, U, U]),
    ("llama", {"use_rope": False}, [U, U, U, U]),
    ("jamba", {}, [A, A, A, A]),
    ("llama", {"clip_qkv": 8.0}, [U, U, U, U]),
]


@pytest.mark.parametrize("rope", [{"rope_type": "proportional"}, {"type": "axial", "factor": 2.0}])
def test_pairs_of_an_unknown_kind_of_rotation_are_not_guessed(rope, tmp_path):
    for place in ("rope_parameters", "rope_scaling"):
        found = rows(tmp_path / place, balanced(False, 16, layers=1), model_type="llama", **{place: rope}).filter(product="QK")
        assert found["applies"].unique().to_list() == ["pair-only"]
        assert found["pair_relD"].is_null().all()


@pytest.mark.parametrize(("name", "config", "wanted"), LAYERED)
def test_layers_may_differ_in_their_positions(name, config, wanted, tmp_path):
    found = rows(tmp_path, balanced(False, 16), model_type=name, **config).filter(product="QK", head=0).sort("layer")
    assert found["applies"].to_list() == wanted
    rotary = [applies == R and name != "never_seen" for applies in wanted]
    if "clip_qkv" not in config:
        assert found["pair_relD"].is_not_null().to_list() == rotary


NORMS = ["q_norm.weight", "k_norm.weight", "query_layernorm.weight", "q_layernorm.norms.0.weight", "norm_q.weight", "ln_k.weight", "qk_norm.query_norm.scale"]


@pytest.mark.parametrize("name", [*NORMS, "q_ln.weight", "query_norm.weight", "norm.key_norm.scale", "q_layer_norm.weight"])
def test_norms_of_queries_and_keys_are_found_under_other_names(name, tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1, extra=[name]), model_type="llama")
    assert found.filter(product="QK")["applies"].unique().to_list() == ["no"]
    assert found.filter(product="VO")["applies"].unique().to_list() == ["yes"]


@pytest.mark.parametrize(
    "config",
    [
        {"use_qk_norm": True},
        {"qk_layernorm": True},
        {"qk_norm": "rms"},
        {"enable_qk_norm": True},
        {"normalize_qk": True},
        {"attention_layer_norm": True},
        {"use_cosine_attention": True},
    ],
)
def test_the_config_alone_may_state_norms_of_queries_and_keys(config, tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1), model_type="llama", **config).filter(product="QK")
    assert found["applies"].unique().to_list() == ["no"]
    off = rows(tmp_path / "off", balanced(False, 16, layers=1), model_type="llama", **dict.fromkeys(config, False)).filter(product="QK")
    assert off["applies"].unique().to_list() == ["pair-only"]


@pytest.mark.parametrize("key", ["use_output_gate", "gated_attention", "use_attn_gate", "attention_gating"])
def test_the_config_alone_may_state_a_gate_behind_the_values(key, tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1), model_type="llama", **{key: True}).filter(product="VO")
    assert found["applies"].unique().to_list() == ["no"]
    off = rows(tmp_path / "off", balanced(False, 16, layers=1), model_type="llama", **{key: False}).filter(product="VO")
    assert off["applies"].unique().to_list() == ["yes"]


def test_the_part_of_the_config_on_attention_and_norms_of_values_count(tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1), model_type="mpt", attn_config={"qk_ln": True})
    assert found.filter(product="QK")["applies"].unique().to_list() == ["no"]
    found = rows(tmp_path / "value", balanced(False, 16, layers=1), model_type="llama", use_v_norm=True)
    assert found.filter(product="VO")["applies"].unique().to_list() == ["no"]


@pytest.mark.parametrize(("name", "key"), [("gptj", "rotary_dim"), ("gpt_neox", "rotary_pct"), ("llama", "partial_rotary_factor")])
def test_where_nothing_rotates_the_query_key_product_is_one_matrix(name, key, tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1), model_type=name, **{key: 0}).filter(product="QK")
    assert found["applies"].unique().to_list() == ["yes"]
    assert found["pair_relD"].is_null().all()


@pytest.mark.parametrize("key", ["layernorm_zero_centered_gamma", "apply_layernorm_1p", "rms_norm_add_unit_offset"])
def test_the_config_may_state_that_norms_multiply_by_one_plus_their_gain(key, tmp_path):
    stored = np.zeros(WIDTH)
    stored[:3] = 1e-3
    found = rows(tmp_path, balanced(False, 16, layers=1, gain=stored), model_type="llama", **{key: True})
    assert (found["rank95_sum_folded"] == found["rank95_sum"]).all()


def test_llama4_normalises_only_where_it_rotates(tmp_path):
    found = rows(tmp_path, balanced(True, 16), model_type="llama4_text", use_qk_norm=True).filter(product="QK", head=0).sort("layer")
    assert found["applies"].to_list() == ["no", "no", "no", "yes"]


BETWEEN = ["gate_proj.weight", "g_proj.weight", "attn_sub_norm.weight", "v_norm.weight", "inner_attn_ln.weight", "o_norm.weight", "sub_norm.weight"]


@pytest.mark.parametrize("name", BETWEEN)
def test_norms_and_gates_between_value_and_output_break_the_symmetry_of_vo(name, tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1, extra=[name]), model_type="llama")
    assert found.filter(product="VO")["applies"].unique().to_list() == ["no"]
    assert found.filter(product="QK")["applies"].unique().to_list() == ["pair-only"]


@pytest.mark.parametrize("name", ["strange.weight", "norm.weight", "lambda_q1", "q_conv1d.weight"])
def test_a_tensor_that_the_table_does_not_know_makes_both_unknown(name, tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1, extra=[name]), model_type="llama")
    assert found["applies"].unique().to_list() == ["unknown"]
    assert f"the meaning of {name} is unknown" in found["notes"][0]


@pytest.mark.parametrize("name", ["q_proj_lora_A", "lora_q.weight", "adapter.down.weight"])
def test_an_adapter_anywhere_in_the_block_skips_it(name, tmp_path):
    found = rows(tmp_path, balanced(False, 16, layers=1, extra=[name]), model_type="llama")
    assert found["reason"].to_list() == ["an adapter that is not merged: merge it into its model first"]


def test_an_adapter_around_its_weight_is_told_as_one(tmp_path):
    tensors = {name.replace("_proj.weight", "_proj.base_layer.weight"): value for name, value in balanced(False, 16, layers=1).items()}
    found = rows(tmp_path, tensors | {"model.layers.0.self_attn.q_proj.lora_A.default.weight": np.ones((4, WIDTH), np.float32)}, model_type="llama")
    assert found["reason"].to_list() == ["an adapter that is not merged: merge it into its model first"]


@pytest.mark.parametrize(
    "name", ["rotary_emb.inv_freq", "bias", "masked_bias", "relative_attention_bias.weight", "sinks", "output.LayerNorm.weight", "k_scale"]
)
def test_buffers_and_biases_mean_nothing(name):
    assert meaning_of(name) == "nothing"
