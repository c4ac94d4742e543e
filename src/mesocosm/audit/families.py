"""What each family of models does with positions, norms and gates: one table, read with the config. What it does not know stays unknown.

The sources are the modelling files of the transformers library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Positions = Literal["additive", "rotary", "unknown"]


@dataclass(frozen=True)
class Family:
    """What a model type says.

    Attributes:
        positions: how positions enter the scores.
        interleaved: whether rotary pairs are neighbours (2i, 2i + 1), or (i, i + half); None if unknown.
        rotated: what rotates if the config does not say so: a fraction of a head, or a number of coordinates.
        gain_offset: what the norms add to their stored gain; None if unknown.
        unrotated: the layers without rotation if the config does not list them: every nth, or those with full attention.
        gated: whether query heads are followed by gates if the config does not say so.
        query_norm: whether queries and keys are normalised without stored gains.
        value_norm: whether values are normalised without stored gains.
    """

    positions: Positions = "unknown"
    interleaved: bool | None = None
    rotated: float | int = 1.0
    gain_offset: float | None = None
    unrotated: int | Literal["full"] | None = None
    gated: bool = False
    query_norm: bool = False
    value_norm: bool = False


ADDITIVE = Family("additive", gain_offset=0.0)
HALVES = Family("rotary", interleaved=False, gain_offset=0.0)
NEIGHBOURS = Family("rotary", interleaved=True, gain_offset=0.0)
ONE_PLUS = replace(HALVES, gain_offset=1.0)
QWEN_NEXT = replace(ONE_PLUS, rotated=0.25, gated=True)

KNOWN: Sequence[tuple[str, Family]] = (
    # Learned, sinusoidal or relative positions, ALiBi, or none: the query-key product is one matrix.
    (
        "albert|bart|beit|bert|bloom|camembert|clip|clip_text_model|clip_vision_model|deit|dinov2|distilbert|electra|gpt2|gpt_bigcode|gpt_neo|jamba|marian|mbart|mpt|"
        "mt5|opt|pegasus|roberta|siglip_text_model|siglip_vision_model|t5|umt5|vit|vit_mae|whisper|xlm-roberta",
        ADDITIVE,
    ),
    (
        "arcee|apertus|bitnet|falcon|gpt_oss|granite|granitemoe|hunyuan_v1_dense|hunyuan_v1_moe|internlm2|internlm3|llama|ministral|mistral|mixtral|modernbert|"
        "olmo|olmo2|olmo3|olmoe|phi3|qwen2|qwen2_moe|qwen3|qwen3_moe|seed_oss|starcoder2",
        HALVES,
    ),
    ("persimmon|phi|glm4_moe", replace(HALVES, rotated=0.5)),
    ("gpt_neox|stablelm", replace(HALVES, rotated=0.25)),
    ("gpt_neox_japanese", HALVES),
    ("minimax|minimax_m2", replace(HALVES, rotated=64)),
    ("smollm3", replace(HALVES, unrotated=4)),
    ("exaone4|afmoe", replace(HALVES, unrotated="full")),
    ("cohere|helium|ernie4_5", NEIGHBOURS),
    ("cohere2", replace(NEIGHBOURS, unrotated="full")),
    ("glm|glm4", replace(NEIGHBOURS, rotated=0.5)),
    ("gptj|codegen", replace(NEIGHBOURS, rotated=64)),
    ("llama4", replace(NEIGHBOURS, unrotated=4)),
    ("gemma|gemma2|gemma3|vaultgemma|t5gemma", ONE_PLUS),
    ("gemma3n", replace(HALVES, value_norm=True)),
    ("gemma4", replace(HALVES, value_norm=True, interleaved=None)),
    ("nemotron", replace(ONE_PLUS, rotated=0.5)),
    ("qwen3_next|qwen3_5|qwen3_5_moe", QWEN_NEXT),
    ("nanochat", replace(HALVES, query_norm=True)),
)
FAMILIES: Mapping[str, Family] = {name: family for names, family in KNOWN for name in names.split("|")}

FRACTION = ("partial_rotary_factor", "rotary_pct", "rotary_percentage", "rotary_emb_fraction")
COORDINATES = ("rotary_dim", "rotary_ndims", "rope_dim")
NORM = r"(_(l2|rms))*_?((layer_?)?norms?(alization)?|ln|gn)"
QUERY_NORM = rf"(\w+_)?(qk|query_key){NORM}|normalize_qk|layer_norm_qk|attention_layer_norm|(\w+_)?cosine_att(n|ention)"
GATE = r"\w*(attn|attention|output)_gat(e|ed|es|ing)|(use_)?gated_att(n|ention)"
VALUE_NORM = rf"(\w+_)?(v|value){NORM}"
ZERO_CENTRED = r".*(zero_cent(ered|red)|unit_offset).*|.*_1p"
"""Keys of norms that multiply by 1 plus their gain."""
ROTARY_KEY = r"(rope|rotary)_.*"
SAME_PAIRS = (None, "default", "linear", "dynamic", "yarn", "longrope", "su", "llama3", "mrope")
"""Kinds of rotary positions that differ in their angles, not in which coordinates rotate together."""
PATTERN_KEY = r".*(nope|no_rope|rope_layer|rope_interval|rope_pattern).*"
"""Keys of layers that differ in their positions."""
MIXED_KEY = r"layer_types|.*sliding_window_pattern|.*_every_n_layers|attention_types|block_types|layers_block_type"
"""Keys of layers that differ; in an unknown family, their positions may differ too."""


def family_of(part: Mapping[str, Any], model_type: Any) -> Family:
    """The table's line for a config; without one, what the config itself says."""
    name = str(model_type)
    found = FAMILIES.get(name) or FAMILIES.get(name.removesuffix("_text"))
    if found is None and re.match(r"(vit|deit)3?_\w+_patch", str(part.get("architecture"))):
        found = ADDITIVE
    rotary = any(re.fullmatch(ROTARY_KEY, key) and value not in (None, False) for key, value in part.items())
    found = found or Family("rotary" if rotary else "unknown")
    if states(part, ZERO_CENTRED):
        found = replace(found, gain_offset=1.0)
    return replace(found, positions=_stated(part, found.positions))


