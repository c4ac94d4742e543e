"""What the bench itself costs: `fit` against the loop that one would write by hand, one compiled scan of the same model, data and optimiser."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mesocosm.learning.fit import fit
from mesocosm.learning.optimizers import adam
from mesocosm.learning.streams import stream_key
from mesocosm.learning.supervised import Supervised
from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.tasks.linear_systems import LinearSystems
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "training_loop"
TITLE = "fit against a hand-written scan"
LEARNING_RATE = 1e-3
CHECKED_STEPS = 20
LIMIT = "The start and the end of a fit: abstract traces, first states, and the history on the host between chunks"
COMPILE_NOTE = "fit compiles at LLVM's level 1, the hand-written scan at jax.jit's default; the tracing is in both"


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
    return LinearAttention.create(size.dim, heads=size.heads, key_dim=size.dim, std=0.05, key=key)


def loss(model: LinearAttention, example: Any, key: Any) -> Any:
    """Mean squared error of the next state."""
    return jnp.mean((model(example.inputs) - example.targets) ** 2)


def train(size: Size) -> list[Row]:
    """A whole fit, from the first state to the model, compiled before; and the compile times apart."""
    task = LinearSystems.orthogonal(size.dim, length=size.length)
    learner = Supervised(jax.tree_util.Partial(build, size), task, loss, adam, {"learning_rate": LEARNING_RATE}, size.batch)
    first = fit(learner, CHECKED_STEPS, [0])
    checked = parameters(jax.tree.map(lambda leaf: leaf[0], first.model))
    reference = parameters(by_hand(size, task, CHECKED_STEPS)[1]())
    compile_seconds, run = by_hand(size, task, size.steps)
    ours = Contender("mesocosm", lambda: fit(learner, size.steps, [0]), lambda _: checked)
    theirs = Contender("hand-written scan", run, lambda _: reference)
    text = f"{size.steps} steps, batch {size.batch}"
    return [
        Comparison(NAME, "train", text, size.seconds, Target("ratio", "≥", 0.97), LIMIT).timed(ours, theirs, lambda _: reference),
        Comparison(NAME, "start and end of a fit", "1 step", 0.0).measured("seconds", min(fit_seconds(learner) for _ in range(5))),
        Comparison(NAME, "compile", text, 0.0).measured("seconds", first.compile_seconds, theirs.name, compile_seconds, COMPILE_NOTE),
    ]


def fit_seconds(learner: Supervised) -> float:
    """Of one step, compiled before."""
    began = time.perf_counter()
    fit(learner, 1, [0])
    return time.perf_counter() - began


def by_hand(size: Size, task: LinearSystems, steps: int) -> tuple[float, Callable[[], Any]]:
    """Seconds to compile, and the compiled training, which returns the model. Keys are derived as `fit` derives them, so that both learn the same."""
    optimizer = optax.adam(LEARNING_RATE)

    def step(carry: Any, number: Any) -> Any:
        model, state = carry
        data_key, loss_key = jax.random.split(jax.random.fold_in(stream_key(0, "data"), number))
        examples = jax.vmap(task.sample)(jax.random.split(data_key, size.batch))
        keys = jax.random.split(loss_key, size.batch)
        value, gradient = jax.value_and_grad(lambda m: jnp.mean(jax.vmap(loss, in_axes=(None, 0, 0))(m, examples, keys)))(model)
        updates, state = optimizer.update(gradient, state, model)
        return (optax.apply_updates(model, updates), state), (value, optax.tree.norm(gradient))

    def train(model: Any) -> Any:
        return jax.lax.scan(step, (model, optimizer.init(model)), jnp.arange(steps))

    model = build(size, stream_key(0, "init"))
    began = time.perf_counter()
    compiled = jax.jit(train).lower(model).compile()
    return time.perf_counter() - began, lambda: jax.block_until_ready(compiled(model))[0][0]


def parameters(model: LinearAttention) -> list[np.ndarray]:
    """Its arrays."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model)]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
