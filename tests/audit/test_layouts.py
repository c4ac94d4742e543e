"""I12: whatever a library packs, the audit unpacks; what it does not know it says."""

import json

import numpy as np
import pytest

from mesocosm.audit import AuditError, Options, audit
from mesocosm.audit.checkpoint import open_checkpoint
from mesocosm.audit.checkpoint_audit import load_block
from mesocosm.audit.heads import Heads
from mesocosm.audit.layouts import find_blocks, mapped_layout
from packed_models import FAMILIES, Family, columns, draw_heads, linear, pack, rows, write


def unpacked(folder, options=None):
    """Heads of every block, in order."""
    checkpoint = open_checkpoint(str(folder))
    options = options or Options()
    names = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    layouts = {"layouts": [mapped_layout(options.maps, inputs_first=options.inputs_first)]} if options.maps else {}
    blocks = find_blocks(names, checkpoint.config.get("model_type"), **layouts)
    return [load_block(checkpoint, block, options)[0] for block in blocks]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_unpacked_as_it_was_packed(name, tmp_path):
    family = FAMILIES[name]
    tensors, layers = pack(family)
    found = unpacked(write(tmp_path, tensors, family.config))
    assert len(found) == len(layers)
    for heads, wanted in zip(found, layers, strict=True):
        for mine, theirs in zip(heads, wanted, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_becomes_rows_with_the_products_of_its_heads(name, tmp_path):
    """Nuclear norms by the whole d x d product, groups of queries under each other."""
    family = FAMILIES[name]
    tensors, layers = pack(family)
    rows_found = audit(write(tmp_path, tensors, family.config)).rows
    assert rows_found["status"].unique().to_list() == ["audited"]
    assert rows_found.height == 2 * family.key_heads * len(layers)
    group = family.heads // family.key_heads
    for row in rows_found.iter_rows(named=True):
        heads, k = layers[row["layer"]], row["head"]
        mine = range(group * k, group * (k + 1))
        if row["product"] == "QK":
            product = np.concatenate([heads.key[k].T.astype(float) @ heads.query[h] for h in mine], axis=1)
            norms = [np.sum(heads.key[k] ** 2), sum(np.sum(heads.query[h] ** 2) for h in mine)]
        else:
            product = np.concatenate([heads.output[h].astype(float) @ heads.value[k] for h in mine], axis=0)
            norms = [sum(np.sum(heads.output[h] ** 2) for h in mine), np.sum(heads.value[k] ** 2)]
        assert row["nuc"] == pytest.approx(np.linalg.svd(product, compute_uv=False).sum(), rel=1e-5)
        assert row["fro"] == pytest.approx(sum(norms) / 2, rel=1e-5)
        assert (row["normA2"], row["normB2"]) == pytest.approx(norms, rel=1e-5)
        assert (row["group"], row["d_h"], row["d_model"]) == (group, family.size, family.width)
        assert row["ratio"] <= 1 + 1e-6


APPLIES = {
    "internlm2": "pair-only",
    "modernbert": "pair-only",
    "llama": "pair-only",
    "mistral-gqa": "pair-only",
    "qwen3-norm": "no",
    "qwen3-next-gated": "pair-only",
    "gpt-neox": "pair-only",
    "falcon-grouped": "pair-only",
    "falcon-multi-query": "pair-only",
    "phi3": "pair-only",
    "torch": "unknown",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_rotary_positions_and_query_norms_are_marked(name, tmp_path):
    family = FAMILIES[name]
    found = audit(write(tmp_path, pack(family)[0], family.config)).rows
    query, value = (found.filter(product=product) for product in ("QK", "VO"))
    assert query["applies"].unique().to_list() == [APPLIES.get(name, "yes")]
    assert value["applies"].unique().to_list() == ["no" if "gated" in name else "yes"]
    assert query["pair_relD"].is_null().all() == (name not in APPLIES or name == "torch")
    assert value["pair_relD"].is_null().all()
    assert all(bool(note) == (applies != "yes") for note, applies in found.select("notes", "applies").iter_rows())


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.gain])
def test_the_gain_before_attention_is_folded_in(name, tmp_path):
    from mesocosm.analysis.spectra.factor_spectra import product_spectrum, rank_by_sum

    family = FAMILIES[name]
    tensors, layers = pack(family)
    found = audit(write(tmp_path, tensors, family.config)).rows
    gain, group = np.linspace(0.5, 2, family.width), family.heads // family.key_heads
    for row in found.iter_rows(named=True):
        heads, k = layers[row["layer"]], row["head"]
        queries, outputs = (part[group * k : group * (k + 1)] for part in (heads.query, heads.output))
        if row["product"] == "QK":
            factors = (heads.key[k] * gain).T, np.concatenate([(query * gain).T for query in queries])
        else:
            factors = np.concatenate(list(outputs)), (heads.value[k] * gain).T
        assert row["rank95_sum_folded"] == rank_by_sum(product_spectrum(*factors))


