"""Reads safetensors files one tensor at a time, including dtypes that NumPy lacks.

A file consists of eight bytes (the header's length), the header (JSON: name -> dtype, shape, offsets) and the values. The NumPy reader of the safetensors
package cannot read float8.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from mesocosm.audit.errors import AuditError

LARGEST_HEADER = 100_000_000
FLOATS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}
INTEGERS = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "?"}
DTYPES = {name: np.dtype(kind) for name, kind in {**FLOATS, **INTEGERS}.items()}


@dataclass(frozen=True)
class Stored:
    """The location of a tensor in a file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    length: int

    def read(self) -> np.ndarray:
        """Read its values as float32 or float64, integers unchanged; the file is not kept mapped.

        Raises:
            AuditError: the dtype is not supported, or the file ends too early.
        """
        if self.dtype not in DTYPES:
            raise AuditError(f"{self.path.name}: the dtype {self.dtype} cannot be read")
        raw = np.fromfile(self.path, dtype=np.uint8, count=self.length, offset=self.start)
        if raw.size != self.length:
            raise AuditError(f"{self.path} ends too early: it has {raw.size} of {self.length} bytes of a tensor; is the download complete?")
        numbers = raw.view(DTYPES[self.dtype]).reshape(self.shape)
        return numbers.astype(np.float32) if self.dtype in FLOATS and numbers.itemsize < 4 else numbers


def read_header(path: Path) -> dict[str, Stored]:
    """Read the header: name -> location of the tensor.

    Raises:
        AuditError: the file is not a safetensors file, or its header contradicts its length.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
            raise AuditError(f"{path} is not a safetensors file, or is truncated: its header would have {length} bytes, but the file has {size}")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise AuditError(f"{path} is not a safetensors file: its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise AuditError(f"{path} is not a safetensors file: its header is not a table of tensors")
    header.pop("__metadata__", None)
    return {name: _stored(path, name, entry, 8 + length, size) for name, entry in header.items()}


def _stored(path: Path, name: str, entry: Any, offset: int, size: int) -> Stored:
    try:
        dtype, shape, (start, end) = str(entry["dtype"]), tuple(int(n) for n in entry["shape"]), map(int, entry["data_offsets"])
    except (TypeError, KeyError, ValueError):
        raise AuditError(f"{path}: the header's entry of {name!r} cannot be read") from None
    wanted = math.prod(shape) * DTYPES[dtype].itemsize if dtype in DTYPES else end - start
    if min(shape, default=0) < 0 or not 0 <= start <= end or end - start != wanted:
        raise AuditError(f"{path}: {name!r} is {dtype} of shape {list(shape)}, which does not fit {end - start} bytes")
    if offset + end > size:
        raise AuditError(f"{path} ends too early: {name!r} needs byte {offset + end} of {size}; is the download complete?")
    return Stored(path, dtype, shape, offset + start, end - start)
