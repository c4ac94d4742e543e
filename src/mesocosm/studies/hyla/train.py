"""Trains networks on fuzzy logic, on Raven matrices and on text, and tests them on held-out combinations and held-out text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm.nn import SequenceModel
from mesocosm.studies.hyla.config import Evaluation
from mesocosm.studies.hyla.networks import FuzzyArm, LanguageArm, RavenArm, fuzzy_task, learner, outputs, stacked, tasks
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.fuzzy_logic import FuzzyExample, FuzzyLogic, explained_variance
from mesocosm.tasks.raven_matrices import Accuracy, RavenExample, accuracy
from mesocosm.tasks.task import Split, Task, batch, digest
from mesocosm.tasks.text import Text
from mesocosm.tasks.tokens import TokenExample, cross_entropy

SHOWN = 3


class FuzzySets(NamedTuple):
    """Test sequences. `repeated` are the held-out ones with a context of half as many distinct tokens, which recur."""

    train: FuzzyExample
    held_out: FuzzyExample
    unknown: FuzzyExample
    repeated: FuzzyExample


class RavenSets(NamedTuple):
    """Test matrices."""

    train: RavenExample
    held_out: RavenExample


class RavenScores(NamedTuple):
    """Fractions of correct answers: on training's combinations, on held-out ones, and on these where all rows but the last are another matrix's."""

    train: Accuracy
    held_out: Accuracy
    other_rows: Accuracy


class Losses(NamedTuple):
    """Cross-entropy in nats of each window: given all tokens before, and given one."""

    loss: Float[Array, " windows"]
    alone: Float[Array, " windows"]


class Scores(NamedTuple):
    """A score for each example of a set."""

    mean: Float[Array, " examples"]
    pooled: Float[Array, ""]


# --- fuzzy logic ------------------------------------------------------------------------------------------------------


def train_fuzzy(arm: FuzzyArm, context: Context) -> Tables:
    """Train, and measure R^2 on training's combinations, held-out ones and unknown terms."""
    drawn = tasks(arm.task, context.seeds)
    models = context.fit("network", learner(arm, drawn, fuzzy_loss), arm.training.steps, per_seed=True).model
    context.publish("network", models)
    unknown = stacked(fuzzy_task(arm.task, seed).unknown_terms() for seed in context.seeds)
    sets = context.evaluate(Partial(draw_fuzzy, arm.evaluation, context.evaluation_key), drawn, unknown)
    scores = {name: context.evaluate(explain, models, examples) for name, examples in sets._asdict().items()}
    columns: dict[str, Any] = {"pooled": scores["held_out"].pooled}
    for name, found in scores.items():
        columns[name], columns[f"{name}_error"] = found.mean.mean(axis=1), found.mean.std(axis=1, ddof=1) / found.mean.shape[1] ** 0.5
    digests = _digests(sets, len(context.seeds))
    size = {"variables": arm.task.variables, "held_out_fraction": arm.task.held_out, "length": arm.task.length}
    return {"explained": context.rows(variant=arm.layer, **size, digest=digests, **columns), "split": split_of(drawn, context)}


