"""Files in the formats of real data sets, with made-up pictures: what tests read where nothing is installed."""

import gzip
import struct

import numpy as np


def idx(array):
    """Bytes in the idx format, gzipped."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), 1)


def pictures(number, side=4, classes=10):
    """Random pixels, labels in turn."""
    random = np.random.default_rng(number)
    return random.integers(0, 256, (number, side, side), dtype=np.uint8), np.arange(number) % classes


def write_fashion(folder, train=60000, test=10000):
    """The four files of Fashion-MNIST, a hundred pictures again and again."""
    (folder / "fashion-mnist").mkdir(exist_ok=True)
    pixels, labels = pictures(100, 28)
    for name, number in (("train", train), ("t10k", test)):
        rows = np.arange(number) % 100
        (folder / "fashion-mnist" / f"{name}-images-idx3-ubyte.gz").write_bytes(idx(pixels[rows]))
        (folder / "fashion-mnist" / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx(labels[rows]))


def write_mnist(folder, number=5000):
    """The table of MNIST-5k."""
    pixels, labels = pictures(100, 28)
    lines = [",".join(map(str, [*picture.ravel().tolist(), int(label)])) for picture, label in zip(pixels, labels, strict=True)]
    (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress("\n".join(lines[row % 100] for row in range(number)).encode(), 1))
