"""Checkpoints made of known matrices of heads, packed as each library packs them; written for reading beside the libraries' own code."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from mesocosm.audit.heads import Heads

LAYERS = 2


@dataclass
class Family:
    """A way to pack.

    Attributes:
        pack: (prefix of the layer, heads, random) -> tensors.
        config: what config.json says.
        prefix: of the attention block, with the layer's number.
        heads, key_heads, size, width: of the model.
    """

    pack: Callable[[str, Heads], dict[str, np.ndarray]]
    config: dict[str, Any]
    prefix: str
    heads: int = 4
    key_heads: int = 4
    size: int = 3
    width: int = 12
    shared: bool = False
    gain: str | None = None
    extra: dict[str, tuple[int, ...]] = field(default_factory=dict)


def draw_heads(random: np.random.Generator, family: Family) -> Heads:
    """Known matrices."""
    q, k, r, d = family.heads, family.key_heads, family.size, family.width
    shapes = ((q, r, d), (k, r, d), (k, r, d), (q, d, r))
    return Heads(*(random.standard_normal(shape).astype(np.float32) for shape in shapes))


def rows(heads):
    """All heads' rows under each other: an nn.Linear's weight."""
    return np.concatenate(list(heads), axis=0)


def columns(heads):
    """All heads' columns beside each other: the output projection's weight."""
    return np.concatenate(list(heads), axis=1)


def linear(names: str) -> Callable[[str, Heads], dict[str, np.ndarray]]:
    """Four nn.Linear layers."""
    query, key, value, output = names.split()

    def pack(prefix, heads):
        return {
            f"{prefix}.{query}.weight": rows(heads.query),
            f"{prefix}.{key}.weight": rows(heads.key),
            f"{prefix}.{value}.weight": rows(heads.value),
            f"{prefix}.{output}.weight": columns(heads.output),
        }

    return pack


def gpt2(prefix, heads):
    """Conv1D: weights are (inputs, outputs), q | k | v side by side along the outputs."""
    packed = np.concatenate([rows(heads.query).T, rows(heads.key).T, rows(heads.value).T], axis=1)
    return {f"{prefix}.c_attn.weight": packed, f"{prefix}.c_proj.weight": columns(heads.output).T}


def thirds(names: str) -> Callable[[str, Heads], dict[str, np.ndarray]]:
    """All queries, then all keys, then all values."""
    packed, output = names.split()

    def pack(prefix, heads):
        stacked = np.concatenate([rows(heads.query), rows(heads.key), rows(heads.value)])
        return {f"{prefix}.{packed}": stacked, f"{prefix}.{output}.weight": columns(heads.output)}

    return pack


def head_by_head(prefix, heads):
    """GPT-NeoX and BLOOM: q, k, v of the first head, then of the second."""
    packed = rows([part[h] for h in range(len(heads.query)) for part in (heads.query, heads.key, heads.value)])
    return {f"{prefix}.query_key_value.weight": packed, f"{prefix}.dense.weight": columns(heads.output)}


def key_by_key(prefix, heads):
    """Falcon: the queries of the first key, that key, its value, then the next."""
    group = len(heads.query) // len(heads.key)
    parts = []
    for k in range(len(heads.key)):
        parts += [*heads.query[group * k : group * (k + 1)], heads.key[k], heads.value[k]]
    return {f"{prefix}.query_key_value.weight": rows(parts), f"{prefix}.dense.weight": columns(heads.output)}


def bigcode(prefix, heads):
    """As Falcon, under GPT-2's names."""
    packed, output = key_by_key(prefix, heads).values()
    return {f"{prefix}.c_attn.weight": packed, f"{prefix}.c_proj.weight": output}


def internlm2(prefix, heads):
    """As Falcon, under other names."""
    packed, output = key_by_key(prefix, heads).values()
    return {f"{prefix}.wqkv.weight": packed, f"{prefix}.wo.weight": output}


def gated(prefix, heads):
    """Qwen3-Next: behind the rows of each query head stand those of its gate."""
    gates = np.random.default_rng(9).standard_normal(heads.query.shape).astype(np.float32)
    tensors = linear("q_proj k_proj v_proj o_proj")(prefix, heads)
    packed = rows([part[h] for h in range(len(heads.query)) for part in (heads.query, gates)])
    return tensors | {f"{prefix}.q_proj.weight": packed}


