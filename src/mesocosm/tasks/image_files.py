"""Readers for common formats of image data sets: idx (MNIST), comma-separated values, CIFAR-10 binary, SVHN's MATLAB files.

Formats that can run code are not supported (CIFAR-10's Python version is pickled). A damaged file raises a ValueError that names it.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

CIFAR_RECORD = 1 + 3 * 32 * 32


def unpacked(file: Path) -> bytes:
    """The contents of a gzip file.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ValueError(f"{file} is damaged ({error}); install it again") from error


def read_idx(file: Path) -> np.ndarray:
    """Unsigned bytes in the idx format, gzipped: two zero bytes, 8, the number of axes, each axis' length in four big-endian bytes, then the bytes.

    Raises:
        ValueError: another format or length.
    """
    data = unpacked(file)
    if data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{file} is not an idx file of bytes (it begins with {data[:4].hex() or 'nothing'})")
    axes = data[3]
    shape = tuple(int(length) for length in np.frombuffer(data, ">u4", axes, 4)) if len(data) >= 4 + 4 * axes else (-1,)
    if len(data) != 4 + 4 * axes + int(np.prod(shape)):
        raise ValueError(f"{file} holds {len(data)} bytes, which does not fit its header {shape}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_csv(file: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Square grey images from a gzipped file, one per line: the pixels by rows, then the label. Returns pixels (n, side, side) and labels.

    Raises:
        ValueError: a line does not have side * side + 1 values, or a value is not a byte.
    """
    try:
        table = np.loadtxt(unpacked(file).decode("ascii").splitlines(), delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{file} is not a table of numbers ({error})") from error
    if table.shape[1] != side * side + 1 or table.min(initial=0) < 0 or table.max(initial=0) > 255:
        raise ValueError(f"{file} has {table.shape[1]} values per line from {table.min():g} to {table.max():g}, not {side * side + 1} from 0 to 255")
    return table[:, :-1].astype(np.uint8).reshape(-1, side, side), table[:, -1].astype(np.int64)


def read_cifar(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's binary version: 3073 bytes per image, the label, then red, green and blue by rows. Returns pixels (n, 32, 32, 3) and labels.

    Raises:
        ValueError: the number of records is not whole, or a label is above 9.
    """
    data = np.frombuffer(file.read_bytes(), np.uint8)
    if len(data) % CIFAR_RECORD:
        raise ValueError(f"{file} holds {len(data)} bytes, not a multiple of {CIFAR_RECORD}: it is not CIFAR-10's binary version")
    records = data.reshape(-1, CIFAR_RECORD)
    if records[:, 0].max(initial=0) > 9:
        raise ValueError(f"{file} has the label {records[:, 0].max()}; CIFAR-10 has 0 to 9")
    return np.moveaxis(records[:, 1:].reshape(-1, 3, 32, 32), 1, -1), records[:, 0].astype(np.int64)


def read_svhn(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """SVHN's cropped digits: X (32, 32, 3, n) and y (n, 1), in which 10 stands for the digit 0. Returns pixels (n, 32, 32, 3) and labels.

    Raises:
        ValueError: other contents.
    """
    from scipy.io import loadmat

    try:
        held = loadmat(file, variable_names=["X", "y"])
        pixels, labels = held["X"], held["y"]
    except (KeyError, NotImplementedError, ValueError, TypeError) as error:
        raise ValueError(f"{file} is not a file of SVHN's cropped digits ({type(error).__name__}: {error})") from error
    if pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3) or pixels.dtype != np.uint8 or pixels.shape[3] != labels.size:
        raise ValueError(f"{file} holds images {pixels.shape} {pixels.dtype} and {labels.size} labels, not (32, 32, 3, n) bytes and n")
    return np.moveaxis(pixels, 3, 0), labels.ravel().astype(np.int64) % 10


def from_columns(table: Any, images: str = "image", labels: str = "label") -> tuple[np.ndarray, np.ndarray]:
    """Images and labels from a table with columns, such as a split of a Hugging Face `datasets.Dataset` or a dictionary.

    Images may be byte arrays or Pillow images.

    Raises:
        ValueError: the images differ in size or do not consist of bytes.
    """
    pixels = [np.asarray(picture) for picture in table[images]]
    if len({(picture.shape, picture.dtype) for picture in pixels}) != 1 or pixels[0].dtype != np.uint8:
        found = sorted({f"{picture.shape} {picture.dtype}" for picture in pixels})
        raise ValueError(f"the column {images!r} holds {', '.join(found[:3]) or 'nothing'}; all images must have one size and consist of bytes")
    return np.stack(pixels), np.asarray(table[labels], np.int64)
