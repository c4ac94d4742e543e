"""Ensembles of networks trained on ten classes of real pictures, every variant to the same training loss; what their variance detects."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from mesocosm.analysis.detection import SCORES, Detection, auroc, auroc_difference
from mesocosm.learning.ensemble import EnsembleLearner, TrainedEnsemble, VariantName, all_reached, arms_of, call, squared_error
from mesocosm.learning.supervised import adam
from mesocosm.nn.tangent_parametrisation import TangentMLP
from mesocosm.studies.ensembles.config import TrainedImages
from mesocosm.studies.ensembles.images import Standard, draw_training, held_out, outside_sets
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.data_sets import find
from mesocosm.tasks.task import digest

CLASSES = 10
VARIANTS: tuple[VariantName, ...] = ("gd", "gd-c", "gd-a")
SCORED = (*VARIANTS, "gd, first half", "gd, second half")


def train_images(config: TrainedImages, context: Context) -> Tables:
    """All variants of all members in one program; one row a variant, and one a variant and outside set."""
    data = find(config.inside).splits()
    training = draw_training(data.train, config.train // CLASSES, context.keys("env"))
    test = held_out(data.test, config.test)
    outside = outside_sets(config.outside, test.pixels)
    standards = [Standard.of(pixels) for pixels in training.pixels]
    inputs = np.stack([pooled(scale(pixels, np.float32), config.pooling) for scale, pixels in zip(standards, training.pixels, strict=True)])
    targets = np.eye(CLASSES, dtype=np.float32)[training.labels] - np.float32(1 / CLASSES)
    learner = EnsembleLearner(
        Partial(build, config, inputs.shape[-1]),
        call,
        jnp.asarray(inputs),
        jnp.asarray(targets),
        arms_of(VARIANTS),
        squared_error,
        adam,
        {"learning_rate": config.learning_rate},
        config.goal,
        members=config.members,
        batch_size=config.batch_size,
        check_every=config.check_every,
        over_members=config.over_members,
    )
    fitted = context.fit("ensemble", learner, config.steps, until=(all_reached, config.check_every), per_seed=True)
    losses = context.evaluate(_losses, fitted.state, learner)
    shown = np.concatenate([test.pixels, *outside.values()])
    pictures = np.stack([pooled(scale(shown, np.float32), config.pooling) for scale in standards])
    outputs = context.evaluate(_outputs, fitted.model, pictures)  # seeds, arms, members, pictures, classes
    return _tables(config, context, outputs, losses, test.labels, list(outside), digest(shown))


def pooled(pictures: np.ndarray, side: int) -> np.ndarray:
    """Means over squares of pixels."""
    number, rows, columns = pictures.shape
    return pictures.reshape(number, rows // side, side, columns // side, side).mean((2, 4))


def build(config: TrainedImages, side: int, key: PRNGKeyArray) -> TangentMLP:
    """A member."""
    return TangentMLP.create(side * side, CLASSES, width=config.width, depth=config.depth, key=key)


def _losses(state: Any, learner: EnsembleLearner) -> Array:
    return learner.losses(state)


def _outputs(ensemble: TrainedEnsemble, pictures: Array) -> Array:
    return ensemble.outputs(pictures)


def _tables(config: TrainedImages, context: Context, outputs: np.ndarray, losses: np.ndarray, labels: np.ndarray, names: list[str], shown: str) -> Tables:
    half, number = config.members // 2, len(labels)
    scored = {name: np.asarray(outputs[:, place]) for place, name in enumerate(VARIANTS)}
    scored |= {"gd, first half": scored["gd"][:, :half], "gd, second half": scored["gd"][:, half : 2 * half]}
    scores = np.stack([np.asarray(jax.vmap(SCORES[config.score])(jnp.asarray(members))) for members in scored.values()], 1).astype(np.float64)
    sets = scores.reshape(*scores.shape[:2], -1, number)  # seeds, variants, inside and outside sets, pictures
    right = np.stack([np.argmax(members[:, :, :number].mean(1), -1) == labels for members in scored.values()], 1)
    about = {"inside": config.inside, "digest": shown}
    loss = np.concatenate([losses.mean(-1), *[losses[:, :1].mean(-1)] * 2], axis=1)
    worst = np.concatenate([losses.max(-1), *[losses[:, :1].max(-1)] * 2], axis=1)
    rows = {"variant": SCORED}
    halves = [[auroc(own[0, : number // 2], own[0, number // 2 :]) for own in seed] for seed in sets]
    trained = context.rows(
        rows,
        **about,
        accuracy=right.mean(-1),
        accuracy_error=np.maximum(right.std(-1, ddof=1) / np.sqrt(number), 0.5 / number),
        train_loss=loss,
        worst_train_loss=worst,
        variance_inside=sets[:, :, 0].mean(-1),
        variance_error=sets[:, :, 0].std(-1, ddof=1) / np.sqrt(number),
        inside_auroc=np.array([[found.auroc for found in seed] for seed in halves]),
        inside_auroc_error=np.array([[found.error for found in seed] for seed in halves]),
    )
    compared = [[[_compare(sets, seed, variant, place) for place in range(1, len(names) + 1)] for variant in range(len(SCORED))] for seed in range(len(sets))]
    columns = {
        column: np.array([[[getattr(part[place], value) for part in outside] for outside in seed] for seed in compared])
        for place, (column_of, _) in enumerate((("auroc", ""), ("gain", "")))
        for column, value in ((column_of, "auroc"), (f"{column_of}_error", "error"))
    }
    detection = context.rows({**rows, "outside": names}, **about, variance_outside=sets[:, :, 1:].mean(-1), **columns)
    return {"trained": trained, "trained_detection": detection, "scores": _histograms(context, sets, names, config.inside)}


def _compare(sets: np.ndarray, seed: int, variant: int, place: int) -> tuple[Detection, Detection]:
    """AUROC of a variant, and how much it gains on gd (the second half of gd's members: on the first)."""
    reference = SCORED.index("gd, first half") if SCORED[variant] == "gd, second half" else 0
    own, other = (sets[seed, which] for which in (variant, reference))
    return auroc(own[0], own[place]), auroc_difference(own[0], own[place], other[0], other[place])


BINS = 40


def _histograms(context: Context, sets: np.ndarray, names: list[str], inside: str) -> Any:
    """How the scores of each variant are spread, on a logarithmic axis, all seeds together."""
    from mesocosm.analysis.tables import long_table

    shown = sets[:, : len(VARIANTS)]
    edges = np.linspace(-5, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, np.log10(np.maximum(shown, 1e-30))) - 1, 0, BINS - 1)
    share = np.stack([(place == number).mean(axis=(0, -1)) for number in range(BINS)], -1)
    axes = {"variant": VARIANTS, "set": [inside, *names], "bin": range(BINS)}
    return long_table(axes, low=np.broadcast_to(edges[:-1], share.shape), high=np.broadcast_to(edges[1:], share.shape), share=share, inside=inside)
