"""Reads safetensors files one tensor at a time, including dtypes that NumPy lacks.

A file consists of eight bytes (the header's length), the header (JSON: name -> dtype, shape, offsets) and the values. The NumPy reader of the safetensors
package cannot read bfloat16 without ml_dtypes, nor float8 at all.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mesocosm.audit.errors import AuditError

LARGEST_HEADER = 100_000_000
PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
FLOAT8 = {"F8_E4M3": (4, 3), "F8_E5M2": (5, 2)}
INTEGERS = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "?"}
BYTES = {**{name: np.dtype(code).itemsize for name, code in {**PLAIN, **INTEGERS}.items()}, **dict.fromkeys(FLOAT8, 1), "BF16": 2}


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
        if self.dtype not in BYTES:
            raise AuditError(f"{self.path.name}: the dtype {self.dtype} cannot be read")
        raw = np.fromfile(self.path, dtype=np.uint8, count=self.length, offset=self.start)
        if raw.size != self.length:
            raise AuditError(f"{self.path} ends too early: it has {raw.size} of {self.length} bytes of a tensor; is the download complete?")
        return decode(raw, self.dtype).reshape(self.shape)


def decode(raw: UInt8[np.ndarray, " bytes"], dtype: str) -> np.ndarray:
    """Convert bytes to numbers: bfloat16 is the upper half of a float32; float8 uses a table of its 256 values."""
    if dtype == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype in FLOAT8:
        return float8_values(*FLOAT8[dtype])[raw]
    numbers = raw.view(PLAIN.get(dtype) or INTEGERS[dtype])
    return numbers.astype(np.float32) if dtype == "F16" else numbers


@cache
def float8_values(exponent_bits: int, mantissa_bits: int) -> Float32[np.ndarray, "256"]:
    """The 256 values of a float8. With 4 exponent bits, only the largest code is NaN (E4M3FN); with 5, the largest exponent is infinity or NaN, as in IEEE."""
    code = np.arange(256)
    sign = np.where(code >> 7, -1.0, 1.0)
    exponent, mantissa = (code & 127) >> mantissa_bits, code & (2**mantissa_bits - 1)
    bias, most = 2 ** (exponent_bits - 1) - 1, 2**exponent_bits - 1
    fraction = mantissa / 2**mantissa_bits
    value = np.where(exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - bias))
    if exponent_bits == 4:
        value = np.where((exponent == most) & (mantissa == 2**mantissa_bits - 1), np.nan, value)
    else:
        value = np.where(exponent == most, np.where(mantissa == 0, np.inf, np.nan), value)
    return (sign * value).astype(np.float32)


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
    wanted = math.prod(shape) * BYTES[dtype] if dtype in BYTES else end - start
    if min(shape, default=0) < 0 or not 0 <= start <= end or end - start != wanted:
        raise AuditError(f"{path}: {name!r} is {dtype} of shape {list(shape)}, which does not fit {end - start} bytes")
    if offset + end > size:
        raise AuditError(f"{path} ends too early: {name!r} needs byte {offset + end} of {size}; is the download complete?")
    return Stored(path, dtype, shape, offset + start, end - start)
