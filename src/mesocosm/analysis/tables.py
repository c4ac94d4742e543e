"""The one door from arrays to tables: long form, NumPy in, nothing that is not finite, one row order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl


def long_table(axes: Mapping[str, Sequence[Any]], **columns: Any) -> pl.DataFrame:
    """Arrays over named axes as a table with one row for each combination of their labels.

    Args:
        axes: name -> labels, in the order of the arrays' leading axes.
        columns: each a scalar (or string) that fills the column, or an array whose shape is a prefix of the axes' lengths.

    Returns:
        The axes' columns first, then `columns`; rows in C order of the axes.

    Raises:
        ValueError: an array whose shape is no prefix of the axes, or a value that is not finite.
    """
    shape = tuple(len(labels) for labels in axes.values())
    data: dict[str, Any] = {}
    grids = np.indices(shape).reshape(len(shape), -1) if shape else np.zeros((0, 1), dtype=int)
    for (name, labels), index in zip(axes.items(), grids, strict=True):
        data[name] = [labels[i] for i in index]
    size = int(np.prod(shape)) if shape else 1
    for name, column in columns.items():
        if isinstance(column, str | bool | int | None):
            data[name] = [column] * size
            continue
        array = np.asarray(column)
        if array.dtype.name == "bfloat16":
            array = array.astype(np.float32)
        if array.shape != shape[: array.ndim]:
            raise ValueError(f"column {name!r} has shape {array.shape}; the axes {tuple(axes)} have lengths {shape}")
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            raise ValueError(f"column {name!r} holds {int(np.sum(~np.isfinite(array)))} values that are not finite")
        data[name] = np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape).reshape(-1)
    return pl.DataFrame(data)
