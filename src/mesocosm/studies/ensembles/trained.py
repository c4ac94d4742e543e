"""Ensembles of networks trained on ten classes of real pictures to the same training loss, and out-of-distribution detection by their variance."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Integer, PRNGKeyArray

from mesocosm.analysis.detection import SCORES, Detection, auroc, auroc_difference
from mesocosm.learning.ensemble import EnsembleLearner, TrainedEnsemble, VariantName, all_reached, arms_of, combined, squared_error
from mesocosm.learning.optimizers import adam
from mesocosm.nn.tangent_parametrisation import TangentMLP
from mesocosm.studies.ensembles.config import HALF, HALF_CENTRED, SINGLE, TrainedImages
from mesocosm.studies.ensembles.images import Standard, draw_training, held_out, outside_sets, splits_for
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.data_sets import Images
from mesocosm.tasks.task import digest

CLASSES = 10
TRAINED: tuple[VariantName, ...] = ("gd", "gd-c", "gd-a", "gd-i")
SCORED = (*TRAINED, HALF)
ACCURATE = (*TRAINED, HALF_CENTRED, SINGLE)


class Members(NamedTuple):
    """Outputs and losses of the trained members of every variant.

    Attributes:
        outputs: on pictures inside, then on each outside set.
        loss: training loss, mean over members (and over both trainings of gd-i).
        worst: the largest training loss of any member.
        labels: of the pictures inside.
        sets: names of the outside sets, each with as many pictures as are inside.
        digest: of all pictures shown.
    """

    outputs: Float[np.ndarray, "seeds variants members pictures classes"]
    loss: Float[np.ndarray, "seeds variants"]
    worst: Float[np.ndarray, "seeds variants"]
    labels: Integer[np.ndarray, " n"]
    sets: tuple[str, ...]
    digest: str

    def scores(self, outputs: Float[np.ndarray, "seeds members pictures classes"], score: str) -> Float[np.ndarray, "seeds sets n"]:
        """Out-of-distribution scores of each picture by some members of one variant, the inside set first."""
        found = np.asarray(jax.vmap(SCORES[score])(jnp.asarray(outputs)), np.float64)
        return found.reshape(len(found), -1, len(self.labels))

    def right(self, outputs: Float[np.ndarray, "seeds members pictures classes"]) -> Bool[np.ndarray, "seeds n"]:
        """Whether the members' mean predicts the right class."""
        return np.argmax(outputs[:, :, : len(self.labels)].mean(1), -1) == self.labels


def train_images(config: TrainedImages, context: Context) -> Tables:
    """Train all variants of all members in one program; one row per variant, and one per variant and outside set."""
    test = held_out(splits_for(context.seeds, config.inside).test, config.test)
    outside = outside_sets(context.seeds, config.outside, test.pixels)
    return _tables(config, context, train_members(config, context, "ensemble", TRAINED, test, outside))


def train_members(
    config: TrainedImages, context: Context, name: str, variants: tuple[VariantName, ...], test: Images, outside: dict[str, np.ndarray]
) -> Members:
    """Train every variant to the common loss and evaluate it on the pictures."""
    training = draw_training(splits_for(context.seeds, config.inside).train, config.train // CLASSES, context.keys("env"))
    standards = [Standard.of(pixels) for pixels in training.pixels]
    inputs = np.stack([pooled(scale(pixels, np.float32), config.pooling) for scale, pixels in zip(standards, training.pixels, strict=True)])
    targets = np.eye(CLASSES, dtype=np.float32)[training.labels] - np.float32(1 / CLASSES)
    scale, rate = (jnp.full(len(inputs), value, jnp.float32) for value in (config.readout, config.learning_rate / config.readout))
    learner = EnsembleLearner(
        Partial(build, config.width, config.depth, config.parametrisation, inputs.shape[-1]),
        Partial(scaled, scale),  # traced, so that all scales share a program
        jnp.asarray(inputs),
        jnp.asarray(targets),
        arms_of(variants),
        squared_error,
        adam,
        {"learning_rate": rate},
        config.goal,
        members=config.members,
        batch_size=config.batch_size,
        check_every=config.check_every,
        over_members=config.over_members,
    )
    fitted = context.fit(name, learner, config.steps, until=(all_reached, config.check_every), per_seed=True)
    losses = context.evaluate(_losses, fitted.state, learner)  # seeds, arms, members
    shown = np.concatenate([test.pixels, *outside.values()])
    pictures = np.stack([pooled(scale(shown, np.float32), config.pooling) for scale in standards])
    outputs = context.evaluate(Partial(_outputs, variants), fitted.model, pictures)
    loss, worst = (np.stack([value(losses[:, arms], axis=(1, 2)) for arms in places(variants)], 1) for value in (np.mean, np.max))
    return Members(np.asarray(outputs), loss, worst, test.labels, tuple(outside), digest(shown))


def places(variants: tuple[VariantName, ...]) -> list[slice]:
    """The slice of each variant's arms among all arms."""
    ends = np.cumsum([len(arms_of((variant,))) for variant in variants]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def pooled(pictures: np.ndarray, side: int) -> np.ndarray:
    """Means over squares of pixels."""
    number, rows, columns = pictures.shape
    return pictures.reshape(number, rows // side, side, columns // side, side).mean((2, 4))


def build(width: int, depth: int, parametrisation: str, side: int, key: PRNGKeyArray) -> Any:
    """Build a member."""
    if parametrisation == "tangent":
        return TangentMLP.create(side * side, CLASSES, width=width, depth=depth, key=key)
    return eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), eqx.nn.MLP(side * side, CLASSES, width, depth, key=key)])


