"""The audit of a checkpoint, one attention block at a time; each is audited, or skipped with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mesocosm.analysis.spectra.blas_threads import one_blas_thread
from mesocosm.analysis.spectra.random_factors import DRAWS
from mesocosm.audit.block_tensors import meanings
from mesocosm.audit.checkpoint import Checkpoint, open_checkpoint
from mesocosm.audit.errors import AuditError, Skip
from mesocosm.audit.heads import Heads
from mesocosm.audit.layouts import LAYOUTS, Block, find_blocks, mapped_layout
from mesocosm.audit.measure import Pair, Spectra, folded_rank, measure, pair_imbalance, pairs_of
from mesocosm.audit.mlp import NOTE as MLP_NOTE
from mesocosm.audit.mlp import Mlp, find_mlps, mlp_pair
from mesocosm.audit.quantisation import is_quantised
from mesocosm.audit.row_norms import RowNorms, row_columns, row_norms
from mesocosm.audit.settings import Settings, layer_of, settings_of

SCHEMA = {
    "model": pl.String,
    **dict.fromkeys(("layer", "head", "group"), pl.Int64),
    "product": pl.String,
    **dict.fromkeys(("d_model", "d_h"), pl.Int64),
    **dict.fromkeys(("nuc", "fro", "ratio", "null1", "null1_sd", "null2", "null2_sd"), pl.Float64),
    "draws": pl.Int64,
    **dict.fromkeys(("score", "relD", "cosPQ", "cosPQ_centered"), pl.Float64),
    "rank95_sum": pl.Int64,
    **dict.fromkeys(("rank95_sum_null1", "rank95_sum_null1_sd", "rank95_sum_null2", "rank95_sum_null2_sd"), pl.Float64),
    **dict.fromkeys(("rank95_sum_folded", "rank95_energy"), pl.Int64),
    **dict.fromkeys(("stable", "stable_null1", "stable_null1_sd", "stable_null2", "stable_null2_sd"), pl.Float64),
    **dict.fromkeys(("effective", "pair_relD", "rows_relD", "rows_relD_null1", "rows_relD_null1_sd", "rows_corr", "normA2", "normB2"), pl.Float64),
    **dict.fromkeys(("applies", "notes", "status", "reason", "block", "part", "layout"), pl.String),
}
PLACE = {**dict.fromkeys(("model", "block", "part"), pl.String), "layer": pl.Int64, "product": pl.String, **dict.fromkeys(("head", "index"), pl.Int64)}
SPECTRA = {**PLACE, **dict.fromkeys(Spectra._fields, pl.Float64)}
ROW_NORMS = {**PLACE, "a": pl.Float64, "b": pl.Float64, "pair": pl.Boolean}

ROTARY_NOTE = "rotary: the law holds for pair traces only, ratio and cosines are descriptive"
QK_NORM_NOTE = "QK-norm: the scores do not see the scale of query and key, so that their decay is no nuclear norm"
UNKNOWN_NOTE = "positions unknown: if they are rotary, the law holds for pair traces only"
GATE_NOTE = "a gate between value and output breaks the inner symmetry: the law holds for the imbalance's diagonal only"
QUANTISED_NOTE = "quantised: small singular values are rounding errors"
VALUE_NORM_NOTE = "a norm between value and output: the law holds for the imbalance's diagonal at most"
CLIP_NOTE = "the config clips queries, keys and values, so that they are not only seen through their products"
PAIRS_NOTE = "the rotary pairs are unknown"


@dataclass(frozen=True)
class Options:
    """Options of an audit.

    Attributes:
        heads, key_heads: numbers of heads, for the parts of the model for which the config does not give them.
        maps: `role=name` for unknown layouts.
        inputs_first: for those, whether matrices are stored as (inputs, outputs).
        biases: include the biases of query, key and value as an extra column, for a constant input of 1.
        config: path of a config.json in another place.
        draws: number of random factors and rotations for the nulls.
        mlps: include the products of MLPs.
    """

    heads: int | None = None
    key_heads: int | None = None
    maps: tuple[str, ...] = ()
    inputs_first: bool = False
    biases: bool = False
    config: Path | None = None
    draws: int = DRAWS
    mlps: bool = False


@dataclass(frozen=True)
class Audit:
    """The result of auditing one checkpoint.

    Attributes:
        model: the name given by the user.
        rows: one row per product and key head, and one per skipped block, with the columns of `SCHEMA`.
        spectra: one row per singular value, with the means and standard deviations of both nulls.
        row_norms: one row per row of an attention product's factors, with the squared norms that agree at balance; under rotary positions, of pairs.
    """

    model: str
    rows: pl.DataFrame
    spectra: pl.DataFrame
    row_norms: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ROW_NORMS))

    @property
    def audited(self) -> pl.DataFrame:
        """The rows of audited products."""
        return self.rows.filter(pl.col("status") == "audited")

    @property
    def skipped(self) -> pl.DataFrame:
        """The rows of skipped blocks."""
        return self.rows.filter(pl.col("status") == "skipped")


def audit(model: str | Path, options: Options | None = None, progress: Callable[[int, int], None] | None = None) -> Audit:
    """Audit a checkpoint's attention products.

    Args:
        model: a safetensors or PyTorch file, a directory, or a repository on the hub.
        options: see `Options`.
        progress: called with the number of finished blocks and the number of all blocks.

    Raises:
        AuditError: the checkpoint cannot be opened, nothing in it looks like attention (the message lists tensors), or a number of heads contradicts the
            config.
    """
    options = options or Options()
    checkpoint = open_checkpoint(str(model), options.config)
    layouts = (mapped_layout(options.maps, inputs_first=options.inputs_first),) if options.maps else LAYOUTS
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    blocks = find_blocks(shapes, _model_type(checkpoint.config), layouts)
    mlps = find_mlps(shapes) if options.mlps else []
    if not mlps and not any(block.layout for block in blocks) and (options.maps or not blocks):
        raise AuditError(_nothing_found(checkpoint, options))
    _check_heads(checkpoint.config, blocks, options)
    rows: list[dict[str, Any]] = []
    spectra: list[pl.DataFrame] = []
    norms: list[pl.DataFrame] = []
    for number, block in enumerate([*blocks, *mlps]):
        with one_blas_thread():
            found = _audit_block(checkpoint, block, options)
        rows += [product.row for product in found]
        spectra += [_frame(product.row, product.spectra, SPECTRA) for product in found if product.spectra is not None]
        norms += [_frame(product.row, product.norms, ROW_NORMS) for product in found if product.norms is not None]
        if progress:
            progress(number + 1, len(blocks) + len(mlps))
    frames = [pl.concat(parts) if parts else pl.DataFrame(schema=schema) for parts, schema in ((spectra, SPECTRA), (norms, ROW_NORMS))]
    return Audit(checkpoint.name, pl.DataFrame(rows, schema=SCHEMA), *frames)


def _nothing_found(checkpoint: Checkpoint, options: Options) -> str:
    names = sorted(checkpoint.tensors)
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    what = "matches the names of --map" if options.maps else "has a name that looks like"
    if any(name.endswith(("A_log", "mixer.D")) for name in names):
        return f"{checkpoint.name}: a state-space model, no attention to audit. Its {len(names)} tensors: {listed}"
    mend = "" if options.maps else "; name the query, key, value and output tensors with --map"
    return f"{checkpoint.name}: no tensor {what}{'' if options.maps else ' attention'}{mend}. Its {len(names)} tensors: {listed}"


def _check_heads(config: Mapping[str, Any], blocks: Sequence[Block], options: Options) -> None:
    """Reject numbers of heads that no block needs or has."""
    stated = [settings_of(config, block.name) for block in blocks if block.layout]
    for option, given, known in (("--heads", options.heads, {s.heads for s in stated}), ("--kv-heads", options.key_heads, {s.key_heads for s in stated})):
        if given and known and None not in known and given not in known:
            numbers = " and ".join(map(str, sorted(filter(None, known))))
            raise AuditError(f"{option} {given}: config.json states {numbers}; omit the option, or name another config with --config")


def _model_type(config: Mapping[str, Any]) -> str | None:
    inner = config.get("text_config")
    return (inner.get("model_type") if isinstance(inner, dict) else None) or config.get("model_type")


# --- one block ------------------------------------------------------------------------------------------------------


class _Product(NamedTuple):
    """A row of the table, and what stands behind it."""

    row: dict[str, Any]
    spectra: Spectra | None = None
    norms: RowNorms | None = None


def _audit_block(checkpoint: Checkpoint, block: Block | Mlp, options: Options) -> list[_Product]:
    """The rows of a block; its tensors are freed afterwards."""
    place = _place(checkpoint.name, block)
    try:
        if isinstance(block, Mlp):
            return [_audit_mlp(place, checkpoint, block, options.draws)]
        heads, settings, notes = load_block(checkpoint, block, options)
        gain = None if options.biases else _gain(checkpoint, block, settings, heads.query.shape[2])
        cross = re.search("EncDec|cross|encoder_attn", block.name) is not None
        return [_audit_pair(place, pair, heads, settings, notes, None if cross else gain, options.draws) for pair in pairs_of(heads)]
    except Exception as error:  # one bad block does not end the audit
        reason = str(error) if isinstance(error, Skip | AuditError) else f"cannot be read: {type(error).__name__}: {error}"
        return [_Product({**place, "status": "skipped", "reason": reason})]


def _audit_mlp(place: dict[str, Any], checkpoint: Checkpoint, mlp: Mlp, draws: int) -> _Product:
    pair = mlp_pair(checkpoint, mlp)
    numbers, spectra = measure(pair, draws)
    quantised = any(is_quantised(checkpoint.tensors[name].dtype) for name in (mlp.first, mlp.second))
    notes = "; ".join([MLP_NOTE, *[QUANTISED_NOTE] * quantised])
    fixed = {"head": pair.head, "group": pair.group, "product": pair.product, "applies": "no", "notes": notes, "status": "audited"}
    return _Product({**place, **fixed, **numbers}, spectra)


def _place(model: str, block: Block | Mlp) -> dict[str, Any]:
    layout = block.names.family if isinstance(block, Mlp) else block.layout.name if block.layout else None
    return {
        "model": model,
        "block": block.name,
        "part": re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", block.name, count=1),
        "layer": layer_of(block.name),
        "layout": layout,
    }


class Notes(dict[str, tuple[str, str]]):
    """Product -> whether the law applies, and a note."""


def load_block(checkpoint: Checkpoint, block: Block, options: Options) -> tuple[Heads, Settings, Notes]:
    """Read, orient and unpack a block's matrices.

    Raises:
        Skip: the block cannot be audited; carries the reason.
    """
    if block.problem or block.layout is None:
        raise Skip(block.problem or "unknown layout")
    settings = settings_of(checkpoint.config, block.name, heads=options.heads, key_heads=options.key_heads)
    if block.layout.key_per_query and not options.key_heads:
        settings = replace(settings, key_heads=settings.heads, head_dim=None)
    inputs_first = block.layout.inputs_first and not _is_linear(checkpoint, block)
    matrices = {role: _matrix(checkpoint, name, role, inputs_first, options.biases) for role, name in block.tensors.items()}
    heads = block.layout.unpack(matrices, settings)
    return heads, settings, _notes(checkpoint, block, settings)


def _is_linear(checkpoint: Checkpoint, block: Block) -> bool:
    """Whether GPT-2's packed matrix is stored as (outputs, inputs), as by nanoGPT: the outputs are more than the inputs."""
    packed = block.tensors.get("qkv")
    if block.layout is None or block.layout.name != "GPT-2" or packed is None:
        return False
    shape = checkpoint.tensors[packed].shape
    return len(shape) == 2 and shape[0] > shape[1]


