"""Batches of any task for code outside JAX: an endless NumPy iterator, and a PyTorch data set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, get_args

import jax
import numpy as np

from mesocosm.numerics.programs import jit
from mesocosm.tasks.task import Split, Task, batch

_batch = jit(batch, static_argnums=(2, 3))


def numpy_batches(task: Task[Any], size: int, *, split: Split = "train", seed: int = 0, start: int = 0) -> Iterator[Any]:
    """New batches without end, with NumPy arrays in place of JAX's.

    Batch number i depends on the task, the split, the seed and i alone, so that an interrupted loop can go on with `start=i`.

    Raises:
        ValueError: there is no such split.
    """
    _check_split(split)
    key = jax.random.key(seed)
    return (jax.tree.map(np.array, _batch(task, jax.random.fold_in(key, step), size, split)) for step in count(start))


def torch_batches(task: Task[Any], size: int, *, split: Split = "train", seed: int = 0, start: int = 0) -> Any:
    """The batches of `numpy_batches` as a `torch.utils.data.IterableDataset` of tensors; pass it to a loader with `batch_size=None`.

    Loading in worker processes is refused, because JAX's threads do not survive a fork.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: there is no such split, or a worker process of a loader iterates over it.
    """
    _check_split(split)
    try:
        import torch  # pyright: ignore[reportMissingImports]
        from torch.utils import data  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("torch_batches needs PyTorch; to get it: python -m pip install torch") from None

    class Batches(data.IterableDataset):  # pyright: ignore[reportUntypedBaseClass]
        def __iter__(self) -> Iterator[Any]:
            if data.get_worker_info() is not None:
                raise ValueError("torch_batches cannot be read by worker processes; make the loader with num_workers=0")
            return (jax.tree.map(torch.from_numpy, one) for one in numpy_batches(task, size, split=split, seed=seed, start=start))

    return Batches()


def _check_split(split: str) -> None:
    if split not in get_args(Split):
        raise ValueError(f"no split {split!r}; there are {', '.join(get_args(Split))}")