def scaled(scale: Array, network: Any, x: Array) -> Array:
    """A member's outputs, multiplied by its read-out scale."""
    return scale * network(x)


def _losses(state: Any, learner: EnsembleLearner) -> Array:
    return learner.losses(state)


def _outputs(variants: tuple[VariantName, ...], ensemble: TrainedEnsemble, pictures: Array) -> Array:
    outputs = ensemble.outputs(pictures)
    return jnp.stack([combined(outputs[arms]) for arms in places(variants)])


def _tables(config: TrainedImages, context: Context, members: Members) -> Tables:
    ensembles = [*([own] for own in np.moveaxis(members.outputs, 1, 0)), halves(members.outputs[:, 0])]  # of each row of SCORED
    sets = [np.stack([members.scores(outputs, config.score) for outputs in row], 1) for row in ensembles]  # seeds, ensembles, inside and outside sets, pictures
    about = {"inside": config.inside, "digest": members.digest}
    scores = np.stack([row[:, 0] for row in sets[: len(TRAINED)]], 1)
    return {
        "trained": context.rows({"variant": SCORED}, **about, **_inside(members, sets)),
        "accuracies": context.rows({"ensemble": ACCURATE}, **about, **_accuracies(members)),
        "trained_detection": context.rows({"variant": SCORED, "outside": members.sets}, **about, **_outside(sets)),
        "scores": _histograms(context, scores, members.sets, config.inside),
    }


def _inside(members: Members, sets: list[np.ndarray]) -> dict[str, np.ndarray]:
    """For each seed and row of SCORED: losses, variance inside, and AUROC of one half of the inside against the other."""
    own = [row[:, :, 0] for row in sets]
    half = own[0].shape[-1] // 2
    apart = np.array([[_mean([auroc(scores[:half], scores[half:]) for scores in seed]) for seed in row] for row in own])
    loss, worst = (np.concatenate([values, values[:, :1]], axis=1) for values in (members.loss, members.worst))
    return {
        "train_loss": loss,
        "worst_train_loss": worst,
        "variance_inside": np.stack([row.mean((1, 2)) for row in own], 1),
        "variance_error": np.stack([row.mean(1).std(-1, ddof=1) for row in own], 1) / np.sqrt(len(members.labels)),
        "inside_auroc": apart[..., 0].T,
        "inside_auroc_error": apart[..., 1].T,
    }


def _outside(sets: list[np.ndarray]) -> dict[str, np.ndarray]:
    """For each seed, row of SCORED and outside set: variance, AUROC, and AUROC minus gd's."""
    outsides = range(1, sets[0].shape[2])
    compared = [[[_mean([detect(own, gd, place) for own in seed]) for place in outsides] for seed, (gd,) in zip(row, sets[0], strict=True)] for row in sets]
    columns = {name: np.moveaxis(values, 0, 1) for name, values in detection_columns(compared).items()}
    return {"variance_outside": np.stack([row[:, :, 1:].mean((1, 3)) for row in sets], 1), **columns}


def halves(outputs: Float[np.ndarray, "seeds members ..."]) -> list[np.ndarray]:
    """As many ensembles as there are members, each with half of them; every member is in equally many."""
    members = outputs.shape[1]
    return [np.roll(outputs, -first, axis=1)[:, : (members + 1) // 2] for first in range(members)]


def _mean(found: Any) -> np.ndarray:
    """Mean detection; errors are averaged as if fully correlated."""
    return np.mean(found, axis=0)


def _accuracies(members: Members) -> dict[str, np.ndarray]:
    """For each seed and entry of ACCURATE: accuracy, and accuracy minus that of gd, compared picture by picture; means over halves and single members."""
    gd, centred = (members.outputs[:, TRAINED.index(variant)] for variant in ("gd", "gd-c"))
    ensembles = [*([own] for own in np.moveaxis(members.outputs, 1, 0)), halves(centred), np.split(gd, gd.shape[1], axis=1)]
    right = np.stack([np.mean([members.right(outputs) for outputs in row], 0) for row in ensembles], 1)  # seeds, ACCURATE, pictures
    better, number = right - right[:, :1], right.shape[-1]
    error = np.maximum(better.std(-1, ddof=1) / np.sqrt(number), 0.5 / number)
    return {"accuracy": right.mean(-1), "gain": better.mean(-1), "gain_error": error}


def detect(own: Float[np.ndarray, "sets n"], reference: Float[np.ndarray, "sets n"], outside: int) -> tuple[Detection, Detection]:
    """AUROC of a score, and its gain over a reference."""
    return auroc(own[0], own[outside]), auroc_difference(own[0], own[outside], reference[0], reference[outside])


def detection_columns(compared: Any) -> dict[str, np.ndarray]:
    """AUROC and gain with their errors, from nested lists of `detect` results."""
    values = np.array(compared)  # ..., AUROC and gain, value and error
    return {name: values[..., place, value] for place, column in enumerate(("auroc", "gain")) for value, name in enumerate((column, f"{column}_error"))}


BINS = 40


def _histograms(context: Context, scores: np.ndarray, names: tuple[str, ...], inside: str) -> Any:
    """Histograms of each variant's scores on a logarithmic axis, all seeds together."""
    from mesocosm.analysis.tables import long_table

    edges = np.linspace(-5, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, np.log10(np.maximum(scores, 1e-30))) - 1, 0, BINS - 1)
    share = np.stack([(place == number).mean(axis=(0, -1)) for number in range(BINS)], -1)
    axes = {"variant": TRAINED, "set": [inside, *names], "bin": range(BINS)}
    return long_table(axes, low=np.broadcast_to(edges[:-1], share.shape), high=np.broadcast_to(edges[1:], share.shape), share=share, inside=inside)