def test_pair_traces_are_those_of_rotary_pairs(tmp_path):
    """Halves for LLaMA, neighbours for GPT-J's way, the first part only where the rotation is partial."""
    family = Family(linear("q_proj k_proj v_proj o_proj"), {}, "model.layers.{}.self_attn", heads=2, key_heads=1, size=8, width=16)
    tensors, layers = pack(family)
    key, query = np.sum(layers[0].key[0] ** 2, -1), np.sum(layers[0].query ** 2, (0, -1))
    wanted = {
        ("llama", 1.0): [(0, 4), (1, 5), (2, 6), (3, 7)],
        ("cohere", 1.0): [(0, 1), (2, 3), (4, 5), (6, 7)],
        ("stablelm", 0.5): [(0, 2), (1, 3)],
    }
    for number, ((model_type, fraction), pairs) in enumerate(wanted.items()):
        config = {"model_type": model_type, "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "partial_rotary_factor": fraction}
        found = audit(write(tmp_path / str(number), tensors, config)).rows.filter(product="QK", layer=0)
        t_key, t_query = (np.array([rows_[list(pair)].sum() for pair in pairs]) for rows_ in (key, query))
        value = np.linalg.norm(t_key - t_query) / (np.linalg.norm(t_key) + np.linalg.norm(t_query))
        assert found["pair_relD"].item() == pytest.approx(value, rel=1e-5)


def test_cross_attention_and_decoders_are_blocks_of_their_own(tmp_path):
    family = FAMILIES["t5"]
    tensors, _ = pack(family)
    cross = draw_heads(np.random.default_rng(5), family)
    tensors |= family.pack("decoder.block.0.layer.1.EncDecAttention", cross)
    tensors["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = np.ones((32, 4), np.float32)
    found = audit(write(tmp_path, tensors, family.config)).rows
    assert found["block"].unique(maintain_order=True).to_list() == [
        "decoder.block.0.layer.1.EncDecAttention",
        "encoder.block.0.layer.0.SelfAttention",
        "encoder.block.1.layer.0.SelfAttention",
    ]
    assert found["part"].unique(maintain_order=True).to_list() == ["decoder.block.*.layer.1.EncDecAttention", "encoder.block.*.layer.0.SelfAttention"]


def test_biases_are_one_more_column_where_they_are_asked_for(tmp_path):
    family = FAMILIES["bert"]
    tensors, layers = pack(family)
    bias = {role: np.random.default_rng(number).standard_normal(12).astype(np.float32) for number, role in enumerate(("query", "key"))}
    tensors |= {f"bert.encoder.layer.0.attention.self.{role}.bias": values for role, values in bias.items()}
    folder = write(tmp_path, tensors, family.config)
    row = audit(folder, Options(biases=True)).rows.filter(layer=0, head=1, product="QK").row(0, named=True)
    wide = [np.concatenate([getattr(layers[0], role)[1], bias[role].reshape(4, 3)[1][:, None]], axis=1) for role in ("key", "query")]
    assert row["nuc"] == pytest.approx(np.linalg.svd(wide[0].T @ wide[1], compute_uv=False).sum(), rel=1e-5)
    assert audit(folder).rows.filter(layer=0, head=1, product="QK")["nuc"].item() != pytest.approx(row["nuc"], rel=1e-3)


# --- what is skipped, and what is refused ---------------------------------------------------------------------------


def reasons(folder, options=None):
    found = audit(folder, options)
    assert found.audited.is_empty()
    return found.skipped["reason"].to_list()


WRONG = {
    "llama": ({"num_attention_heads": 6, "head_dim": 3}, "query has shape [12, 12], the config requires 18 rows (6 heads, 6 of keys)"),
    "mistral-gqa": ({"num_key_value_heads": 4}, "key has shape [6, 12], the config requires 12 rows (4 heads, 4 of keys)"),
    "bert": ({"hidden_size": 16}, "query has 12 inputs, the config's width is 16"),
    "gpt2": ({"n_head": 5}, "the 36 rows of packed query, key and value cannot be divided among 15"),
    "phi3": ({"num_key_value_heads": 4, "head_dim": 3}, "packed query, key and value has shape [24, 12], the config requires 36 rows (4 heads, 4 of keys)"),
    "falcon-grouped": ({"num_attention_heads": 5}, "5 query heads cannot share 2 key heads"),
    "t5": ({"d_kv": 4}, "query has shape [20, 12], the config requires 16 rows (4 heads, 4 of keys)"),
    "bloom": ({"n_head": 5}, "the 36 rows of packed query, key and value cannot be divided among 15"),
    "qwen3-next-gated": ({"head_dim": 4}, "query with gate has shape [40, 12], the config requires 32 rows (4 heads, 2 of keys)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_shape_that_is_not_the_configs_is_a_reason_and_no_crash(name, tmp_path):
    family = FAMILIES[name]
    change, reason = WRONG[name]
    assert set(reasons(write(tmp_path, pack(family)[0], {**family.config, **change}))) == {reason}


def test_an_unexpected_gate_is_not_taken_for_queries(tmp_path):
    """A q_proj with twice the rows that the config says was once read as heads, elsewhere, without a word."""
    family = FAMILIES["qwen3-next-gated"]
    config = {**family.config, "model_type": "qwen2"}
    assert set(reasons(write(tmp_path, pack(family)[0], config))) == {"query has shape [40, 12], the config requires 20 rows (4 heads, 2 of keys)"}


def test_query_key_value_is_never_guessed(tmp_path):
    told = reasons(write(tmp_path, pack(FAMILIES["bloom"])[0], {"n_head": 4, "hidden_size": 12}))
    assert len(told) == 2
    assert "packed differently by GPT-NeoX, BLOOM and Falcon" in told[0]


def test_heads_of_the_user_leave_a_tower_as_its_config_says(tmp_path):
    """The text's config lacks the number; the vision tower's states another."""

    def part(name, heads, seed):
        return pack(Family(linear("q_proj k_proj v_proj out_proj"), {}, name, heads=heads, key_heads=heads, size=12 // heads), seed)[0]

    tensors = part("text_model.layers.{}.self_attn", 4, 0) | part("vision_model.layers.{}.self_attn", 2, 1)
    config = {"model_type": "clip", "text_config": {"hidden_size": 12}, "vision_config": {"hidden_size": 12, "num_attention_heads": 2}}
    found = audit(write(tmp_path, tensors, config), Options(heads=4)).audited
    assert {(block.partition(".")[0], size) for block, size in found.select("block", "d_h").iter_rows()} == {("text_model", 3), ("vision_model", 6)}
    complete = write(tmp_path, tensors, config | {"text_config": {"num_attention_heads": 4}})
    with pytest.raises(AuditError, match=r"--heads 3: config\.json states 2 and 4"):
        audit(complete, Options(heads=3))


def test_without_a_config_the_user_says_how_many_heads(tmp_path):
    folder = write(tmp_path, pack(FAMILIES["mistral-gqa"])[0])
    assert "use --heads N" in reasons(folder)[0]
    assert audit(folder, Options(heads=4, key_heads=2)).audited.height == 8
    (tmp_path / "elsewhere.json").write_text(json.dumps(FAMILIES["mistral-gqa"].config))
    assert audit(folder, Options(config=tmp_path / "elsewhere.json")).audited.height == 8


def test_blocks_of_other_kinds_are_rows_with_their_reason(tmp_path):
    family = FAMILIES["llama"]
    tensors, _ = pack(family)
    ones = np.ones((4, 4), np.float32)
    tensors |= {
        "model.layers.2.self_attn.q_proj.weight": ones,
        "model.layers.2.self_attn.kv_a_proj_with_mqa.weight": ones,
        "model.layers.3.linear_attn.in_proj_qkvz.weight": ones,
        "model.layers.4.self_attn.strange.weight": ones,
        "model.layers.5.self_attn.q_proj.weight": ones,
        "model.layers.5.self_attn.k_proj.weight": ones,
        "model.layers.6.self_attn.q_proj.lora_A.weight": ones,
        "model.layers.10.self_attn.q_proj.weight": np.full((12, 12), np.nan, np.float32),
        **{f"model.layers.10.self_attn.{role}_proj.weight": np.ones((12, 12), np.float32) for role in "kvo"},
    }
    found = audit(write(tmp_path, tensors, family.config))
    assert found.audited["layer"].unique().to_list() == [0, 1]
    told = dict(found.skipped.select("layer", "reason").iter_rows())
    assert list(told) == [2, 3, 4, 5, 6, 10]
    assert told[2].startswith("multi-head latent attention")
    assert told[3].startswith("linear attention")
    assert told[4] == "no layout has strange.weight; name the tensors with --map"
    assert told[5] == "missing: value (v_proj.weight), output (o_proj.weight or out_proj.weight or dense.weight)"
    assert told[6].startswith("an adapter")
    assert told[10] == "model.layers.10.self_attn.q_proj.weight has 144 entries that are not finite"


def test_a_state_space_model_is_named(tmp_path):
    folder = write(tmp_path, {f"backbone.layers.{n}.mixer.{name}": np.ones((2, 2), np.float32) for n in range(2) for name in ("A_log", "in_proj.weight")})
    with pytest.raises(AuditError, match="a state-space model, no attention to audit"):
        audit(folder)


def test_a_packing_that_the_config_does_not_name_is_not_offered_to_map(tmp_path):
    tensors = {f"model.layers.0.attention.{name}.weight": np.ones((12, 12), np.float32) for name in ("wqkv", "wo")}
    assert reasons(write(tmp_path, tensors, {"model_type": "never_seen"}))[0].startswith("Wqkv is packed differently")


def test_nothing_that_looks_like_attention_is_an_error_with_the_names(tmp_path):
    folder = write(tmp_path, {f"tower.{n}.weight": np.ones((2, 2), np.float32) for n in range(20)})
    with pytest.raises(
        AuditError, match=r"no tensor has a name that looks like attention; name the query, .* --map\. Its 20 tensors: tower\.0\.weight, .* and 8 more"
    ):
        audit(folder)


# --- a map of one's own ---------------------------------------------------------------------------------------------


def test_a_map_says_which_tensors_are_which(tmp_path):
    family = Family(linear("wq wk wv wo"), {"n_heads": 4, "dim": 12}, "layers.{}.mixing")
    tensors, layers = pack(family)
    maps = tuple(
        f"{role}=layers.{{layer}}.mixing.{name}.weight" for role, name in zip(("query", "key", "value", "output"), ("wq", "wk", "wv", "wo"), strict=True)
    )
    folder = write(tmp_path / "rows", tensors, family.config)
    assert {reason.partition(";")[0] for reason in reasons(folder)} == {"no layout has wk.weight, wo.weight, wq.weight, wv.weight"}
    for heads, wanted in zip(unpacked(folder, Options(maps=maps)), layers, strict=True):
        for mine, theirs in zip(heads, wanted, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    turned = write(tmp_path / "columns", {name: value.T for name, value in tensors.items()}, family.config)
    assert audit(turned, Options(maps=maps, inputs_first=True)).rows.drop("model").equals(audit(folder, Options(maps=maps)).rows.drop("model"))


def test_a_map_takes_packed_tensors_and_such_with_an_axis_of_heads(tmp_path):
    heads = draw_heads(np.random.default_rng(1), FAMILIES["bert"])
    packed = {"net.3.all.w": np.concatenate([rows(part) for part in heads[:3]]), "net.3.out.w": columns(heads.output)}
    folder = write(tmp_path / "packed", packed)
    found = unpacked(folder, Options(heads=4, maps=("qkv=net.{layer}.all.w", "output=net.{layer}.out.w")))[0]
    for mine, theirs in zip(found, heads, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    by_head = {f"layers.0.{name}": value for name, value in heads._asdict().items()}
    maps = tuple(f"{role}=layers.{{layer}}.{role}" for role in ("query", "key", "value", "output"))
    found = unpacked(write(tmp_path / "heads", by_head), Options(maps=maps))[0]
    assert isinstance(found, Heads)
    np.testing.assert_array_equal(found.output, heads.output)
    by_head["layers.0.output"] = heads.output[:, :, :2]
    assert "expected (heads, r, inputs) and (heads, outputs, v)" in reasons(write(tmp_path / "odd", by_head), Options(maps=maps))[0]


@pytest.mark.parametrize(
    ("maps", "told"),
    [
        (("query=a.b", "key=a.c"), "it needs query, key, value and output"),
        (("asker=a.b",), "write role=name once for each role"),
        (("qkv=a.b", "qkv=a.c"), "write role=name once"),
        (("qkv=a.b", "output=c.d"), "must have a common prefix before"),
        (("qkv=a.b", "output=a.c"), "no tensor matches the names of --map. Its 6 tensors: bert"),
    ],
)
def test_a_map_that_says_nothing_is_refused(maps, told, tmp_path):
    tensors = {name: value for name, value in pack(FAMILIES["bert"])[0].items() if "layer.0" in name or "layer.1.attention.self" in name}
    folder = write(tmp_path, dict(list(tensors.items())[:6]), FAMILIES["bert"].config)
    with pytest.raises(AuditError, match=told.replace("(", r"\(")):
        audit(folder, Options(maps=maps))