LLAMA = {"hidden_size": 12, "num_attention_heads": 4, "rope_theta": 1e4}
BERT = {"hidden_size": 12, "num_attention_heads": 4}
FAMILIES = {
    "bert": Family(linear("self.query self.key self.value output.dense"), {"model_type": "bert", **BERT}, "bert.encoder.layer.{}.attention"),
    "roberta": Family(linear("self.query self.key self.value output.dense"), {"model_type": "roberta", **BERT}, "roberta.encoder.layer.{}.attention"),
    "distilbert": Family(
        linear("q_lin k_lin v_lin out_lin"), {"model_type": "distilbert", "dim": 12, "n_heads": 4}, "distilbert.transformer.layer.{}.attention"
    ),
    "gpt2": Family(gpt2, {"model_type": "gpt2", "n_embd": 12, "n_head": 4}, "transformer.h.{}.attn", gain="ln_1.weight"),
    "bigcode": Family(bigcode, {"model_type": "gpt_bigcode", "n_embd": 12, "n_head": 4, "multi_query": False}, "transformer.h.{}.attn", gain="ln_1.weight"),
    "bigcode-multi-query": Family(bigcode, {"model_type": "gpt_bigcode", "n_embd": 12, "n_head": 4}, "transformer.h.{}.attn", key_heads=1),
    "internlm2": Family(internlm2, {"model_type": "internlm2", "num_key_value_heads": 2, **LLAMA}, "model.layers.{}.attention", key_heads=2),
    "openai-whisper": Family(linear("query key value out"), {"model_type": "whisper", "d_model": 12, "num_heads": 4}, "encoder.blocks.{}.attn"),
    "nanogpt": Family(thirds("c_attn.weight c_proj"), {"model_type": "gpt2", "n_embd": 12, "n_head": 4}, "_orig_mod.transformer.h.{}.attn"),
    "mpt": Family(thirds("Wqkv.weight out_proj"), {"model_type": "mpt", "d_model": 12, "n_heads": 4}, "transformer.blocks.{}.attn", gain="norm_1.weight"),
    "modernbert": Family(thirds("Wqkv.weight Wo"), {"model_type": "modernbert", **BERT}, "layers.{}.attn", gain="attn_norm.weight"),
    "llama": Family(linear("q_proj k_proj v_proj o_proj"), {"model_type": "llama", **LLAMA}, "model.layers.{}.self_attn", gain="input_layernorm.weight"),
    "mistral-gqa": Family(
        linear("q_proj k_proj v_proj o_proj"), {"model_type": "mistral", "num_key_value_heads": 2, **LLAMA}, "model.layers.{}.self_attn", key_heads=2
    ),
    "qwen3-norm": Family(
        linear("q_proj k_proj v_proj o_proj"),
        {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 5, **LLAMA},
        "model.layers.{}.self_attn",
        key_heads=2,
        size=5,
        extra={"q_norm.weight": (5,), "k_norm.weight": (5,)},
    ),
    "qwen3-next-gated": Family(
        gated, {"model_type": "qwen3_next", "num_key_value_heads": 2, "head_dim": 5, **LLAMA}, "model.layers.{}.self_attn", key_heads=2, size=5
    ),
    "gpt-neox": Family(
        head_by_head, {"model_type": "gpt_neox", "hidden_size": 12, "num_attention_heads": 4, "rotary_pct": 0.7}, "gpt_neox.layers.{}.attention"
    ),
    "bloom": Family(head_by_head, {"model_type": "bloom", "hidden_size": 12, "n_head": 4}, "transformer.h.{}.self_attention"),
    "falcon-grouped": Family(
        key_by_key,
        {"model_type": "falcon", "hidden_size": 12, "num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True},
        "transformer.h.{}.self_attention",
        key_heads=2,
        gain="ln_attn.weight",
    ),
    "falcon-multi-query": Family(
        key_by_key,
        {"model_type": "falcon", "hidden_size": 12, "num_attention_heads": 4, "num_kv_heads": 4, "multi_query": True},
        "transformer.h.{}.self_attention",
        key_heads=1,
    ),
    "falcon-alibi": Family(
        key_by_key,
        {"model_type": "falcon", "hidden_size": 12, "num_attention_heads": 4, "multi_query": False, "alibi": True},
        "transformer.h.{}.self_attention",
    ),
    "phi3": Family(thirds("qkv_proj.weight o_proj"), {"model_type": "phi3", "num_key_value_heads": 2, **LLAMA}, "model.layers.{}.self_attn", key_heads=2),
    "vit-hf": Family(
        linear("attention.query attention.key attention.value output.dense"),
        {"model_type": "vit", **BERT},
        "vit.encoder.layer.{}.attention",
        gain="layernorm_before.weight",
    ),
    "vit-timm": Family(
        thirds("qkv.weight proj"), {"architecture": "vit_tiny_patch16_224", "num_features": 192}, "blocks.{}.attn", heads=3, key_heads=3, size=64, width=192
    ),
    "albert": Family(
        linear("query key value dense"), {"model_type": "albert", **BERT}, "albert.encoder.albert_layer_groups.0.albert_layers.0.attention", shared=True
    ),
    "t5": Family(linear("q k v o"), {"model_type": "t5", "d_model": 12, "num_heads": 4, "d_kv": 5}, "encoder.block.{}.layer.0.SelfAttention", size=5),
    "torch": Family(thirds("in_proj_weight out_proj"), {"num_heads": 4, "d_model": 12}, "transformer.layers.{}.self_attn"),
}


def pack(family: Family, seed: int = 0) -> tuple[dict[str, np.ndarray], list[Heads]]:
    """A checkpoint's tensors, with an embedding and an MLP among them, and the heads of each layer."""
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {"embedding.weight": np.ones((7, family.width), np.float32), "mlp.0.weight": np.ones((8, family.width), np.float32)}
    layers = []
    for layer in range(1 if family.shared else LAYERS):
        prefix = family.prefix.format(layer)
        layers.append(draw_heads(random, family))
        tensors |= family.pack(prefix, layers[-1])
        tensors |= {f"{prefix}.{name}": np.ones(shape, np.float32) for name, shape in family.extra.items()}
        if family.gain:
            tensors[f"{prefix.rpartition('.')[0]}.{family.gain}"] = np.linspace(0.5, 2, family.width, dtype=np.float32)
    return tensors, layers


def write(folder: Path, tensors: dict[str, np.ndarray], config: dict[str, Any] | None = None, name: str = "model.safetensors") -> Path:
    """A checkpoint's directory."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, folder / name)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder
