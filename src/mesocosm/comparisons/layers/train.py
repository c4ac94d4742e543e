"""Trains networks with several learning rates on pilot seeds, or with the chosen one, and measures them on new examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.comparisons.layers.config import Evaluation, Training
from mesocosm.comparisons.layers.networks import Posed, Shape, build, constant_loss, loss, posed_loss, sizes_of
from mesocosm.comparisons.layers.problems import PROBLEMS
from mesocosm.learning.fit import Fitted
from mesocosm.learning.gradient_learner import Transform
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.supervised import Supervised
from mesocosm.nn import SequenceModel
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.task import Task, batch, digest


@dataclass(frozen=True)
class Cell:
    """A layer on a task.

    Attributes:
        shape: the network.
        rates: the learning rates: one, or all that are tried, of which seed number i of the trial gets number i modulo their number.
    """

    shape: Shape
    training: Training
    evaluation: Evaluation
    rates: tuple[float, ...]


class Measured(NamedTuple):
    """Measurements of one network, with axes (splits, examples).

    Attributes:
        losses: of each example.
        right: fraction of the symbols of each example whose logit is largest; 0 for vectors.
        constant: the loss of the best constant prediction on the split.
        examples: what was measured on.
    """

    losses: Float[Array, "splits examples"]
    right: Float[Array, "splits examples"]
    constant: Float[Array, " splits"]
    examples: Posed


def search(cell: Cell, context: Context) -> Tables:
    """Train with every learning rate, on pilot seeds of its own, and measure the loss on new examples."""
    fitted, tasks, rates = _fit(cell, context)
    found = _measure(cell, context, fitted, tasks)
    names: dict[str, Any] = {"layer": cell.shape.layer, "task": cell.shape.task}
    return {"pilot": context.rows(**names, learning_rate=rates, loss=found.losses[:, 0].mean(axis=1), diverged=fitted.diverged)}


def train(cell: Cell, context: Context) -> Tables:
    r"""Train with the chosen learning rate, and measure on new examples, and on held-out ones where the task has any.

    The score is $1 - L / L_0$, with the loss $L_0$ of the best constant prediction: 1 is perfect, 0 no better than a constant.
    """
    fitted, tasks, rates = _fit(cell, context)
    found = _measure(cell, context, fitted, tasks)
    examples, seeds, splits = cell.evaluation.examples, range(len(context.seeds)), PROBLEMS[cell.shape.task].splits
    losses, errors = found.losses.mean(axis=2), found.losses.std(axis=2, ddof=1) / examples**0.5
    axes = {"split": splits}
    digests = [[digest([leaf[seed, place] for leaf in found.examples]) for place in range(len(splits))] for seed in seeds]
    names: dict[str, Any] = {"layer": cell.shape.layer, "task": cell.shape.task}
    measured = {"score": 1 - losses / found.constant, "score_error": errors / found.constant, "loss": losses, "constant": found.constant}
    score = context.rows(axes, **names, digest=np.array(digests), learning_rate=rates, diverged=fitted.diverged, **measured)
    if not np.issubdtype(found.examples.targets.dtype, np.integer):
        return {"score": score}
    right = {"accuracy": found.right.mean(axis=2), "accuracy_error": found.right.std(axis=2, ddof=1) / examples**0.5}
    return {"score": score, "accuracy": context.rows(axes, **names, digest=np.array(digests), **right)}


def _fit(cell: Cell, context: Context) -> tuple[Fitted, Any, np.ndarray]:
    """Train every seed; a seed that diverges keeps its last finite state."""
    tasks = stacked([PROBLEMS[cell.shape.task].draw(seed, cell.shape.length) for seed in context.seeds])
    rates = np.resize(np.array(cell.rates), len(context.seeds))
    training = cell.training
    options = {"warmup": float(training.warmup), "steps": float(training.steps), "floor": 0.1, "clip_norm": 1.0, "weight_decay": training.weight_decay}
    learner = Supervised(
        build=Partial(build, cell.shape),
        task=tasks,
        loss=Partial(loss, cell.shape.task),
        optimizer=flat_adamw,
        hyperparameters={"learning_rate": jnp.asarray(rates, jnp.float32), **options},
        batch_size=training.batch_size,
    )
    return context.fit("network", learner, training.steps, per_seed=True, nonfinite="freeze"), tasks, rates


def flat_adamw(**hyperparameters: Any) -> Transform:
    """AdamW on all parameters as one vector: the same steps, in a program with one update instead of one for each array."""
    return optax.flatten(adamw(**hyperparameters))


def _measure(cell: Cell, context: Context, fitted: Fitted, tasks: Any) -> Measured:
    return context.evaluate(Partial(measure, cell.shape, cell.evaluation.examples), fitted.model, tasks, shared=(context.evaluation_key,))


def stacked(tasks: Sequence[Task]) -> Any:
    """Tasks that differ in their numbers only, as one with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks)


def measure(shape: Shape, examples: int, model: SequenceModel, task: Task, key: PRNGKeyArray) -> Measured:
    """Measure one network on new examples of every split; the keys of the splits do not depend on the layer."""
    problem, outputs = PROBLEMS[shape.task], sizes_of(shape.task, shape.length).outputs
    keys = jax.random.split(key, len(problem.splits))
    sets = [jax.vmap(problem.pose)(batch(task, one, examples, split)) for one, split in zip(keys, problem.splits, strict=True)]
    posed = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)

    def one(example: Posed) -> tuple[Array, Array]:
        answers = model(example.inputs)
        right = jnp.zeros(()) if not jnp.issubdtype(example.targets.dtype, jnp.integer) else fraction_right(answers, example)
        return posed_loss(answers, example), right

    losses, right = jax.lax.map(lambda some: jax.lax.map(one, some, batch_size=64), posed)
    return Measured(losses, right, jax.vmap(lambda some: constant_loss(some, outputs))(posed), posed)


def fraction_right(logits: Float[Array, "n symbols"], example: Posed) -> Float[Array, ""]:
    """The fraction of scored symbols whose logit is the largest."""
    return jnp.sum(example.weights * (jnp.argmax(logits, axis=-1) == example.targets)) / jnp.sum(example.weights)
