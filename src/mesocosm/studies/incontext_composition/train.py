"""Trains models on tasks in context, and tests them on training's pairs of modules, on held-out pairs and on tasks without shared modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm import nn
from mesocosm.analysis.in_context.prompt_regression import Score, decoded, explained_by_context
from mesocosm.analysis.modules.alignment import alignment, code_map, in_teacher_basis
from mesocosm.studies.incontext_composition.networks import (
    MODULE_GAIN,
    MODULES,
    Arm,
    Executor,
    InContext,
    WithCode,
    draw_labelled,
    draw_prompts,
    executor_learner,
    learner,
    with_code,
)
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.compositional_supports import masks_of
from mesocosm.tasks.hyperteacher import Hyperteacher, Labelled, Prompt, Prompts, Unstructured
from mesocosm.tasks.task import batch, digest

SETS = ("train", "held_out", "shared", "unstructured")
"""Test prompts: training's pairs of modules, held-out ones, pairs that Connected and Disconnected both hold out, and training's pairs of modules of their
own."""
SHARED = ((0, 3), (0, 4), (1, 3), (1, 4), (1, 5), (2, 4), (2, 5))
"""The pairs that Connected and Disconnected both hold out, counted from 0."""
ROWS = 252
"""Masks of each set, after repetition: a multiple of the length of every list of pairs."""
CHUNK = 128
"""Prompts that a model is evaluated on at a time."""
POINTS = 16
"""Points of a task on which a given code is executed."""


# --- models in context ------------------------------------------------------------------------------------------------


def train(arm: Arm, context: Context) -> Tables:
    """Train and measure, also during training; compare modules."""
    prompting, training = arm.shape.prompting, arm.training
    drawn = context.evaluate(Partial(draw_prompts, arm.support, prompting.pairs, prompting.queries), context.keys("env"))
    sets = context.evaluate(Partial(draw_sets, arm.evaluation.tasks), context.keys("eval"), drawn)
    fingerprints = digests(sets, len(context.seeds))
    seen = drawn
    if arm.shape.model == "told":
        seen, sets = WithCode(drawn), with_code(sets)
    every = -(-training.steps // training.points)
    fitted = context.fit("model", learner(arm, seen, sets), training.steps, per_seed=True, probe=(measure, every))
    context.publish("model", fitted.model)
    found, steps = fitted.probes, fitted.probe_steps
    columns: dict[str, Any] = {name: found["r2"][..., place] for place, name in enumerate(SETS)}
    columns |= {f"{name}_error": found["error"][..., place] for place, name in enumerate(SETS)}
    columns |= {name: found[name] for name in ("told", "shuffled")}
    shape = columns["train"].shape
    last: dict[str, Any] = {name: values[:, -1] for name, values in columns.items()}
    labels: dict[str, Any] = {"model": arm.shape.mixer or arm.shape.model, "support": arm.support, "decay": arm.decay}
    during = {"tasks": np.broadcast_to(training.tasks * steps, shape), "digest": np.broadcast_to(np.asarray(fingerprints)[:, None], shape)}
    tables = {
        "explained": context.rows(**labels, digest=fingerprints, **last),
        "curve": context.rows({"step": steps.tolist()}, **labels, **during, **columns),
    }
    return tables | ({"modules": _aligned(arm, context, fitted.model, drawn, sets)} if arm.shape.model == "hypernet" else {})


def draw_sets(tasks: int, key: PRNGKeyArray, task: Prompts) -> Prompt:
    """The test prompts of one seed, with axes (sets, tasks) in front."""
    shared_key, own_key = jax.random.split(key)
    of = task.task
    assert isinstance(of, Hyperteacher)
    shared = _on_lists(of, lambda chosen, key: batch(Prompts(chosen, task.queries), key, tasks, "iid"), shared_key)
    own = batch(Prompts(Unstructured(of, MODULE_GAIN), task.queries), own_key, tasks, "iid")
    return jax.tree.map(lambda some, other: jnp.concatenate([some, other[None]]), shared, own)


def _on_lists(task: Hyperteacher, draw: Callable[[Hyperteacher, PRNGKeyArray], Any], key: PRNGKeyArray) -> Any:
    """What is drawn from the task with training's masks, with held-out ones, and with those of `SHARED`, each with a key of its own; stacked."""
    lists = (task.support.train, task.support.held_out, jnp.asarray(masks_of(MODULES, SHARED)))
    masks = jnp.stack([jnp.tile(rows, (ROWS // len(rows), 1)) for rows in lists])

    def with_masks(part: tuple[Int[Array, "rows modules"], PRNGKeyArray]) -> Any:
        rows, key = part
        return draw(Hyperteacher(task.teacher, CombinationSplit(rows, rows), task.points, task.weighting, task.inputs), key)

    return jax.lax.map(with_masks, (masks, jax.random.split(key, len(lists))))


def measure(learner: InContext, state: Any, key: PRNGKeyArray) -> dict[str, Array]:
    """R^2 on each set, and how well the code of held-out tasks can be read from the residual stream.

    The probe is fitted on training's pairs; `shuffled` is that of a probe which is fitted on other tasks' codes.
    """
    model, sets = state.model, learner.sets
    known, held_out = streams(model, jax.tree.map(lambda leaf: leaf[:2], sets))
    codes = sets.code
    score = explain(model, sets)
    told, shuffled = (decoded(known, labels, held_out, codes[1]) for labels in (codes[0], jnp.roll(codes[0], 1, axis=0)))
    return {"r2": score.value, "error": score.error, "told": told, "shuffled": shuffled}


def explain(model: Any, sets: Prompt) -> Score:
    """R^2 on each set, pooled over its tasks."""
    predictions = _on_all(lambda prompt: model(prompt.context, prompt.queries), sets)
    return jax.vmap(explained_by_context)(predictions, sets.targets, sets.context[..., -1:])


def streams(model: Any, sets: Prompt) -> Float[Array, "sets tasks dim"]:
    """The residual stream behind the last block where the model is read."""
    return _on_all(lambda prompt: model.stream(prompt.context, prompt.queries), sets)


def _on_all(function: Any, sets: Prompt) -> Array:
    """A function of each prompt, some at a time."""
    shape = sets.code.shape[:2]
    found = jax.lax.map(function, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), sets), batch_size=CHUNK)
    return found.reshape(*shape, *found.shape[1:])


# --- modules ----------------------------------------------------------------------------------------------------------


def _aligned(arm: Arm, context: Context, models: nn.Bottleneck, drawn: Any, sets: Prompt) -> Any:
    """How far the modules of each seed's model are its teacher's, and for comparison how far they are another teacher's."""
    students, codes = context.evaluate(read_modules, models, sets)
    others = jax.vmap(lambda key: jax.random.fold_in(key, 1))(context.keys("eval"))
    foreign = context.evaluate(Partial(draw_prompts, arm.support, arm.shape.prompting.pairs, arm.shape.prompting.queries), others)
    own, other = [], []
    for place, (student, inferred) in enumerate(zip(students, codes, strict=True)):
        in_basis = in_teacher_basis(student, code_map(inferred, np.asarray(sets.plain_code[place, 0])))
        for found, tasks in ((own, drawn), (other, foreign)):
            found.append(alignment(np.asarray(tasks.task.teacher.layers[0][place]), in_basis).mean)
    return context.rows(own=own, foreign=other)


def read_modules(model: nn.Bottleneck, sets: Prompt) -> tuple[Float[Array, "code hidden inputs"], Float[Array, "tasks code"]]:
    """The student's modules, one matrix for each entry of the code, and the codes that it infers for training's pairs."""
    assert isinstance(model.execute, nn.Composed)
    hypernetwork = model.execute.hypernetwork
    modules = jnp.stack([hypernetwork(code[None]).inward for code in jnp.eye(hypernetwork.code_size)])
    return modules, _on_all(lambda prompt: model.code(prompt.context), jax.tree.map(lambda leaf: leaf[:1], sets))[0]


# --- execution of given codes -----------------------------------------------------------------------------------------


def train_executor(executor: Executor, context: Context) -> Tables:
    """Train a hypernetwork that is given the code, and measure R^2 on the sets whose modules are shared."""
    drawn = context.evaluate(Partial(draw_labelled, executor.support, POINTS), context.keys("env"))
    models = context.fit("executor", executor_learner(executor, drawn), executor.training.steps, per_seed=True).model
    context.publish("executor", models)
    score = context.evaluate(Partial(execute, executor.evaluation.tasks), context.keys("eval"), models, drawn)
    columns = {name: score.value[:, place] for place, name in enumerate(SETS[:3])}
    columns |= {f"{name}_error": score.error[:, place] for place, name in enumerate(SETS[:3])}
    return {"executed": context.rows(support=executor.support, digest=digests(drawn, len(context.seeds)), **columns)}


def execute(tasks: int, key: PRNGKeyArray, model: nn.Composed, task: Hyperteacher) -> Score:
    """R^2 of given codes on new tasks with training's pairs, held-out ones and those of `SHARED`; the base is the mean of a task's own outputs."""
    examples: Labelled = _on_lists(task, lambda chosen, key: batch(chosen, key, tasks, "iid"), key)
    predictions = jax.vmap(jax.vmap(model))(examples.plain_code, examples.inputs)
    return jax.vmap(explained_by_context)(predictions, examples.outputs, examples.outputs)


def digests(parts: Any, seeds: int) -> list[str]:
    """A fingerprint of each seed's part."""
    return [digest(jax.tree.map(lambda leaf, place=place: leaf[place], parts)) for place in range(seeds)]
