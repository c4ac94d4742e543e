"""Predictors that are not trained: ridge regression in each context, and a search for the code through the teacher's own modules."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.in_context.prompt_regression import (
    Score,
    affine_features,
    explained_by_context,
    random_features,
    ridge_predictions,
    search_code,
)
from mesocosm.studies.incontext_composition.networks import INPUTS, MODULES, Predictors, draw_prompts
from mesocosm.studies.incontext_composition.train import SETS, digests, draw_sets, scores
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.hyperteacher import Prompt, Prompts, Teacher

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Penalties of ridge regression, of which the best on training's pairs counts."""
FEATURES = 256
"""Random features of ridge regression."""
STARTS, STEPS = 4, 20
"""Of the oracle's search."""


SUPPORTS = ("connected+", "connected", "disconnected")


def measure_references(predictors: Predictors, context: Context) -> Tables:
    """R^2 of ridge regression, on the inputs and on random features, and of the oracle on each set: for the pairs of modules of each support, and on Connected+
    also with contexts of other lengths.
    """
    settings = [(support, predictors.prompting.pairs) for support in SUPPORTS]
    settings += [("connected+", pairs) for pairs in predictors.contexts if pairs != predictors.prompting.pairs]
    tables = []
    for support, pairs in settings:
        drawn = context.evaluate(Partial(draw_prompts, support, pairs, predictors.prompting.queries), context.keys("env"))
        sets = context.evaluate(Partial(draw_sets, predictors.evaluation.tasks), context.keys("eval"), drawn)
        searched = jax.tree.map(lambda leaf: leaf[:, :, : predictors.evaluation.searched], sets)
        found = {
            "ridge": context.evaluate(Partial(ridge, affine_features), sets),
            "ridge on random features": context.evaluate(Partial(ridge, drawn_features(context.evaluation_key)), sets),
            "oracle": context.evaluate(Partial(oracle, context.evaluation_key), drawn, searched),
        }
        for predictor, score in found.items():
            tables.append(context.rows(predictor=predictor, support=support, pairs=pairs, digest=digests(sets, len(context.seeds)), **scores(*score)))
    return {"references": pl.concat(tables)}


def drawn_features(key: PRNGKeyArray) -> Partial:
    """`random_features` whose weights have the teacher's scale, divided by its norm: independent Gaussians with unit rows on average."""
    return Partial(random_features, jax.random.normal(key, (FEATURES, INPUTS)) / INPUTS**0.5)


def ridge(features: Callable[[Array], Array], sets: Prompt) -> Score:
    """Ridge regression of outputs on features of the inputs, on each set, with the penalty that is best on training's pairs."""

    def predict(strength: Array, inputs: Array, outputs: Array, queries: Array) -> Array:
        return ridge_predictions(features, strength, inputs, outputs, queries)

    scores = jax.lax.map(lambda strength: _score(Partial(predict, strength), sets), jnp.asarray(STRENGTHS))
    best = jnp.argmax(scores.value[:, SETS.index("train")])
    return jax.tree.map(lambda leaf: leaf[best], scores)


def oracle(key: PRNGKeyArray, task: Prompts, sets: Prompt) -> Score:
    """The code that fits the context best through the teacher's modules, searched from codes around the mean of training's."""
    teacher: Teacher = task.task.teacher  # pyright: ignore[reportAttributeAccessIssue]
    starts = jnp.mean(sets.plain_code[0], axis=0) + 0.1 * jax.random.normal(key, (STARTS, MODULES))

    def predict(inputs: Array, outputs: Array, queries: Array) -> Array:
        return teacher.execute(search_code(teacher.execute, inputs, outputs, starts, steps=STEPS), queries)

    return _score(predict, sets)


def _score(predict: Callable[..., Float[Array, "queries outputs"]], sets: Prompt) -> Score:
    """R^2 of (inputs, outputs, inputs of the queries) -> outputs of the queries, on each set."""
    parts = (sets.context[..., :INPUTS], sets.context[..., INPUTS:], sets.queries[..., :INPUTS])
    flat = tuple(part.reshape(-1, *part.shape[2:]) for part in parts)
    predictions = jax.lax.map(lambda part: predict(*part), flat, batch_size=32).reshape(sets.targets.shape)
    return jax.vmap(explained_by_context)(predictions, sets.targets, parts[1])
