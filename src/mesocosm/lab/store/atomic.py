"""Atomic file writes: a temporary file is written beside the target, flushed, then renamed, so that files are complete or absent."""

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy, for safetensors)
import numpy as np
from safetensors.numpy import save_file

METADATA = "mesocosm"

_writing = threading.RLock()


@contextmanager
def undisturbed(seconds: float = 60.0) -> Iterator[None]:
    """Wait up to `seconds` until no file is being written, and block new writes by other threads."""
    free = _writing.acquire(timeout=seconds)
    try:
        yield
    finally:
        if free:
            _writing.release()


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary file, then move it to `path` in one step; on failure nothing is left behind.

    Raises:
        OSError: the write failed, whichever exception `fill`'s library raised; names `path`, or the parent folder that cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _writing:
            fill(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except Exception as error:
        if (number := _system_error(error)) is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        with suppress(OSError):  # `sweep` removes it later
            temporary.unlink(missing_ok=True)


def _system_error(error: Exception) -> int | None:
    """The errno behind an exception; safetensors and Polars raise their own types and put it in the message."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a file."""
    write(path, lambda temporary: temporary.write_bytes(content))


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file. Its metadata are JSON under one key, since safetensors writes several keys in an order that varies."""
    whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    write(path, lambda temporary: save_file(whole, temporary, metadata={METADATA: json.dumps(metadata)}))


def read_metadata(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """What `write_tensors` wrote into a safetensors file's metadata; empty for other files."""
    try:
        found = json.loads((metadata or {}).get(METADATA, "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def sweep(folder: Path) -> None:
    """Remove partial files that a killed writer left in a folder; no other process may be writing to it."""
    for pattern in (".*.part", ".tmp*"):  # ours and safetensors'
        for left in folder.rglob(pattern):
            if left.is_file():
                left.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON: NaN and infinity are errors, not tokens."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ValueError: the file is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def checksum(path: Path) -> str:
    """The first 16 hex digits of the file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
