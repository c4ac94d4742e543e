"""The gradient of an outer step through all inner steps: `ChunkedBilevel`, a few tasks at a time, against all tasks at once, with inner steps written out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mesocosm.learning.chunked_bilevel import ChunkedBilevel
from mesocosm.numerics import programs
from mesocosm.studies.modular.config import PRESETS, Evaluation, Hyperteacher, Method, Training
from mesocosm.studies.modular.networks import FAST, inner_loop, learner
from mesocosm.studies.modular.teachers import TeacherArm, classes_loss, sizes_of, task_of
from mesocosm.tasks.task import batch
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "meta_learning"
TITLE = "outer gradients through all inner steps, in float32"
PLAIN = "unrolled by hand, all tasks at once"
PRODUCTS = "Nearly all the time of both goes into the same matrix products, at the speed of the processor"
METHODS: tuple[Method, ...] = ("linear", "maml")


@dataclass(frozen=True)
class Side:
    """Width of a network, tasks of a chunk, and tasks of the step that are timed; its memory is that of all tasks."""

    width: int
    chunk: int
    timed: int


@dataclass(frozen=True)
class Size:
    """The problem, tasks of a step, the networks, their hidden layers, and seconds of timing."""

    problem: Hyperteacher
    tasks: int
    networks: dict[Method, Side]
    layers: int
    seconds: float


PAPER = replace(PRESETS["paper"].config.teacher, modules=4)
"""Codes have 16 numbers, and the linear hypernetwork 315,592 parameters, as in the authors' code."""
SIZES = {
    "tiny": Size(replace(PAPER, hidden=(4, 4, 4), points=4, normalising=8, modules=2), 4, {"linear": Side(4, 2, 4), "maml": Side(4, 1, 2)}, 3, 0.0),
    "small": Size(replace(PAPER, points=64), 16, {"linear": Side(64, 8, 16), "maml": Side(64, 1, 8)}, 3, 1.0),
    "full": Size(PAPER, 128, {"linear": Side(128, 32, 64), "maml": Side(384, 1, 4)}, 3, 10.0),
}


def cases(sizes: str) -> Sequence[Case]:
    """A linear hypernetwork, and MAML."""
    return [Case(method, 1, partial(compare, SIZES[sizes], method)) for method in METHODS]


def compare(size: Size, method: Method) -> list[Row]:
    """The gradient of a step on some of its tasks, timed; and the memory of the whole step."""
    side = size.networks[method]
    training = Training(1, 1e-3, 0.03, side.width, layers=size.layers, tasks=side.timed)
    arm = TeacherArm(size.problem, method, training, Evaluation())
    task = task_of(size.problem, 0, jax.random.key(0))
    model = inner_loop(method, training).start(learner(method, training, sizes_of(arm), task, classes_loss).build(jax.random.key(1)))

    def ours(model: Any, tasks: Any) -> Any:
        whole = learner(method, replace(training, tasks=tasks.code.shape[0]), sizes_of(arm), task, classes_loss)
        chunked = ChunkedBilevel(**{field.name: getattr(whole, field.name) for field in fields(whole)}, chunk=side.chunk)
        return eqx.filter_grad(lambda m: chunked.objective(m, tasks, jax.random.key(2))[0])(model)

    made = {"mesocosm": programs.jit(ours), PLAIN: jax.jit(partial(by_hand, method, training))}
    timed, all_tasks = (jax.eval_shape(lambda key, n=n: batch(task, key, n), jax.random.key(3)) for n in (side.timed, size.tasks))
    drawn = batch(task, jax.random.key(3), side.timed)
    reserved = {name: program.lower(model, all_tasks).compile().memory_analysis().temp_size_in_bytes / 2**20 for name, program in made.items()}
    compiled = {name: program.lower(model, timed).compile() for name, program in made.items()}
    few = jax.tree.map(lambda leaf: leaf[: 2 * side.chunk], drawn)
    exact = {name: _in_float64(function, model, few) for name, function in (("mesocosm", ours), (PLAIN, partial(by_hand, method, training)))}
    sides = [
        Contender(name, partial(_wait, program, model, drawn), lambda _, answer=exact[name]: answer, side.timed / size.tasks)
        for name, program in compiled.items()
    ]
    points = f"{size.tasks} tasks of 2 x {size.problem.points} points, in chunks of {side.chunk}"
    text = f"{points}; width {side.width} x {size.layers}, {training.inner_steps} inner steps"
    head = Comparison(NAME, f"{method}, gradient", text, size.seconds, Target("ratio", "≥", 1.5), PRODUCTS)
    memory = Comparison(NAME, f"{method}, memory", text, 0.0, Target("ratio", "≥", 4.0))
    return [head.timed(*sides, lambda _: exact[PLAIN]), memory.measured("MiB", reserved["mesocosm"], PLAIN, reserved[PLAIN])]


def by_hand(method: Method, training: Training, model: Any, tasks: Any) -> Any:
    """Inner steps of Adam in a Python loop, all tasks at once."""
    optimizer = optax.adamw(training.inner_rate, eps_root=1e-7, weight_decay=0.0)
    chosen = FAST[method]

    def of_task(model: Any, task: Any) -> Any:
        network, factor = model.network, jnp.exp(model.log_rates)
        fast = chosen(network)
        state = optimizer.init(eqx.filter(fast, eqx.is_inexact_array))
        for _ in range(training.inner_steps):
            gradient = eqx.filter_grad(lambda fast: classes_loss(eqx.tree_at(chosen, network, fast, is_leaf=_absent), task.support, None))(fast)
            moves, state = optimizer.update(gradient, state, eqx.filter(fast, eqx.is_inexact_array))
            fast = eqx.apply_updates(fast, jax.tree.map(lambda move: factor * move, moves))
        return classes_loss(eqx.tree_at(chosen, network, fast, is_leaf=_absent), task.query, None)

    return eqx.filter_grad(lambda model: jnp.mean(jax.vmap(partial(of_task, model))(tasks)))(model)


def _in_float64(function: Callable[..., Any], *given: Any) -> list[np.ndarray]:
    """The gradient of some tasks. In single precision, ten steps of Adam amplify rounding to a hundredth of a gradient, whatever computes it."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64 if np.asarray(leaf).dtype == np.float32 else None), given)
        return _numbers(jax.jit(function)(*wide))


def _absent(leaf: Any) -> bool:
    return leaf is None


def _wait(program: Callable[..., Any], *given: Any) -> Any:
    return jax.block_until_ready(program(*given))


def _numbers(gradient: Any) -> list[np.ndarray]:
    """The gradient over its largest entry."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(gradient, eqx.is_inexact_array))]
    largest = max(np.abs(leaf).max() for leaf in leaves)
    return [leaf / largest for leaf in leaves]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
