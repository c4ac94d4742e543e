"""What the bench itself costs: `fit` against the loop that one would write by hand, one compiled scan of the same model, data and optimiser."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mesocosm.learning.fit import fit
from mesocosm.learning.streams import stream_key
from mesocosm.learning.supervised import Supervised, adam
from mesocosm.nn.attention import LinearAttention
from mesocosm.tasks.linear_systems import LinearSystems
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "training_loop"
TITLE = "fit against a hand-written scan"
LEARNING_RATE = 1e-3
CHECKED_STEPS = 20


@dataclass(frozen=True)
class Size:
    """Of the training: sequences of `length` tokens in `dim` dimensions, `steps` steps, `seconds` of timing."""

    dim: int
    length: int
    batch: int
    heads: int
    steps: int
    seconds: float


SIZES = {"tiny": Size(2, 4, 2, 1, 20, 0.0), "small": Size(10, 50, 64, 4, 500, 2.0), "full": Size(10, 50, 64, 4, 2000, 60.0)}


def cases(sizes: str) -> Sequence[Case]:
    """One training."""
    return [Case("train", 1, partial(train, SIZES[sizes]))]


def build(size: Size, key: Any) -> LinearAttention:
    """One layer of linear attention."""
    return LinearAttention.create(size.dim, heads=size.heads, key_dim=size.dim, key=key)


def loss(model: LinearAttention, example: Any, key: Any) -> Any:
    """Mean squared error of the next state."""
    return jnp.mean((model(example.inputs) - example.targets) ** 2)


def train(size: Size) -> list[Row]:
    """Overhead of a whole fit, with its start and end, and the compile times apart."""
    task = LinearSystems.orthogonal(size.dim, length=size.length)
    learner = Supervised(jax.tree_util.Partial(build, size), task, loss, adam, {"learning_rate": LEARNING_RATE}, size.batch)
    reference = [leaf.astype(np.float64) for leaf in parameters(by_hand(size, task, CHECKED_STEPS)[1]())]
    first = fit(learner, CHECKED_STEPS, [0])
    compile_by_hand, hand = by_hand(size, task, size.steps)
    compiles = Comparison(NAME, "compile", "", 0.0).measured("seconds", first.compile_seconds, "hand-written scan", compile_by_hand, COMPILE_NOTE)
    ours = Contender("mesocosm", lambda: fit(learner, size.steps, [0]).model, parameters)
    theirs = Contender("hand-written scan", hand)
    text = f"{size.steps} steps, batch {size.batch}"
    return [Comparison(NAME, "train", text, size.seconds, Target("ratio", "≥", 0.97), LIMIT).timed(ours, theirs), compiles]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
