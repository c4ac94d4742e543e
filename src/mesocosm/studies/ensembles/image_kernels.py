"""Kernel models of networks on two classes of real pictures: variances inside and outside, and how well each part detects outside pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.detection import Detection, auroc, auroc_difference
from mesocosm.analysis.log_ratio import log_combination, log_ratio_of_means
from mesocosm.analysis.tangent.infinite_width import infinite_width_kernels
from mesocosm.analysis.tangent.kernel_regression import with_jitter
from mesocosm.analysis.tangent.variance_decomposition import KernelModels, VarianceParts, function_noise_limit, variance_parts
from mesocosm.nn.tangent_parametrisation import TangentCNN, TangentMLP
from mesocosm.studies.ensembles.config import KernelImages, Pair
from mesocosm.studies.ensembles.images import Standard, draw_training, held_out, of_classes, splits_for
from mesocosm.studies.ensembles.kernels import JITTER, draw_networks, models_of, weights_of
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.task import digest

PARTS = ("full", "function", "kernel", "interaction")
SCALED = ("function", "kernel", "share", "share, sizes shuffled")
"""What has slopes on width and depth: two noises, kernel noise's share of the variance, and that with the sizes in another order."""


@dataclass(frozen=True)
class KernelArm:
    """Kernel models of every network on one pair of data sets."""

    kernels: KernelImages
    pair: Pair


class Measured(NamedTuple):
    """Variances of one network and seed, at test pictures inside, then outside.

    Attributes:
        parts: variances over members.
        readouts: the full model's variance at each read-out scale.
        limit: the variance at infinite width; zeros if it is not computed.
    """

    parts: VarianceParts
    readouts: Float[Array, "scales t"]
    limit: Float[Array, " t"]


