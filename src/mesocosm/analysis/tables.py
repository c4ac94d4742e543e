"""Conversion of arrays to tables in long form, with finite values and a fixed row order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl


def long_table(axes: Mapping[str, Sequence[Any]], **columns: Any) -> pl.DataFrame:
    """Convert arrays over named axes to a table with one row per combination of labels.

    Args:
        axes: name -> labels, in the order of the arrays' leading axes.
        columns: a scalar or string that fills the column, or an array whose shape is a prefix of the axes' lengths.

    Returns:
        The axes' columns first, then `columns`; rows in C order of the axes.

    Raises:
        ValueError: an array's shape is not a prefix of the axes; a value is not finite or not a number, bool or string; or a column has the name of an axis.
    """
    shape = tuple(len(labels) for labels in axes.values())
    size = int(np.prod(shape))
    twice = sorted(set(axes) & set(columns))
    if twice:
        raise ValueError(f"{', '.join(map(repr, twice))} would be both an axis and a column")
    data: dict[str, Any] = {}
    for (name, labels), index in zip(axes.items(), np.indices(shape).reshape(len(shape), size), strict=True):
        data[name] = [labels[i] for i in index]
    for name, column in columns.items():
        if isinstance(column, str | bool | int | None):
            data[name] = [column] * size
            continue
        array = np.asarray(column)
        if array.dtype.name in ("bfloat16", "float16"):
            array = array.astype(np.float32)
        if array.dtype.kind not in "fiubU":
            raise ValueError(f"column {name!r} holds {array.dtype}; a table takes real numbers, bools and strings")
        if array.shape != shape[: array.ndim]:
            raise ValueError(f"column {name!r} has shape {array.shape}; the axes {tuple(axes)} have lengths {shape}")
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            raise ValueError(f"column {name!r} holds {int(np.sum(~np.isfinite(array)))} values that are not finite")
        data[name] = np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape).reshape(-1)
    return pl.DataFrame(data)
