"""Trains models on tasks in context, and tests them on training's pairs of modules, on held-out pairs and on tasks without shared modules."""

from __future__ import annotations

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
    INPUTS,
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
from mesocosm.tasks.hyperteacher import Hyperteacher, Prompt, Prompts, Teacher, Unstructured
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
"""Points of a task on which a hypernetwork that is given the code is trained."""


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
    columns = scores(found["r2"], found["error"]) | {name: found[name] for name in ("decoded", "decoded_shuffled")}
    shape = columns["train"].shape
    last: dict[str, Any] = {name: values[:, -1] for name, values in columns.items()}
    labels: dict[str, Any] = {"model": arm.shape.mixer or arm.shape.model, "support": arm.support, "decay": arm.decay}
    during = {"tasks": np.broadcast_to(training.tasks * steps, shape), "digest": np.broadcast_to(np.asarray(fingerprints)[:, None], shape)}
    tables = {
        "explained": context.rows(**labels, digest=fingerprints, **last),
        "curve": context.rows({"step": steps.tolist()}, **labels, **during, **columns),
    }
    if arm.shape.model == "hypernet":
        modules, codes = context.evaluate(read_modules, fitted.model, sets)
        tables["modules"] = _aligned(arm.support, context, modules, codes, drawn.task.teacher, sets)
    return tables


