"""A tensor of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint, read lazily.

    Attributes:
        shape, dtype: as stored (`dtype` as named by safetensors).
        read: reads its values.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]
