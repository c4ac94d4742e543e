"""The attention settings in a config.json: widths, heads, positions. Every number in the config is compared with the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mesocosm.audit.families import GATE, QUERY_NORM, VALUE_NORM, Family, Positions, family_of, layer_positions, rotary_pairs, rotated_share, states

HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
WIDTH = ("hidden_size", "n_embd", "d_model", "dim", "n_embed", "embed_dim", "num_features")
HEAD_DIM = ("head_dim", "d_kv")
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
        rotated: the coordinates of a head that rotate: a fraction, or as an integer their number.
        interleaved: whether rotary pairs are neighbours; None if unknown.
        gain_offset: offset that is added to the norm's stored gain (1 in Gemma); None if unknown.
        gated: whether each query head's rows are followed by those of a gate.
        output_gate: whether something multiplies what the heads give, there or elsewhere.
        query_norm, value_norm: whether queries and keys, or values, are normalised, as far as the config and the family say.
        clipped: whether queries, keys and values are clipped.
    """

    model_type: str | None = None
    width: int | None = None
    heads: int | None = None
    key_heads: int | None = None
    head_dim: int | None = None
    positions: Positions = "unknown"
    rotated: float | int = 1.0
    interleaved: bool | None = None
    gain_offset: float | None = None
    gated: bool = False
    output_gate: bool = False
    query_norm: bool = False
    value_norm: bool = False
    clipped: bool = False


def settings_of(config: Mapping[str, Any], block: str, *, heads: int | None = None, key_heads: int | None = None) -> Settings:
    """The settings of an attention block; the user's numbers of heads stand in where the config gives none."""
    part = _part(config, block)
    tower = part is config.get("vision_config") or part is config.get("audio_config")
    model_type = part.get("model_type") or (None if tower else config.get("model_type"))
    family = family_of(part, model_type)
    if tower and family.positions == "rotary":  # images may rotate in two directions
        family = Family(gain_offset=family.gain_offset)
    layer = layer_of(block)
    rotated, positions = rotated_share(part, family, layer), layer_positions(part, model_type, family, layer)
    if positions == "rotary" and not rotated:
        positions = "additive"
    gate = part.get("attn_output_gate")
    stated = _heads(part, block)
    found = Settings(
        model_type=model_type,
        width=_number(part, WIDTH),
        heads=stated or heads,
        key_heads=_number(part, KEY_HEADS),
        head_dim=_number(part, HEAD_DIM),
        positions=positions,
        rotated=rotated,
        interleaved=rotary_pairs(part, family, layer),
        gain_offset=family.gain_offset,
        gated=family.gated if gate is None else bool(gate),
        output_gate=(family.gated and gate is None) or states(part, GATE),
        query_norm=family.query_norm or (states(part, QUERY_NORM) and not (str(model_type).startswith("llama4") and positions == "additive")),
        value_norm=family.value_norm or states(part, VALUE_NORM),
        clipped=bool(part.get("clip_qkv") or (part.get("attn_config") or {}).get("clip_qkv")),
    )
    if model_type == "gpt_bigcode" or (model_type == "falcon" and not part.get("new_decoder_architecture")):  # num_kv_heads applies only to the new one
        found = replace(found, key_heads=1 if part.get("multi_query", True) else found.heads)
    return found if found.key_heads else replace(found, key_heads=key_heads)


def layer_of(block: str) -> int:
    """The layer's number in a block's name; 0 if there is none."""
    return next((int(part) for part in block.split(".") if part.isdigit()), 0)


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
