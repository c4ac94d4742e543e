"""Trains transformers with separate decays, and measures the products of their attention heads during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.spectra.blas_threads import one_blas_thread
from mesocosm.analysis.spectra.factor_spectra import core_balance, core_spectrum, effective_rank, interpolated_rank_by_sum, rank_by_sum, triangular_pair
from mesocosm.learning.balance_monitor import attention_pairs
from mesocosm.nn import SequenceModel
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.weight_decay.config_networks import Arm, Language, Pictures, Recall
from mesocosm.studies.weight_decay.networks import Picture, decay_clock, language_task, learner, pair_loss, picture_sets, read_part, recall_task
from mesocosm.tasks.task import Task, batch, digest
from mesocosm.tasks.tokens import TokenExample, cross_entropy

MATRICES = ("query", "key", "value", "output")
TASKS = {Recall: "recall", Language: "language", Pictures: "pictures"}
AT_ONCE = 64


class Scores(NamedTuple):
    """Cross-entropy in nats, and 1 where the answer is right, for each test example."""

    loss: Float[Array, " n"]
    right: Float[Array, " n"]


def train_recall(arm: Arm, context: Context) -> Tables:
    """Associative recall by attention alone."""
    of = arm.of
    assert isinstance(of, Recall)
    task = recall_task(of)
    return _train(arm, context, task, token_scores, batch(task, context.evaluation_key, of.test // of.queries, "iid"), log(of.pairs))


def train_language(arm: Arm, context: Context) -> Tables:
    """A decoder on text."""
    of = arm.of
    assert isinstance(of, Language)
    task = language_task(of, context.seeds)
    test = batch(task, context.evaluation_key, of.windows, "iid")
    return _train(arm, context, task, token_scores, test, pair_loss(task, test))


def train_pictures(arm: Arm, context: Context) -> Tables:
    """A vision transformer on pictures."""
    of = arm.of
    assert isinstance(of, Pictures)
    task, test = picture_sets(of, context.seeds)
    return _train(arm, context, task, picture_scores, test, log(of.classes))


def _train(arm: Arm, context: Context, task: Task, score: Callable[..., Scores], test: Any, baseline: float) -> Tables:
    """`baseline` is the loss that is possible without attention."""
    training = arm.of.training
    fitted = context.fit("network", learner(arm, task), training.steps, probe=(attention_matrices, training.every))
    context.publish("network", fitted.model)
    scores, ablated = (context.evaluate(score, model, shared=(test,)) for model in (fitted.model, without_attention(fitted.model)))
    where = {"task": TASKS[type(arm.of)], "attention": float(arm.attention), "elsewhere": float(arm.elsewhere), "clock": decay_clock(arm)}
    columns: dict[str, Any] = {"loss": scores.loss.mean(axis=1), "accuracy": scores.right.mean(axis=1), "perplexity": np.exp(scores.loss.mean(axis=1))}
    columns |= {"baseline": baseline, "ablated_loss": ablated.loss.mean(axis=1), "ablated_accuracy": ablated.right.mean(axis=1)}
    columns["loss_error"] = scores.loss.std(axis=1, ddof=1) / scores.loss.shape[1] ** 0.5
    columns["accuracy_error"] = scores.right.std(axis=1, ddof=1) / scores.right.shape[1] ** 0.5
    products = [
        context.rows({"step": fitted.probe_steps.tolist(), "layer": range(1, arm.of.network.layers + 1)}, **where, product=name, **measures)
        for name, measures in head_means(fitted.probes).items()
    ]
    return {"attention_products": pl.concat(products), "held_out": context.rows(**where, digest=digest(test), **columns)}


def without_attention(model: SequenceModel) -> SequenceModel:
    """The same network, whose attention adds nothing: all its parameters are zero."""

    def mixers(model: Any) -> list[Any]:
        return [block.mixer for block in model.blocks]

    return eqx.tree_at(mixers, model, jax.tree.map(jnp.zeros_like, mixers(model)))


def attention_matrices(learner: Any, state: Any, key: PRNGKeyArray) -> Mapping[str, Float[Array, "layers heads rows columns"]]:
    """The matrices of all heads."""
    return {name: jnp.stack([getattr(block.mixer, name) for block in learner.model(state).blocks]) for name in MATRICES}


def head_means(matrices: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Rank and balance of both products, means over heads: product -> column -> (seeds, times, layers).

    Ranks are fractions of the head's size. `gap` and `difference` are the paper's measures, which shrink with the weights as well; `relative_gap` and
    `imbalance` do not.
    """
    found = {}
    with one_blas_thread():
        for name, factors in attention_pairs(**matrices).items():
            a, b = triangular_pair(*factors)
            spectrum = core_spectrum(a, b)
            balance = core_balance(a, b, spectrum)
            size = spectrum.shape[-1]
            columns = {
                "rank": rank_by_sum(spectrum) / size,
                "interpolated_rank": interpolated_rank_by_sum(spectrum) / size,
                "effective_rank": effective_rank(spectrum) / size,
                "gap": balance.gap,
                "relative_gap": balance.gap / balance.mean_square,
                "imbalance": balance.imbalance,
                "difference": balance.difference,
            }
            found[name] = {column: values.mean(axis=-1) for column, values in columns.items()}
    return found


def token_scores(model: SequenceModel, examples: TokenExample) -> Scores:
    """Scores of each sequence, means over the positions that the model reads."""

    def one(example: TokenExample) -> Scores:
        logits = model(example.inputs)
        read = read_part(example, logits.shape[0])
        return Scores(cross_entropy(logits, read), jnp.mean((jnp.argmax(logits, axis=-1) == read.targets).astype(logits.dtype)))

    return jax.lax.map(one, examples, batch_size=AT_ONCE)


def picture_scores(model: SequenceModel, pictures: Picture) -> Scores:
    """Scores of each picture."""

    def one(picture: Picture) -> Scores:
        logits = model(picture.pixels)[0]
        return Scores(-jax.nn.log_softmax(logits)[picture.label], (jnp.argmax(logits) == picture.label).astype(logits.dtype))

    return jax.lax.map(one, pictures, batch_size=AT_ONCE)