def _matrix(checkpoint: Checkpoint, name: str, role: str, inputs_first: bool, biases: bool) -> np.ndarray:
    """A matrix as (outputs, inputs), with its bias as a last column if requested and present."""
    matrix = checkpoint.matrix(name, inputs_first=inputs_first)
    if matrix.ndim < 2 or matrix.size == 0:
        raise Skip(f"{name} has the shape {list(matrix.shape)}, which is no matrix")
    if inputs_first and matrix.ndim == 2:
        matrix = matrix.T
    bias = f"{name.removesuffix('weight')}bias"
    if biases and role != "output" and matrix.ndim == 2:
        column = checkpoint.matrix(bias)[:, None] if bias in checkpoint.tensors else np.zeros((len(matrix), 1), matrix.dtype)
        if len(column) != len(matrix):
            raise Skip(f"{bias} has {len(column)} entries, {name} has {len(matrix)} rows")
        matrix = np.concatenate([matrix, column], axis=1)
    return matrix


def _notes(checkpoint: Checkpoint, block: Block, settings: Settings) -> Notes:
    found = meanings(block.name, checkpoint.tensors, block.tensors.values())
    strange = f"the meaning of {', '.join(sorted(found['unknown'])[:4])} is unknown" if found.get("unknown") else ""
    rotary = ("pair-only", ROTARY_NOTE if settings.interleaved is not None else f"{ROTARY_NOTE}; {PAIRS_NOTE}")
    query = {"rotary": rotary, "unknown": ("unknown", UNKNOWN_NOTE)}.get(settings.positions, ("yes", ""))
    value = ("yes", "")
    if strange or settings.clipped:
        query, value = (("unknown", "; ".join(filter(None, (note, strange, CLIP_NOTE if settings.clipped else "")))) for _, note in (query, value))
    if settings.query_norm or found.get("query norm"):
        query = ("no", QK_NORM_NOTE)
    if settings.output_gate or found.get("gate"):
        value = ("no", GATE_NOTE)
    elif settings.value_norm or found.get("value norm"):
        value = ("no", VALUE_NORM_NOTE)
    quantised = any(is_quantised(checkpoint.tensors[name].dtype) for name in block.tensors.values())
    return Notes(
        {
            product: (applies, "; ".join(filter(None, (note, QUANTISED_NOTE if quantised else ""))))
            for product, (applies, note) in (("QK", query), ("VO", value))
        }
    )


