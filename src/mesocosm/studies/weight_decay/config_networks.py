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
    each other. With four, decays of 1 and more are not learned in time."""
    label_noise: float = 0.05
    """(paper)"""
    network: Network = field(default_factory=Network)
    """Two layers of attention and no MLP (paper); the width is ours."""
    training: Training = field(default_factory=lambda: Training(steps=1500, learning_rate=3e-3, batch_size=32, b2=0.99))
    decays: tuple[float, ...] = (0.0, 0.5, 1.0, 3.0)
    """Of attention; none for no trials."""
    others: float = 0.1
    """Decay of everything else (paper)."""
    ordered: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Decays whose order is judged; networks learn the task with each of them."""
    judged: float = 1.0
    """The decay at which the claim is judged."""
    moved: float = 1.0
    """In the control, of everything but attention, which has none."""
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
    training: Training = field(default_factory=lambda: Training(steps=1500, learning_rate=3e-3, batch_size=16, warmup=100, every=500))
    """So long that the loss is well below that of pairs of neighbours, which a decoder can predict without attention."""
    decays: tuple[float, ...] = (0.0, 0.5, 0.8)
    ordered: tuple[float, ...] = (0.0, 0.5, 0.8)
    judged: float = 0.8
    """Times the sum of learning rates it is 3.5, near the 3.4 that we estimate for 0.1 in the paper (10 billion tokens, 6e-4 at most)."""
    moved: float = 0.8
    """In the control, of the MLPs; attention has none."""
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
    training: Training = field(default_factory=lambda: Training(steps=1500, learning_rate=1e-3, batch_size=32, every=500))
    decays: tuple[float, ...] = (0.0, 1.25, 2.5)
    ordered: tuple[float, ...] = (0.0, 1.25, 2.5)
    judged: float = 2.5
    """Times the sum of learning rates it is 3.5, too."""
    moved: float = 2.5
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