def _stated(part: Mapping[str, Any], positions: Positions) -> Positions:
    """Positions that the config states, which come before the family's."""
    kind = part.get("position_embedding_type")
    if part.get("alibi") is True or kind in ("alibi", "nope"):
        return "additive"
    if kind in ("rotary", "rope"):
        return "rotary"
    if isinstance(kind, str) and kind not in ("absolute", "learned", "sinusoidal"):  # relative_key: the scores hold further products of the query
        return "unknown"
    rotary = next((part[key] for key in ("use_rope", "use_rotary", "rotary", "use_rotary_embeddings") if isinstance(part.get(key), bool)), None)
    if rotary is not None:
        return "rotary" if rotary else ("unknown" if positions == "rotary" else positions)
    return positions


def layer_positions(part: Mapping[str, Any], model_type: Any, family: Family, layer: int) -> Positions:
    """Positions of one layer: in some rotary families, a few layers do not rotate, and their query-key product is one matrix."""
    if family.positions != "rotary":
        return family.positions
    known = str(model_type).removesuffix("_text") in FAMILIES
    if _rope(part, layer) is None:
        return "unknown"
    flags = part.get("no_rope_layers")
    if flags:  # 1 where a layer rotates
        whole = isinstance(flags, list) and layer < len(flags) and set(flags) <= {0, 1} and len(flags) >= (part.get("num_hidden_layers") or 0)
        return ("rotary" if flags[layer] else "additive") if whole else "unknown"
    interval = part.get("no_rope_layer_interval", family.unrotated)
    if isinstance(interval, int) and interval > 0:
        return "rotary" if (layer + 1) % interval else "additive"
    if family.unrotated == "full":
        return _by_attention(part, model_type, layer)
    strange = PATTERN_KEY if known else f"{PATTERN_KEY}|{MIXED_KEY}"
    if any(re.fullmatch(strange, key) and _differs(value) for key, value in part.items()):
        return "unknown"
    return "rotary"


def _differs(value: Any) -> bool:
    """Whether a value can make layers differ."""
    if isinstance(value, list):
        return len(set(map(str, value))) > 1
    return value not in (None, False, 0)


def _by_attention(part: Mapping[str, Any], model_type: Any, layer: int) -> Positions:
    """For families whose layers with full attention do not rotate."""
    if part.get("sliding_window") is None and model_type == "exaone4":  # without a window, every layer rotates
        return "rotary"
    kinds = part.get("layer_types")
    if isinstance(kinds, list) and layer < len(kinds) and set(kinds) <= {"full_attention", "sliding_attention"}:
        return "rotary" if kinds[layer] == "sliding_attention" else "additive"
    pattern = part.get("sliding_window_pattern") or part.get("global_attn_every_n_layers")
    if isinstance(pattern, str) and pattern and set(pattern) <= {"L", "G"}:
        return "rotary" if pattern[layer % len(pattern)] == "L" else "additive"
    if isinstance(pattern, int) and pattern > 0 and not kinds:
        return "rotary" if (layer + 1) % pattern else "additive"
    return "unknown"


def _rope(part: Mapping[str, Any], layer: int) -> Mapping[str, Any] | None:
    """The rotary parameters that the config nests; they may be nested once more, by the type of layer. None if there are none for this layer's type."""
    for key in ("rope_parameters", "rope_scaling"):
        rope = part.get(key)
        if not isinstance(rope, Mapping):
            continue
        if not any(isinstance(value, Mapping) for value in rope.values()):
            return rope
        kinds = part.get("layer_types")
        own = rope.get(kinds[layer]) if isinstance(kinds, list) and layer < len(kinds) else None
        return own if isinstance(own, Mapping) else None
    return {}


def rotary_pairs(part: Mapping[str, Any], family: Family, layer: int) -> bool | None:
    """Whether rotary pairs are neighbours; None if the family or the kind of rotary positions is unknown."""
    rope = _rope(part, layer) or {}
    return family.interleaved if rope.get("rope_type", rope.get("type")) in SAME_PAIRS else None


def rotated_share(part: Mapping[str, Any], family: Family, layer: int) -> float | int:
    """The rotating part of a head: a fraction, or as an integer a number of coordinates."""
    rope = _rope(part, layer) or {}
    for place in ({key: value for key, value in part.items() if value is not None}, rope):
        for key in COORDINATES:
            if isinstance(place.get(key), int) and place[key] >= 0:
                return place[key]
        for key in FRACTION:
            if isinstance(place.get(key), int | float):
                return float(place[key])
    if "rotary_dim" in part:  # null: the whole head
        return 1.0
    return family.rotated


def states(part: Mapping[str, Any], keys: str) -> bool:
    """Whether the config, or its own part on attention, states something under one of the keys of a regular expression."""
    inner = part.get("attn_config")
    items = [*part.items(), *(inner.items() if isinstance(inner, Mapping) else ())]
    return any(re.fullmatch(keys, key) and value not in (None, False, 0, "", "none") for key, value in items)