def fuzzy_loss(model: SequenceModel, example: FuzzyExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Mean squared error at the queries."""
    return jnp.mean((model(example.tokens)[:, 0] - example.targets) ** 2)


def draw_fuzzy(evaluation: Evaluation, key: PRNGKeyArray, task: FuzzyLogic, unknown: FuzzyLogic) -> FuzzySets:
    """The test sequences of one seed."""
    known_key, held_out_key, unknown_key = jax.random.split(key, 3)
    held_out = batch(task, held_out_key, evaluation.examples, "ood")
    context = jnp.arange(task.length - 1)
    recurring = jnp.concatenate([context % (task.length // 2 - 1), jnp.arange(task.length - 1, held_out.tokens.shape[1])])
    return FuzzySets(
        batch(task, known_key, evaluation.examples, "iid"),
        held_out,
        batch(unknown, unknown_key, evaluation.examples, "ood"),
        held_out._replace(tokens=held_out.tokens[:, recurring]),
    )


def explain(model: Callable[[Array], Array], examples: FuzzyExample) -> Scores:
    """R^2 of every sequence, and pooled."""
    predictions = outputs(model, examples.tokens)[..., 0]
    each = jax.vmap(lambda guesses, example: explained_variance(guesses, example).mean)(predictions, examples)
    return Scores(each, explained_variance(predictions, examples).pooled)


# --- Raven matrices ---------------------------------------------------------------------------------------------------


def train_raven(arm: RavenArm, context: Context) -> Tables:
    """Train, and measure accuracy on training's combinations of rules and on held-out ones, on these also where other rows do not follow the rules."""
    drawn = tasks(arm.task, context.seeds)
    models = context.fit("network", learner(arm, drawn, raven_loss), arm.training.steps, per_seed=True).model
    context.publish("network", models)
    sets = context.evaluate(Partial(draw_raven, arm.evaluation.examples, context.evaluation_key), drawn)
    columns: dict[str, Any] = {}
    scores, answers = context.evaluate(answer_sets, models, sets)
    for name, right in scores._asdict().items():
        for column, value in ((name, right.matrices), (f"{name}_feature", right.features)):
            columns[column], columns[f"{column}_error"] = value, (value * (1 - value) / arm.evaluation.examples) ** 0.5
    network = arm.network
    labels = {
        "variant": arm.layer,
        "heads": network.heads,
        "tied": network.tied,
        "features": arm.task.features,
        "copies": arm.task.copies,
        "matrices": arm.training.steps * arm.training.batch_size,
        "width": network.dim,
        "layers": network.layers,
    }
    solved = context.rows(**labels, digest=_digests(sets, len(context.seeds)), **columns)
    return {"solved": solved, "matrix": _shown(arm, context, answers, sets.held_out), "split": split_of(drawn, context)}


def raven_loss(model: Callable[[Array], Array], example: RavenExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross-entropy, mean over features."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(model(example.tokens)), example.targets[:, None], axis=-1)
    return -jnp.mean(chosen)


def draw_both(examples: int, key: PRNGKeyArray, task: Task) -> tuple[Any, Any]:
    """New examples of the splits iid and ood."""
    splits: tuple[Split, Split] = ("iid", "ood")
    known, held_out = (batch(task, one, examples, split) for one, split in zip(jax.random.split(key), splits, strict=True))
    return known, held_out


def draw_raven(examples: int, key: PRNGKeyArray, task: Task[RavenExample]) -> RavenSets:
    """The test matrices of one seed."""
    return RavenSets(*draw_both(examples, key, task))


def answer_sets(model: SequenceModel, sets: RavenSets) -> tuple[RavenScores, Int[Array, "n features"]]:
    """Scores on the test matrices, and answers to the first held-out ones."""
    logits = outputs(model, sets.held_out.tokens)
    mixed = sets.held_out._replace(tokens=other_rows(sets.held_out.tokens))
    scores = RavenScores(answer_all(model, sets.train), accuracy(logits, sets.held_out), answer_all(model, mixed))
    return scores, jnp.argmax(logits[:SHOWN], axis=-1)


def other_rows(tokens: Float[Array, "n time symbols"]) -> Float[Array, "n time symbols"]:
    """Matrices of three rows, of which the first two are another matrix's; tokens of nine panels."""
    shown = 6 * tokens.shape[1] // 9
    return tokens.at[:, :shown].set(jnp.roll(tokens[:, :shown], 1, axis=0))


def answer_all(model: Callable[[Array], Array], examples: RavenExample) -> Accuracy:
    """Fractions of correct answers."""
    return accuracy(outputs(model, examples.tokens), examples)


def _shown(arm: RavenArm, context: Context, answers: Any, examples: RavenExample) -> Any:
    """A few held-out matrices of each seed, and the network's answers."""
    panels = np.asarray(examples.panels)[:, :SHOWN]
    axes = {"example": range(SHOWN), "row": range(3), "column": range(3), "place": range(arm.task.places)}
    return context.rows(axes, symbol=panels, predicted=np.broadcast_to(answers[:, :, None, None], panels.shape))


# --- text -------------------------------------------------------------------------------------------------------------


def train_language(arm: LanguageArm, context: Context) -> Tables:
    """Train a decoder, and measure its cross-entropy on held-out text, where a window's tokens are read together or one by one."""
    drawn = tasks(arm.task, context.seeds)
    models = context.fit("network", learner(arm, drawn, language_loss), arm.training.steps, per_seed=True).model
    context.publish("network", models)
    windows = context.evaluate(Partial(draw_windows, arm.evaluation.windows, context.evaluation_key), drawn)
    columns: dict[str, Any] = {}
    for name, losses in context.evaluate(predict, models, windows)._asdict().items():
        columns[name], columns[f"{name}_error"] = losses.mean(axis=1), losses.std(axis=1, ddof=1) / losses.shape[1] ** 0.5
    return {"perplexity": context.rows(variant=arm.layer, digest=_digests(windows, len(context.seeds)), **columns, perplexity=np.exp(columns["loss"]))}


def language_loss(model: SequenceModel, example: TokenExample, key: PRNGKeyArray) -> Float[Array, ""]:
    """Cross-entropy in nats, mean over positions."""
    return cross_entropy(model(example.inputs), example)


def draw_windows(windows: int, key: PRNGKeyArray, task: Text) -> TokenExample:
    """Windows of held-out text."""
    return batch(task, key, windows, "iid")


def predict(model: SequenceModel, windows: TokenExample) -> Losses:
    """The losses of each window."""

    def one(example: TokenExample) -> Losses:
        together = model(example.inputs)
        alone = jax.vmap(model)(example.inputs[:, None])[:, 0]
        return Losses(cross_entropy(together, example), cross_entropy(alone, example))

    return jax.lax.map(one, windows, batch_size=64)


def split_of(drawn: Any, context: Context) -> pl.DataFrame:
    """The combinations of each seed, as indices of their parts, and whether they are held out."""
    lists = drawn.combinations.train, drawn.combinations.held_out
    rows = np.concatenate(lists, axis=1)
    held_out = np.repeat([False, True], [part.shape[1] for part in lists])
    parts = [[" ".join(map(str, row)) for row in seed] for seed in rows.tolist()]
    return context.rows({"row": range(rows.shape[1])}, parts=np.asarray(parts), held_out=np.broadcast_to(held_out, rows.shape[:2]))


def _digests(sets: Any, seeds: int) -> list[str]:
    return [digest(jax.tree.map(lambda leaf, i=i: leaf[i], sets)) for i in range(seeds)]
