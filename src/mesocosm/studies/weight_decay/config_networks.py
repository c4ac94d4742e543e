"""Configs of the study's transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Network:
    """Size of a transformer."""

    layers: int = 2
    dim: int = 64
    heads: int = 4


@dataclass(frozen=True)
class Training:
    """AdamW with warm-up, then a constant learning rate."""

    steps: int
    learning_rate: float
    batch_size: int
    warmup: int = 200
    b2: float = 0.95
    """Of the paper's language models, according to an index of its Table 2."""
    clip_norm: float = 1.0
    every: int = 100
    """Steps between two measurements of the products."""


@dataclass(frozen=True)
class Recall:
    """Associative recall by attention alone (Sec. 4.1)."""

    pairs: int = 20
    """Keys in the context (paper)."""
    queries: int = 20
    """Queries per context. The paper has one query and batches of 128 contexts; here each of 32 contexts is asked for all its keys, whose queries do not see
    each other. With one query, or four, decays of 1 and more are not learned in time."""
    label_noise: float = 0.05
    """(paper)"""
    network: Network = field(default_factory=Network)
    """Two layers of attention and no MLP (paper); the width is ours."""
    training: Training = field(default_factory=lambda: Training(steps=1500, learning_rate=3e-3, batch_size=32, b2=0.99))
    decays: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 3.0)
    """Of attention; none for no trials."""
    others: float = 0.1
    """Decay of everything else (paper)."""
    judged: float = 1.0
    """The decay at which the claim is judged; in the control, everything but attention has it."""
    seeds: int = 10
    over_seeds: Literal["vmap", "map"] = "map"
    test: int = 2048
    """Queries on which a network is tested, without noise."""


@dataclass(frozen=True)
class Language:
    """A small decoder on Python's manual (Sec. 4.2)."""

    vocabulary: int = 512
    """Byte pairs."""
    length: int = 64
    network: Network = field(default_factory=Network)
    training: Training = field(default_factory=lambda: Training(steps=500, learning_rate=3e-3, batch_size=16, warmup=100))
    decays: tuple[float, ...] = (0.0, 0.75, 2.5, 7.5)
    judged: float = 2.5
    """Times the sum of learning rates it is 3.4, which we estimate for 0.1 in the paper (10 billion tokens, 6e-4 at most). In the control, MLPs have it."""
    others: float = 0.1
    """Decay of everything else."""
    seeds: int = 10
    over_seeds: Literal["vmap", "map"] = "map"
    windows: int = 512
    """Windows of held-out text on which a decoder is tested."""


@dataclass(frozen=True)
class Pictures:
    """A small vision transformer on pictures that a package ships, a stand-in for ImageNet (Sec. 4.3)."""

    name: str = "digits"
    shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 10
    patch: int = 2
    network: Network = field(default_factory=Network)
    training: Training = field(default_factory=lambda: Training(steps=600, learning_rate=1e-3, batch_size=32))
    decays: tuple[float, ...] = (0.0, 2.0, 6.0)
    judged: float = 6.0
    others: float = 0.1
    seeds: int = 10
    over_seeds: Literal["vmap", "map"] = "map"


@dataclass(frozen=True)
class Arm:
    """One network of a task.

    Attributes:
        of: task, size and training.
        attention: decay of the matrices of attention.
        elsewhere: decay of the MLPs, or of everything else if there are none.
    """

    of: Recall | Language | Pictures
    attention: float
    elsewhere: float
