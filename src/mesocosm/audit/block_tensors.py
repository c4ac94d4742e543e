"""What the other tensors of an attention block mean for its products: norms of queries and keys, norms and gates between value and output.

A tensor that the table does not know makes the answer unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from mesocosm.audit.errors import Skip
from mesocosm.audit.quantisation import ADAPTER, ADAPTER_REASON

Meaning = Literal["nothing", "query norm", "value norm", "gate", "unknown"]

NORM = r"(?:layer_?|rms_?)?(?:norms?|ln)"
MEANINGS: tuple[tuple[Meaning, str], ...] = (
    ("nothing", r"(?:output\.)?LayerNorm\..*"),  # BERT's, after the block
    ("nothing", r".*bias(?:es)?|bias_[kv]|.*relative_(?:attention_bias|position).*|.*sinks?|.*attn_mask"),
    ("nothing", r".*inv_freq|(?:rotary|rope).*|(?:[kv]|kv|q)_(?:scale|zero_point)"),
    ("query norm", rf"(?:.*\.)?(?:q|k|qk|query|key|query_key)_?(?:head_?)?{NORM}(?:_weight)?(?:\..*)?"),
    ("query norm", rf"(?:.*\.)?{NORM}_?(?:added_)?(?:q|k|qk|query|key)(?:_weight)?(?:\..*)?"),
    ("query norm", r"logit_scale"),  # cosine attention
    (
        "value norm",
        rf"(?:.*\.)?(?:v|value|o|out|output|attn|attn_out|attn_sub|context|ctx|inner|inner_attn|sub|sub_layer|g|group|head)_?{NORM}(?:_weight)?(?:\..*)?",
    ),
    ("value norm", rf"(?:.*\.)?{NORM}_?(?:v|value|out|output)(?:_weight)?(?:\..*)?"),
    ("gate", r"(?:.*\.)?(?:to_|attn_|attention_|head_|out_|output_|o_|v_|value_)?(?:gates?|gating|g)(?:_proj|_linear|_weight|_logits?|_[ab])?(?:\..*)?"),
)


def meanings(block: str, names: Iterable[str], own: Iterable[str]) -> dict[Meaning, list[str]]:
    """What the tensors below a block mean, without those of its own weights.

    Args:
        block: the block's name.
        names: all names of the checkpoint.
        own: names of the block's weights.

    Raises:
        Skip: an adapter is among them.
    """
    modules = tuple(f"{name.removesuffix('weight').removesuffix('.')}." for name in own if name.endswith(".weight"))
    taken = set(own)
    whole = re.search(r"attn|attention|mha|mix", block.rpartition(".")[2], re.IGNORECASE) is not None
    found: dict[Meaning, list[str]] = {}
    for name in names:
        if not name.startswith(f"{block}.") or name in taken or name.startswith(modules):
            continue
        short = name.removeprefix(f"{block}.")
        meaning = meaning_of(short)
        if whole and ADAPTER.search(short):
            raise Skip(ADAPTER_REASON)
        if whole or (meaning == "query norm" and short.count(".") <= 1):  # in a block with other layers, the rest may belong to these
            found.setdefault(meaning, []).append(short)
    return found


def meaning_of(short: str) -> Meaning:
    """The first line of the table that fits a name below a block."""
    for meaning, pattern in MEANINGS:
        if re.fullmatch(pattern, short):
            return meaning
    return "unknown"
