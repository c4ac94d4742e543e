"""An outer step of meta-learning through all inner steps: `Bilevel`, which computes inner steps again, against steps written one after another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mesocosm.studies.modular.config import PRESETS, Hyperteacher, Method, Training
from mesocosm.studies.modular.networks import FAST, inner_loop, learner
from mesocosm.studies.modular.teachers import Evaluation, TeacherArm, classes_loss, sizes_of, task_of
from mesocosm.tasks.task import batch
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "meta_learning"
TITLE = "outer steps through all inner steps, in float32"
PLAIN = "unrolled by hand"
AGAIN = "Every inner step is computed twice, so that its activations need not be kept"
METHODS: tuple[Method, ...] = ("linear", "maml")


@dataclass(frozen=True)
class Size:
    """The problem, tasks of a step, of them those that are timed, the widths of both networks, and seconds of timing."""

    problem: Hyperteacher
    tasks: int
    timed: int
    widths: dict[Method, int]
    layers: int
    seconds: float


PAPER = PRESETS["paper"].config.teacher
SIZES = {
    "tiny": Size(replace(PAPER, hidden=(4, 4, 4), points=4, normalising=8, modules=2), 2, 2, {"linear": 4, "maml": 4}, 3, 0.0),
    "small": Size(replace(PAPER, points=64), 16, 8, {"linear": 64, "maml": 64}, 3, 1.0),
    "full": Size(PAPER, 128, 8, {"linear": 128, "maml": 384}, 3, 10.0),
}


def cases(sizes: str) -> Sequence[Case]:
    """A linear hypernetwork, and MAML."""
    return [Case(method, 1, partial(compare, SIZES[sizes], method)) for method in METHODS]


def compare(size: Size, method: Method) -> list[Row]:
    """The gradient of a step on some of its tasks, timed; and the memory of the whole step."""
    training = Training(1, 1e-3, 0.03, size.widths[method], layers=size.layers, tasks=size.timed)
    arm = TeacherArm(size.problem, method, training, Evaluation())
    task = task_of(size.problem, 0, jax.random.key(0))
    model = inner_loop(method, training).start(learner(method, training, sizes_of(arm), task, classes_loss).build(jax.random.key(1)))

    def ours(model: Any, tasks: Any) -> Any:
        number = tasks.code.shape[0]
        trained = learner(method, replace(training, tasks=number), sizes_of(arm), task, classes_loss)
        loop = eqx.tree_at(lambda one: one.inner, trained, replace(inner_loop(method, training), checkpointed=True))
        return eqx.filter_grad(lambda m: jnp.mean(loop.losses(m, tasks, jax.random.key(2))))(model)

    theirs = partial(by_hand, method, training)
    programs = {name: jax.jit(function) for name, function in (("mesocosm", ours), (PLAIN, theirs))}
    few, all_tasks = (jax.eval_shape(lambda key, n=n: batch(task, key, n), jax.random.key(3)) for n in (size.timed, size.tasks))
    drawn = batch(task, jax.random.key(3), size.timed)
    mebibytes = {name: program.lower(model, all_tasks).compile().memory_analysis().temp_size_in_bytes / 2**20 for name, program in programs.items()}
    compiled = {name: program.lower(model, few).compile() for name, program in programs.items()}
    sides = [Contender(name, partial(_wait, program, model, drawn), _numbers, size.timed / size.tasks) for name, program in compiled.items()]
    text = f"{size.tasks} tasks of 2 x {size.problem.points} points, width {training.width} x {size.layers}, {training.inner_steps} inner steps"
    head = Comparison(NAME, f"{method}, gradient", text, size.seconds, Target("ratio", "≥", 1.5), AGAIN)
    reference = _numbers(_wait(compiled[PLAIN], model, drawn))
    memory = Comparison(NAME, f"{method}, memory", text, 0.0, Target("ratio", "≥", 4.0))
    return [head.timed(*sides, lambda _: reference), memory.measured("MiB", mebibytes["mesocosm"], PLAIN, mebibytes[PLAIN])]


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
