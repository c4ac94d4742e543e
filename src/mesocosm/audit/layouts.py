"""The tensors of an attention block: names and packings of common libraries, and a user's own map.

A layout recognises a block by the name of one tensor and finds the others relative to it. If models pack the same names differently, the config's model
type decides; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesocosm.audit.errors import AuditError
from mesocosm.audit.heads import Unpack, in_blocks, in_groups, separate
from mesocosm.audit.quantisation import ADAPTER_REASON

ROLES = ("query", "key", "value", "output", "qkv")


@dataclass(frozen=True)
class Layout:
    """How a family of models stores attention.

    Attributes:
        name: name of the family.
        anchor: a regular expression for one tensor of the block, with the group `block`.
        tensors: role -> alternative names below the block; the first that exists is used.
        unpack: matrices -> heads.
        inputs_first: whether matrices are stored as (inputs, outputs).
        model_types: the model types with this layout; empty for any.
        norms: names of the norm before attention, below the block's parent.
        key_per_query: whether every query head has its own key head, regardless of the config.
    """

    name: str
    anchor: str
    tensors: Mapping[str, tuple[str, ...]]
    unpack: Unpack
    inputs_first: bool = False
    model_types: frozenset[str] = frozenset()
    norms: tuple[str, ...] = ()
    key_per_query: bool = False


@dataclass(frozen=True)
class Block:
    """An attention block in a checkpoint.

    Attributes:
        name: the common prefix of its tensors' names.
        layout: how it is stored; None if unknown.
        tensors: role -> name of the tensor.
        problem: why it cannot be audited, or None.
    """

    name: str
    layout: Layout | None
    tensors: Mapping[str, str]
    problem: str | None = None


def weights(**names: str) -> dict[str, tuple[str, ...]]:
    """Role -> alternative names, which are separated by bars."""
    return {role: tuple(f"{name}.weight" for name in alternatives.split("|")) for role, alternatives in names.items()}


LAYOUTS = (
    Layout(
        "BERT", r"(?P<block>.*attention)\.self\.query\.weight", weights(query="self.query", key="self.key", value="self.value", output="output.dense"), separate
    ),
    Layout(
        "ViT",
        r"(?P<block>.*attention)\.attention\.query\.weight",
        weights(query="attention.query", key="attention.key", value="attention.value", output="output.dense"),
        separate,
        norms=("layernorm_before.weight", "norm1.weight"),
    ),
    Layout("ALBERT", r"(?P<block>.*albert_layers\.\d+\.attention)\.query\.weight", weights(query="query", key="key", value="value", output="dense"), separate),
    Layout("DistilBERT", r"(?P<block>.*attention)\.q_lin\.weight", weights(query="q_lin", key="k_lin", value="v_lin", output="out_lin"), separate),
    Layout(
        "T5",
        r"(?P<block>.*(?:SelfAttention|EncDecAttention))\.q\.weight",
        weights(query="q", key="k", value="v", output="o"),
        separate,
        norms=("layer_norm.weight",),
    ),
    Layout(
        "GPT-BigCode",
        r"(?P<block>.*attn)\.c_attn\.weight",
        weights(qkv="c_attn", output="c_proj"),
        in_groups,
        model_types=frozenset({"gpt_bigcode"}),
        norms=("ln_1.weight",),
    ),
    Layout("GPT-2", r"(?P<block>.*attn)\.c_attn\.weight", weights(qkv="c_attn", output="c_proj"), in_blocks, inputs_first=True, norms=("ln_1.weight",)),
    Layout(
        "projections",
        r"(?P<block>.*)\.q_proj\.weight",
        weights(query="q_proj", key="k_proj", value="v_proj", output="o_proj|out_proj|dense"),
        separate,
        norms=("input_layernorm.weight", "layernorm_before.weight", "layer_norm1.weight", "ln_1.weight"),
    ),
    Layout(
        "Wqkv",
        r"(?P<block>.*)\.Wqkv\.weight",
        weights(qkv="Wqkv", output="Wo|out_proj"),
        in_blocks,
        model_types=frozenset({"modernbert", "mpt"}),
        norms=("attn_norm.weight", "norm_1.weight"),
        key_per_query=True,
    ),
    Layout(
        "InternLM2",
        r"(?P<block>.*)\.wqkv\.weight",
        weights(qkv="wqkv", output="wo"),
        in_groups,
        model_types=frozenset({"internlm2"}),
        norms=("attention_norm.weight",),
    ),
    Layout(
        "OpenAI Whisper",
        r"(?P<block>.*attn)\.query\.weight",
        weights(query="query", key="key", value="value", output="out"),
        separate,
        norms=("attn_ln.weight",),
    ),
    Layout("Phi-3", r"(?P<block>.*)\.qkv_proj\.weight", weights(qkv="qkv_proj", output="o_proj"), in_blocks, norms=("input_layernorm.weight",)),
    Layout(
        "GPT-NeoX",
        r"(?P<block>.*)\.query_key_value\.weight",
        weights(qkv="query_key_value", output="dense"),
        in_groups,
        model_types=frozenset({"gpt_neox", "gpt_neox_japanese"}),
        norms=("input_layernorm.weight",),
        key_per_query=True,
    ),
    Layout(
        "BLOOM",
        r"(?P<block>.*)\.query_key_value\.weight",
        weights(qkv="query_key_value", output="dense"),
        in_groups,
        model_types=frozenset({"bloom"}),
        norms=("input_layernorm.weight",),
        key_per_query=True,
    ),
    Layout(
        "Falcon",
        r"(?P<block>.*)\.query_key_value\.weight",
        weights(qkv="query_key_value", output="dense"),
        in_groups,
        model_types=frozenset({"falcon", "RefinedWeb", "RefinedWebModel"}),
        norms=("ln_attn.weight", "input_layernorm.weight"),
    ),
    Layout("timm ViT", r"(?P<block>.*attn)\.qkv\.weight", weights(qkv="qkv", output="proj"), in_blocks, norms=("norm1.weight",), key_per_query=True),
    Layout(
        "torch MultiheadAttention",
        r"(?P<block>.*)\.in_proj_weight",
        {"qkv": ("in_proj_weight",), "output": ("out_proj.weight",)},
        in_blocks,
        norms=("ln_1.weight", "norm1.weight"),
        key_per_query=True,
    ),
)

PACKINGS = (
    (r"query_key_value\.weight$", "query_key_value is packed differently by GPT-NeoX, BLOOM and Falcon, and config.json does not say which one applies"),
    (r"[Ww]qkv\.weight$", "Wqkv is packed differently by different models (InternLM2 packs by key head), and config.json does not name one that is known"),
)
"""Tensors whose packing only the model type tells; `--map` would split them wrongly."""
ATTENTION = re.compile(r"(?P<block>(?:.*?\.)?[^.]*(?:attn|attention)[^.]*)\.", re.IGNORECASE)
QUERIES = r"(?:q|qkv|query|wq|to_q|q_proj|qkv_proj|Wqkv)"
LOOSE = re.compile(rf"(?P<block>.*)\.{QUERIES}\.(?:weight|kernel)")
KINDS = (
    (r"kv_a_proj|kv_b_proj", "multi-head latent attention: keys and values go through a low-rank bottleneck of their own, which no layout covers yet"),
    (r"linear_attn|in_proj_qkvz|conv1d|A_log", "linear attention or a recurrence, which has no softmax heads"),
    (r"base_layer", ADAPTER_REASON),
    (r"lora_[AB]", "an adapter without the weights it is added to: merge it into its model first"),
    (r"qweight|qzeros|quant_state|\.SCB$", "quantised in a format that is not read here: dequantise the checkpoint first"),
)
"""Patterns that identify blocks without a layout."""


def find_blocks(names: Mapping[str, Sequence[int]], model_type: str | None, layouts: Sequence[Layout] = LAYOUTS) -> list[Block]:
    """All attention blocks of a checkpoint in the order of layers, including those without a layout.

    Args:
        names: tensor -> shape.
        model_type: the config's model type.
        layouts: the layouts to try.
    """
    found: dict[str, Block] = {}
    for layout in layouts:
        for name in names:
            match = re.fullmatch(layout.anchor, name)
            if match and match["block"] not in found and (not layout.model_types or model_type in layout.model_types):
                found[match["block"]] = _block(match["block"], layout, names)
    return sorted([*found.values(), *_unknown(names, found)], key=lambda block: natural(block.name))


def _block(name: str, layout: Layout, names: Mapping[str, Any]) -> Block:
    tensors = {role: next((full for below in choices if (full := f"{name}.{below}") in names), None) for role, choices in layout.tensors.items()}
    missing = [f"{role} ({' or '.join(layout.tensors[role])})" for role, tensor in tensors.items() if tensor is None]
    problem = f"missing: {', '.join(missing)}" if missing else None
    if missing and (kind := _kind([other for other in names if other.startswith(f"{name}.")])):
        problem = kind
    return Block(name, layout, {role: tensor for role, tensor in tensors.items() if tensor is not None}, problem)


def _unknown(names: Mapping[str, Sequence[int]], found: Mapping[str, Block]) -> Iterator[Block]:
    """Blocks that look like attention but fit no layout, by common prefix."""
    groups: dict[str, None] = {}
    for name, shape in names.items():
        match = (ATTENTION.match(name) if len(shape) >= 2 else None) or LOOSE.fullmatch(name)
        if match and not any(name.startswith(f"{block}.") for block in found):
            groups[match["block"]] = None
    for block in groups:
        tensors = [name for name, shape in names.items() if name.startswith(f"{block}.") and len(shape) >= 2]
        below = ", ".join(sorted(name.removeprefix(f"{block}.") for name in tensors)[:6])
        packing = next((reason for pattern, reason in PACKINGS if any(re.search(pattern, name) for name in tensors)), None)
        yield Block(block, None, {}, _kind(tensors) or packing or f"no layout has {below}; name the tensors with --map")


def _kind(tensors: Sequence[str]) -> str | None:
    return next((reason for pattern, reason in KINDS if any(re.search(pattern, name) for name in tensors)), None)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sorting key in which layer 10 comes after layer 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


# --- a user's own map -----------------------------------------------------------------------------------------------


def mapped_layout(pairs: Sequence[str], *, inputs_first: bool = False) -> Layout:
    """The layout of `--map query=layers.{layer}.wq.weight --map key=...`: one name per role, in which `{layer}` stands for a number.

    Args:
        pairs: `role=name`; the roles are query, key, value and output, or qkv and output.
        inputs_first: whether matrices are stored as (inputs, outputs).

    Raises:
        AuditError: a role is unknown, missing or given twice, the names do not share the part up to `{layer}`, or the packing of qkv depends on the model type.
    """
    given: dict[str, str] = {}
    for pair in pairs:
        role, equals, name = pair.partition("=")
        if not equals or role not in ROLES or not name or role in given:
            raise AuditError(f"--map {pair}: write role=name once for each role, where the roles are query, key, value, output, or qkv and output")
        given[role] = name
    if set(given) not in ({"query", "key", "value", "output"}, {"qkv", "output"}):
        raise AuditError(f"--map gives {', '.join(given)}; it needs query, key, value and output, or qkv and output")
    if packing := next((reason for pattern, reason in PACKINGS if re.search(pattern, given.get("qkv", ""))), None):
        raise AuditError(f"--map qkv={given['qkv']}: {packing}; write its model_type to a file and name that with --config")
    first = given["query" if "query" in given else "qkv"]
    shared = shared_prefix(list(given.values()))
    if not shared or any(name.count("{layer}") > 1 for name in given.values()):
        raise AuditError(f"--map: the names must have a common prefix before their last parts, with at most one {{layer}}; {', '.join(given.values())} do not")
    pattern = re.escape(shared).replace(re.escape("{layer}"), r"\d+")
    below = {role: name.removeprefix(f"{shared}.") for role, name in given.items()}
    anchor = rf"(?P<block>{pattern})\.{re.escape(first.removeprefix(f'{shared}.'))}"
    return Layout("--map", anchor, {role: (name,) for role, name in below.items()}, separate if "query" in given else in_blocks, inputs_first=inputs_first)


def shared_prefix(names: Sequence[str]) -> str:
    """The dotted prefix that all names share."""
    parts = [name.split(".") for name in names]
    shared = 0
    while all(len(part) > shared + 1 for part in parts) and len({part[shared] for part in parts}) == 1:
        shared += 1
    return ".".join(parts[0][:shared])