def draw_sets(tasks: int, key: PRNGKeyArray, task: Prompts) -> Prompt:
    """The test prompts of one seed, with axes (sets, tasks) in front; each set has a key of its own."""
    shared_key, own_key = jax.random.split(key)
    of = task.task
    assert isinstance(of, Hyperteacher)
    lists = (of.support.train, of.support.held_out, jnp.asarray(masks_of(MODULES, SHARED)))
    masks = jnp.stack([jnp.tile(rows, (ROWS // len(rows), 1)) for rows in lists])

    def with_masks(part: tuple[Int[Array, "rows modules"], PRNGKeyArray]) -> Prompt:
        rows, key = part
        chosen = Hyperteacher(of.teacher, CombinationSplit(rows, rows), of.points, of.weighting, of.inputs)
        return batch(Prompts(chosen, task.queries), key, tasks, "iid")

    shared = jax.lax.map(with_masks, (masks, jax.random.split(shared_key, len(lists))))
    own = batch(Prompts(Unstructured(of, MODULE_GAIN), task.queries), own_key, tasks, "iid")
    return jax.tree.map(lambda some, other: jnp.concatenate([some, other[None]]), shared, own)


def measure(learner: InContext, state: Any, key: PRNGKeyArray) -> dict[str, Array]:
    """R^2 on each set, and how well the code of held-out tasks can be read from the residual stream.

    The probe is fitted on training's pairs; `decoded_shuffled` is that of a probe which is fitted on other tasks' codes.
    """
    model, sets = state.model, learner.sets
    known, held_out = streams(model, jax.tree.map(lambda leaf: leaf[:2], sets))
    codes = sets.code
    own, others = (decoded(known, labels, held_out, codes[1]) for labels in (codes[0], jnp.roll(codes[0], 1, axis=0)))
    score = explain(model, sets)
    return {"r2": score.value, "error": score.error, "decoded": own, "decoded_shuffled": others}


def explain(model: Any, sets: Prompt) -> Score:
    """R^2 on each set, pooled over its tasks."""
    return _score(_on_all(lambda prompt: model(prompt.context, prompt.queries), sets), sets)


def _score(predictions: Float[Array, "sets tasks queries outputs"], sets: Prompt) -> Score:
    return jax.vmap(explained_by_context)(predictions, sets.targets, sets.context[..., -1:])


def scores(values: Any, errors: Any) -> dict[str, Any]:
    """Columns of R^2 on each set and of its standard errors; the sets are the last axis."""
    columns = {name: values[..., place] for place, name in enumerate(SETS)}
    return columns | {f"{name}_error": errors[..., place] for place, name in enumerate(SETS)}


def streams(model: Any, sets: Prompt) -> Float[Array, "sets tasks dim"]:
    """The residual stream behind the last block where the model is read."""
    return _on_all(lambda prompt: model.stream(prompt.context, prompt.queries), sets)


def _on_all(function: Any, sets: Prompt) -> Array:
    """A function of each prompt, some at a time."""
    shape = sets.code.shape[:2]
    found = jax.lax.map(function, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), sets), batch_size=CHUNK)
    return found.reshape(*shape, *found.shape[1:])


# --- modules ----------------------------------------------------------------------------------------------------------


def _aligned(support: str, context: Context, students: Any, codes: Any, teachers: Teacher, sets: Prompt) -> Any:
    """How far each seed's modules are its teacher's, and for comparison how far they are another teacher's.

    Args:
        support: of the tasks.
        context: of the trial.
        students: each seed's modules.
        codes: the codes with which each seed's student executes training's test prompts.
        teachers: of each seed.
        sets: test prompts of each seed.
    """
    others = jax.vmap(lambda key: jax.random.fold_in(key, 1))(context.keys("eval"))
    strangers = context.evaluate(Partial(draw_labelled, support, 1), others).teacher
    own, foreign = [], []
    for place, (student, inferred) in enumerate(zip(students, codes, strict=True)):
        in_basis = in_teacher_basis(student, code_map(inferred, np.asarray(sets.plain_code[place, 0])))
        for found, teacher in ((own, teachers), (foreign, strangers)):
            found.append(alignment(np.asarray(teacher.layers[0][place]), in_basis).mean)
    return context.rows(own=own, foreign=foreign)


def read_modules(model: nn.Bottleneck, sets: Prompt) -> tuple[Float[Array, "code hidden inputs"], Float[Array, "tasks code"]]:
    """The student's modules, one matrix for each entry of the code, and the codes that it infers for training's pairs."""
    assert isinstance(model.execute, nn.Composed)
    return modules_of(model.execute), _on_all(lambda prompt: model.code(prompt.context), jax.tree.map(lambda leaf: leaf[:1], sets))[0]


def modules_of(executor: nn.Composed) -> Float[Array, "code hidden inputs"]:
    """One matrix for each entry of the code."""
    hypernetwork = executor.hypernetwork
    return jnp.stack([hypernetwork(code[None]).inward for code in jnp.eye(hypernetwork.code_size)])


# --- execution of given codes -----------------------------------------------------------------------------------------


def train_executor(executor: Executor, context: Context) -> Tables:
    """Train a hypernetwork that is given the code, and measure R^2 on the prompts of models in context; compare modules."""
    prompting = executor.prompting
    drawn = context.evaluate(Partial(draw_labelled, executor.support, POINTS), context.keys("env"))
    prompts = context.evaluate(Partial(draw_prompts, executor.support, prompting.pairs, prompting.queries), context.keys("env"))
    sets = context.evaluate(Partial(draw_sets, executor.evaluation.tasks), context.keys("eval"), prompts)
    models = context.fit("executor", executor_learner(executor, drawn), executor.training.steps, per_seed=True).model
    context.publish("executor", models)
    score = context.evaluate(execute, models, sets)
    modules = context.evaluate(modules_of, models)
    return {
        "executed": context.rows(support=executor.support, digest=digests(sets, len(context.seeds)), **scores(*score)),
        "modules": _aligned(executor.support, context, modules, np.asarray(sets.plain_code[:, 0]), drawn.teacher, sets),
    }


def execute(model: nn.Composed, sets: Prompt) -> Score:
    """R^2 of given codes at the queries of each set."""
    return _score(jax.vmap(jax.vmap(model))(sets.plain_code, sets.queries[..., :INPUTS]), sets)


def digests(parts: Any, seeds: int) -> list[str]:
    """A fingerprint of each seed's part."""
    return [digest(jax.tree.map(lambda leaf, place=place: leaf[place], parts)) for place in range(seeds)]