def _gain(checkpoint: Checkpoint, block: Block, settings: Settings, width: int) -> np.ndarray | None:
    """The gain of the norm before attention, if the layout knows its name."""
    parent = block.name.rpartition(".")[0]
    names: Sequence[str] = block.layout.norms if block.layout else ()
    found = next((name for below in names if (name := f"{parent}.{below}") in checkpoint.tensors), None)
    if found is None or settings.gain_offset is None or checkpoint.tensors[found].shape != (width,):
        return None
    return checkpoint.matrix(found).astype(np.float64) + settings.gain_offset


def _audit_pair(place: dict[str, Any], pair: Pair, heads: Heads, settings: Settings, notes: Notes, gain: np.ndarray | None, draws: int) -> _Product:
    numbers, spectra = measure(pair, draws)
    norms = row_norms(pair, settings)
    applies, note = notes[pair.product]
    rotary = pair.product == "QK" and settings.positions == "rotary" and settings.interleaved is not None
    row = {
        **place,
        "head": pair.head,
        "group": pair.group,
        "product": pair.product,
        **numbers,
        "rank95_sum_folded": None if gain is None else folded_rank(pair, gain),
        "pair_relD": pair_imbalance(heads, pair.head, settings) if rotary else None,
        **row_columns(pair, norms, draws),
        "applies": applies,
        "notes": note,
        "status": "audited",
    }
    return _Product(row, spectra, norms)


def _frame(row: Mapping[str, Any], values: Spectra | RowNorms, schema: Mapping[str, Any]) -> pl.DataFrame:
    """One row per entry of these arrays, with their place."""
    length = len(values[0])
    columns = {name: [row[name]] * length for name in PLACE if name != "index"}
    return pl.DataFrame({**columns, "index": range(1, length + 1), **values._asdict()}, schema=schema)
