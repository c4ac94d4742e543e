"""I12 against the libraries themselves: randomly initialised models, saved as they save them, audited, and their heads compared with what the model computes.

The scores of a layer are recomputed from the unpacked heads and must be the model's own attention weights (without rotary positions), so that an order of heads
or a transpose that is wrong everywhere in the same way is found too.
"""

import numpy as np
import pytest

from mesocosm.audit import Options, audit
from mesocosm.audit.checkpoint import open_checkpoint
from mesocosm.audit.checkpoint_audit import load_block
from mesocosm.audit.layouts import find_blocks

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: adapters are tested against packed matrices alone")

TINY = {"hidden_size": 24, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 50, "intermediate_size": 32}
MODELS = {
    "Bert": TINY,
    "Roberta": {**TINY, "max_position_embeddings": 40, "pad_token_id": 1},
    "DistilBert": {"dim": 24, "n_heads": 4, "n_layers": 2, "vocab_size": 50, "hidden_dim": 32},
    "GPT2": {"n_embd": 24, "n_head": 4, "n_layer": 2, "vocab_size": 50, "n_positions": 40},
    "Llama": {**TINY, "num_key_value_heads": 2},
    "Mistral": {**TINY, "num_key_value_heads": 2},
    "Qwen2": {**TINY, "num_key_value_heads": 2},
    "Qwen3": {**TINY, "num_key_value_heads": 2, "head_dim": 8},
    "GPTNeoX": {**TINY, "rotary_pct": 0.5},
    "Bloom": {"hidden_size": 24, "n_head": 4, "n_layer": 2, "vocab_size": 50},
    "Falcon": {**TINY, "num_kv_heads": 2, "new_decoder_architecture": True},
    "Phi3": {**TINY, "num_key_value_heads": 2, "pad_token_id": 0},
    "ViT": {**TINY, "image_size": 8, "patch_size": 4},
    "Albert": {**TINY, "embedding_size": 12},
    "T5": {"d_model": 24, "num_heads": 4, "d_kv": 5, "num_layers": 2, "vocab_size": 50, "d_ff": 32},
    "OPT": {**TINY, "ffn_dim": 32, "word_embed_proj_dim": 24, "max_position_embeddings": 40},
}
BLOCKS = {"T5": 2 + 4, "Albert": 1}
ATTENTIONS = ("Bert", "Roberta", "DistilBert", "GPT2", "ViT", "Albert")


def saved(name, folder):
    torch.manual_seed(0)
    prefix = name
    config = getattr(transformers, f"{prefix}Config")(**MODELS[name])
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{prefix}Model")(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_every_block_of_a_random_model_is_audited(name, tmp_path):
    model = saved(name, tmp_path)
    found = audit(tmp_path)
    assert found.skipped.is_empty(), found.skipped["reason"].to_list()
    assert found.audited["block"].n_unique() == BLOCKS.get(name, 2)
    expected = {
        "Qwen3": "no",
        "Llama": "pair-only",
        "Mistral": "pair-only",
        "Qwen2": "pair-only",
        "GPTNeoX": "pair-only",
        "Falcon": "pair-only",
        "Phi3": "pair-only",
    }
    assert found.audited.filter(product="QK")["applies"].unique().to_list() == [expected.get(name, "yes")]
    assert sum(1 for _ in model.parameters()) > 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ATTENTIONS)
def test_the_unpacked_heads_give_the_models_own_attention(name, tmp_path):
    model = saved(name, tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    blocks = find_blocks({n: t.shape for n, t in checkpoint.tensors.items()}, checkpoint.config["model_type"])
    heads, _, _ = load_block(checkpoint, blocks[0], Options(biases=True))
    inputs = {"pixel_values": torch.randn(1, 3, 8, 8)} if name == "ViT" else {"input_ids": torch.tensor([[3, 7, 11, 19, 23]])}
    seen = []
    by_name = [module for path, module in model.named_modules() if path and blocks[0].name.endswith(path)]
    layer = [*by_name, *(module for module in model.modules() if type(module).__name__.endswith("Attention"))][0]
    hook = layer.register_forward_pre_hook(lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True)
    with torch.no_grad():
        attentions = model(**inputs, output_attentions=True).attentions
    hook.remove()
    x = seen[0][0].double().numpy()
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)  # biases read the constant
    query, key = (np.einsum("hrd,td->htr", part, x) for part in (heads.query, heads.key))
    scores = np.einsum("htr,hsr->hts", query, key) / heads.query.shape[1] ** 0.5
    if name == "GPT2":
        scores = np.where(np.tril(np.ones(scores.shape[1:])), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(weights / weights.sum(-1, keepdims=True), attentions[0][0].numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_timm_vision_transformer_is_audited(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    import json

    from safetensors.torch import save_file

    model = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224", "num_features": 192}))
    found = audit(tmp_path)
    assert found.skipped.is_empty()
    assert found.audited.height == 12 * 3 * 2
    x = torch.randn(1, 7, 192)
    block = model.blocks[2].attn.eval()
    checkpoint = open_checkpoint(str(tmp_path))
    wanted = next(b for b in find_blocks({n: t.shape for n, t in checkpoint.tensors.items()}, None) if b.name == "blocks.2.attn")
    heads, _, _ = load_block(checkpoint, wanted, Options(biases=True))
    tokens = np.concatenate([x[0].double().numpy(), np.ones((7, 1))], axis=1)
    query, key, value = (np.einsum("hrd,td->htr", part, tokens) for part in (heads.query, heads.key, heads.value))
    scores = np.einsum("htr,hsr->hts", query, key) / 8
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = np.einsum("hts,hsr,hor->to", weights / weights.sum(-1, keepdims=True), value, heads.output) + block.proj.bias.detach().numpy()
    with torch.no_grad():
        np.testing.assert_allclose(mixed, block(x)[0].numpy(), atol=1e-4)