def measure_images(arm: KernelArm, context: Context) -> Tables:
    """Detection by network and part, and by network and read-out scale; slopes of the noises inside on width and depth."""
    config, pair = arm.kernels, arm.pair
    data, elsewhere = (splits_for(context.seeds, name) for name in (pair.inside, pair.outside))
    training = draw_training(of_classes(data.train, pair.classes), config.train // 2, context.keys("env"))
    inside = held_out(of_classes(data.test, pair.classes), config.test).pixels
    outside = held_out(elsewhere.test, config.test).pixels
    standards = [Standard.of(pixels) for pixels in training.pixels]
    train, test = (
        np.stack([scale(pixels, np.float64) for scale, pixels in zip(standards, sets, strict=True)])
        for sets in (training.pixels, [np.concatenate([inside, outside])] * len(standards))
    )
    labels = 2.0 * training.labels - 1.0
    shown = digest((inside, outside))
    networks = dict.fromkeys([*config.networks, *(network for sizes in config.scaling().values() for network in sizes)])
    found = {name: context.evaluate(Partial(network_variances, config, name), train, labels, test, context.keys("init")) for name in networks}
    about = {"inside": pair.inside, "outside": pair.outside, "digest": shown}
    detection = [context.rows({"part": PARTS}, network=name, **about, **_detections(found[name], len(inside))) for name in config.networks]
    readout = [context.rows({"readout": config.readouts}, network=name, **about, **_readouts(found[name])) for name in config.networks]
    slopes = [
        context.rows({"of": SCALED}, along=along, **about, **slopes_by_size([found[name] for name in sizes], list(sizes.values()), len(inside)))
        for along, sizes in config.scaling().items()
    ]
    analytic = [name for name in config.networks if builder(name)[1] is not None]
    limits = [context.rows({"part": PARTS[1:3]}, network=name, **about, **_limits(found[name], len(inside))) for name in analytic]
    tables = {"kernel_detection": detection, "kernel_readout": readout, "kernel_slopes": slopes, "kernel_limits": limits}
    return {name: pl.concat(rows) for name, rows in tables.items()}


def slopes_by_size(found: list[Measured], sizes: list[int], inside: int) -> dict[str, np.ndarray]:
    """For each seed and entry of SCALED: slope of the log of the mean variance inside on the log of the networks' size."""
    full, function, kernel = (np.stack([np.asarray(getattr(each.parts, part))[:, :inside] for each in found], 1) for part in PARTS[:3])
    log_size = np.log(sizes) - np.mean(np.log(sizes))
    weights = log_size / (log_size @ log_size)
    shuffled = np.concatenate([weights[1::2], weights[::2]])
    share = np.concatenate([kernel, full], 1)
    fits = [(function, weights), (kernel, weights), (share, np.append(weights, -weights)), (share, np.append(shuffled, -shuffled))]
    slopes, errors = zip(*(log_combination(variances, each) for variances, each in fits), strict=True)
    return {"slope": np.stack(slopes, 1), "slope_error": np.stack(errors, 1)}


def _limits(found: Measured, inside: int) -> dict[str, np.ndarray]:
    """For each seed, and function and kernel noise: log ratio of the mean variance inside to that of the infinitely wide ensemble."""
    limit = np.asarray(found.limit)[:, :inside]
    ratios, errors = zip(*(log_ratio_of_means(np.asarray(getattr(found.parts, part))[:, :inside], limit) for part in PARTS[1:3]), strict=True)
    return {"ratio": np.stack(ratios, 1), "ratio_error": np.stack(errors, 1)}


def _readouts(found: Measured) -> dict[str, np.ndarray]:
    """For each seed and read-out scale: AUROC of the full model."""
    return _fields([[auroc(*np.split(variances, 2)) for variances in seed] for seed in np.asarray(found.readouts)])


def _detections(found: Measured, inside: int) -> dict[str, np.ndarray]:
    """For each seed and part: mean variances, log ratios (outside over inside, and between two halves of the inside), AUROC and its gain."""
    variances = np.stack([np.asarray(getattr(found.parts, part)) for part in PARTS], 1)  # seeds, parts, t
    within, beyond = variances[..., :inside], variances[..., inside:]
    half = inside // 2
    (inner, inner_error), (outer, outer_error), (one, one_error), (other, other_error) = (
        log_combination(pictures[..., None, :], np.ones(1)) for pictures in (within, beyond, within[..., :half], within[..., half : 2 * half])
    )
    columns = {
        "variance_inside": within.mean(-1),
        "variance_outside": beyond.mean(-1),
        "outside_ratio": outer - inner,
        "outside_ratio_error": np.hypot(outer_error, inner_error),
        "halves_ratio": other - one,
        "halves_ratio_error": np.hypot(other_error, one_error),
    }
    scored = [[auroc(a, b) for a, b in zip(*seed, strict=True)] for seed in zip(within, beyond, strict=True)]
    compared = [[auroc_difference(a, b, *[x[0] for x in seed]) for a, b in zip(*seed, strict=True)] for seed in zip(within, beyond, strict=True)]
    against_self = [[auroc(part[:half], part[half : 2 * half]) for part in seed] for seed in within]
    return columns | _fields(scored) | _fields(compared, "gain") | _fields(against_self, "inside_auroc")


def _fields(values: list[list[Detection]], name: str = "auroc") -> dict[str, np.ndarray]:
    return {name: np.array([[v.auroc for v in seed] for seed in values]), f"{name}_error": np.array([[v.error for v in seed] for seed in values])}


# --- one network ------------------------------------------------------------------------------------------------------


def builder(network: str) -> tuple[Callable[..., Any], int | None]:
    """The builder of a network by name, and its number of hidden layers if its average kernel is analytic, else None.

    Raises:
        ValueError: the name is unknown.
    """
    match network.split("-"):
        case ["mlp", depth, width]:
            return Partial(_mlp, int(depth), int(width)), int(depth)
        case ["cnn", width]:
            return Partial(_cnn, int(width)), None
    raise ValueError(f"{network!r} is neither mlp-DEPTH-WIDTH nor cnn-WIDTH")


def _mlp(depth: int, width: int, side: int, key: PRNGKeyArray) -> TangentMLP:
    return TangentMLP.create(side * side, 1, width=width, depth=depth, key=key)


def _cnn(width: int, side: int, key: PRNGKeyArray) -> TangentCNN:
    return TangentCNN.create(1, 1, width=width, key=key)


def network_variances(config: KernelImages, network: str, train: Array, labels: Array, test: Array, key: PRNGKeyArray) -> Measured:
    """One replicate of one network."""
    make, depth = builder(network)
    build = Partial(make, train.shape[-1])
    member_key, averaged_key = jax.random.split(key)
    draws = draw_networks(build, jax.random.split(member_key, config.members), test, train, at_once=config.at_once)
    if depth is None:
        keys = jax.random.split(averaged_key, config.averaged)
        kernel, limit = draw_networks(build, keys, test, train, at_once=config.at_once).kernel.mean(axis=0), jnp.zeros(len(test))
    else:
        points = jnp.concatenate([test, train])
        kernels = infinite_width_kernels(points, train, depth=depth)
        kernel = kernels.ntk
        start = with_jitter(kernels.nngp[len(test) :], JITTER)
        prior = prior_variance(test, depth)
        limit = function_noise_limit(prior, kernels.nngp[: len(test)], start, weights_of(kernel))
    models = models_of(draws, weights_of(kernel), labels)
    return Measured(variance_parts(models), readout_variances(models, weights_of(kernel) @ labels, jnp.asarray(config.readouts)), limit)


def prior_variance(x: Array, depth: int) -> Float[Array, " t"]:
    """K(x, x), one point at a time."""
    return jax.vmap(lambda one: infinite_width_kernels(one[None], one[None], depth=depth).nngp[0, 0])(x)


def readout_variances(models: KernelModels, mean: Float[Array, " t"], scales: Float[Array, " scales"]) -> Float[Array, "scales t"]:
    r"""Variance of the full model for read-outs scaled by $\alpha$, $f^c + \alpha (f^a + f^i - 2\bar Q Y)$."""
    functional = models.function + models.interaction - 2 * mean
    return jnp.var(models.kernel + scales[:, None, None] * functional, axis=1, ddof=1)
