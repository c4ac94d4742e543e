r"""Splits the matrices of a checkpoint into heads, for the packings of common libraries.

All matrices are given as (outputs, inputs). A head's score is $x_k^\top W_K^\top W_Q x_q$ and its output $P W_V x$; query head $h$ reads the key head $h // G$.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from mesocosm.audit.errors import Skip
from mesocosm.audit.settings import Settings

Matrices = Mapping[str, np.ndarray]


class Heads(NamedTuple):
    """The matrices of every head.

    Attributes:
        query: $W_Q$ of each query head.
        key: $W_K$ of each key head.
        value: $W_V$ of each key head.
        output: $P$ of each query head.
    """

    query: Shaped[np.ndarray, "heads r inputs"]
    key: Shaped[np.ndarray, "key_heads r key_inputs"]
    value: Shaped[np.ndarray, "key_heads v key_inputs"]
    output: Shaped[np.ndarray, "heads outputs v"]


Unpack = Callable[[Matrices, Settings], Heads]


def separate(matrices: Matrices, settings: Settings) -> Heads:
    """Four matrices with consecutive heads; with a gate, each query head's rows are followed by those of its gate."""
    query, key, value, output = (matrices[role] for role in ("query", "key", "value", "output"))
    if query.ndim == 3:
        return _by_head(query, key, value, output, settings)
    heads, key_heads = counts(settings)
    size = settings.head_dim or _divide("query", query.shape[0], heads * (2 if settings.gated else 1))
    rows = heads * size
    if settings.gated:
        check("query with gate", query, 2 * rows, settings)
        query = query.reshape(heads, 2, size, -1)[:, 0].reshape(rows, -1)
    check("query", query, rows, settings)
    check("key", key, key_heads * size, settings, width=False)
    value_size = _divide("value", value.shape[0], key_heads)
    if value.shape[1] != key.shape[1]:
        raise Skip(f"key and value have {key.shape[1]} and {value.shape[1]} inputs")
    return Heads(_rows(query, heads), _rows(key, key_heads), _rows(value, key_heads), columns(output, heads, value_size))


def _by_head(query: np.ndarray, key: np.ndarray, value: np.ndarray, output: np.ndarray, settings: Settings) -> Heads:
    """Tensors with a head axis: (heads, r, inputs), and (heads, outputs, v) for the output."""
    shapes = [matrix.shape for matrix in (query, key, value, output)]
    fits = all(len(shape) == 3 for shape in shapes) and query.shape[1] == key.shape[1] and value.shape[1] == output.shape[2]
    if not fits or len(key) != len(value) or len(query) != len(output) or len(query) % len(key):
        raise Skip(f"query, key, value, output have shapes {', '.join(str(list(s)) for s in shapes)}; expected (heads, r, inputs) and (heads, outputs, v)")
    if settings.heads and settings.heads != len(query):
        raise Skip(f"query has {len(query)} heads, the config has {settings.heads}")
    return Heads(query, key, value, output)


def in_blocks(matrices: Matrices, settings: Settings) -> Heads:
    """One matrix with all queries, then all keys, then all values: GPT-2, timm, PyTorch, and Phi-3 with fewer key heads."""
    packed, (heads, key_heads) = matrices["qkv"], counts(settings)
    size = settings.head_dim or _divide("packed query, key and value", packed.shape[0], heads + 2 * key_heads)
    check("packed query, key and value", packed, (heads + 2 * key_heads) * size, settings)
    query, key, value = np.split(packed, [heads * size, (heads + key_heads) * size])
    return Heads(_rows(query, heads), _rows(key, key_heads), _rows(value, key_heads), columns(matrices["output"], heads, size))


def in_groups(matrices: Matrices, settings: Settings) -> Heads:
    """One matrix with the query heads, key and value of each key head in turn: Falcon, and with one query per key GPT-NeoX and BLOOM."""
    packed, (heads, key_heads) = matrices["qkv"], counts(settings)
    size = settings.head_dim or _divide("packed query, key and value", packed.shape[0], heads + 2 * key_heads)
    check("packed query, key and value", packed, (heads + 2 * key_heads) * size, settings)
    groups = packed.reshape(key_heads, heads // key_heads + 2, size, -1)
    query = groups[:, :-2].reshape(heads, size, -1)
    return Heads(query, groups[:, -2], groups[:, -1], columns(matrices["output"], heads, size))


def counts(settings: Settings) -> tuple[int, int]:
    """The numbers of query heads and key heads.

    Raises:
        Skip: the numbers are unknown or do not divide.
    """
    if settings.heads is None:
        raise Skip("the number of heads is unknown: config.json does not give it; use --heads N")
    key_heads = settings.key_heads or settings.heads
    if settings.heads % key_heads:
        raise Skip(f"{settings.heads} query heads cannot share {key_heads} key heads")
    return settings.heads, key_heads


def check(what: str, matrix: np.ndarray, rows: int, settings: Settings, *, width: bool = True) -> None:
    """Compare a shape with the config.

    Raises:
        Skip: they differ.
    """
    if matrix.ndim != 2 or matrix.shape[0] != rows:
        raise Skip(
            f"{what} has shape {list(matrix.shape)}, the config requires {rows} rows ({settings.heads} heads, {settings.key_heads or settings.heads} of keys)"
        )
    if width and settings.width is not None and matrix.shape[1] not in (settings.width, settings.width + 1):  # the extra column is the bias
        raise Skip(f"{what} has {matrix.shape[1]} inputs, the config's width is {settings.width}")


def columns(output: np.ndarray, heads: int, size: int) -> Shaped[np.ndarray, "heads outputs size"]:
    """Split the columns of the output matrix into heads.

    Raises:
        Skip: the number of columns does not match the heads.
    """
    if output.ndim != 2 or output.shape[1] != heads * size:
        raise Skip(f"output has shape {list(output.shape)}, {heads} heads of {size} require {heads * size} columns")
    return output.reshape(-1, heads, size).swapaxes(0, 1)


def _rows(matrix: np.ndarray, heads: int) -> Shaped[np.ndarray, "heads r inputs"]:
    return matrix.reshape(heads, -1, matrix.shape[1])


def _divide(what: str, rows: int, parts: int) -> int:
    if rows % parts:
        raise Skip(f"the {rows} rows of {what} cannot be divided among {parts}")
    return rows // parts
