"""The attention settings in a config.json: widths, heads, positions. Every number in the config is compared with the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Positions = Literal["additive", "rotary", "unknown"]

HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
WIDTH = ("hidden_size", "n_embd", "d_model", "dim", "n_embed", "embed_dim", "num_features")
HEAD_DIM = ("head_dim", "d_kv")
FRACTION = ("partial_rotary_factor", "rotary_pct")

ADDITIVE = (
    "albert|bart|beit|bert|bloom|camembert|clip|clip_text_model|clip_vision_model|deit|dinov2|distilbert|electra|gpt2|mbart|mt5|opt|roberta|"
    "siglip_vision_model|t5|umt5|vit|vit_mae|whisper|xlm-roberta"
)
"""Model types whose positions are added to tokens or scores (learned, sinusoidal, relative, ALiBi): the query-key product is one matrix."""
ROTARY = (
    "codegen|cohere|cohere2|falcon|gemma|gemma2|gemma3|gemma3_text|glm|glm4|gpt_neox|gptj|granite|llama|mistral|mixtral|olmo|olmo2|persimmon|phi|phi3|"
    "qwen2|qwen2_moe|qwen3|qwen3_moe|qwen3_next|stablelm|starcoder2"
)
INTERLEAVED = "codegen|cohere|cohere2|glm|glm4|gptj"
"""Model types whose rotary pairs are neighbours (2i, 2i + 1); elsewhere they are (i, i + half)."""
VIT_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Numbers of heads of timm's plain vision transformers by width; their config.json does not give them."""


@dataclass(frozen=True)
class Settings:
    """The attention settings of one part of a model; None if neither the config nor the user gives a value.

    Attributes:
        model_type: the config's model type.
        width: width of the residual stream.
        heads, key_heads: numbers of query heads, and of key and value heads.
        head_dim: size of a head.
        positions: how positions enter the scores.
        rotated: fraction of a head's coordinates that rotate.
        interleaved: whether rotary pairs are neighbours.
        gain_offset: offset that is added to the norm's stored gain (1 in Gemma).
        gated: whether each query head's rows are followed by those of a gate.
    """

    model_type: str | None = None
    width: int | None = None
    heads: int | None = None
    key_heads: int | None = None
    head_dim: int | None = None
    positions: Positions = "unknown"
    rotated: float = 1.0
    interleaved: bool = False
    gain_offset: float = 0.0
    gated: bool = False


def settings_of(config: Mapping[str, Any], block: str, *, heads: int | None = None, key_heads: int | None = None) -> Settings:
    """The settings of an attention block; the user's numbers of heads take precedence over the config's."""
    part = _part(config, block)
    model_type = part.get("model_type") or config.get("model_type")
    found = Settings(
        model_type=model_type,
        width=_number(part, WIDTH),
        heads=heads or _heads(part, block),
        key_heads=_number(part, KEY_HEADS),
        head_dim=_number(part, HEAD_DIM),
        positions=_positions(part, model_type),
        rotated=float(_first({**(part.get("rope_parameters") or {}), **part}, FRACTION) or 1.0),
        interleaved=_is(model_type, INTERLEAVED),
        gain_offset=1.0 if str(model_type).startswith("gemma") else 0.0,
        gated=bool(part.get("attn_output_gate")) or str(model_type).startswith(("qwen3_next", "qwen3_5")),
    )
    if model_type == "falcon" and not part.get("new_decoder_architecture"):  # num_kv_heads applies only to the new architecture
        found = replace(found, key_heads=1 if part.get("multi_query", True) else found.heads)
    if heads and not key_heads and not _number(part, HEADS):
        found = replace(found, key_heads=None)
    return replace(found, key_heads=key_heads) if key_heads else found


def _is(model_type: Any, names: str) -> bool:
    return model_type in names.split("|")


def _part(config: Mapping[str, Any], block: str) -> Mapping[str, Any]:
    """The nested config for a block of a composite model."""
    for key, words in (("vision_config", "vision|visual|image"), ("audio_config", "audio"), ("encoder", "^encoder"), ("decoder", "^decoder")):
        if isinstance(config.get(key), dict) and re.search(words, block):
            return config[key]
    return config["text_config"] if isinstance(config.get("text_config"), dict) else config


def _first(part: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((part[name] for name in names if part.get(name) is not None), None)


def _number(part: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = _first(part, names)
    return found if isinstance(found, int) and found > 0 else None


def _heads(part: Mapping[str, Any], block: str) -> int | None:
    """The number of heads; encoders and decoders may differ, and timm's configs imply it by the architecture's name."""
    names = ("decoder_attention_heads" if "decoder" in block else "encoder_attention_heads", *HEADS)
    if found := _number(part, names) or _number(part.get("model_args") or {}, HEADS):
        return found
    if re.match(r"(vit|deit)3?_(tiny|small|base|large|huge)_", str(part.get("architecture"))):
        return VIT_HEADS.get(_number(part, WIDTH) or 0)
    return None


def _positions(part: Mapping[str, Any], model_type: str | None) -> Positions:
    if part.get("alibi") is True or _is(model_type, ADDITIVE) or re.match(r"(vit|deit)3?_\w+_patch", str(part.get("architecture"))):
        return "additive"
    if _is(model_type, ROTARY) or any(re.match("rope_|rotary_", key) and value is not None for key, value in part.items()):
        return "rotary"
    return "unknown"
