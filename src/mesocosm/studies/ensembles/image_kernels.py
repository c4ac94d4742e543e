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
from mesocosm.analysis.tangent.infinite_width import infinite_width_kernels
from mesocosm.analysis.tangent.kernel_regression import with_jitter
from mesocosm.analysis.tangent.variance_decomposition import KernelModels, VarianceParts, function_noise_limit, variance_parts
from mesocosm.nn.tangent_parametrisation import TangentCNN, TangentMLP
from mesocosm.studies.ensembles.config import KernelImages, Pair
from mesocosm.studies.ensembles.images import Standard, draw_training, held_out, of_classes
from mesocosm.studies.ensembles.kernels import JITTER, draw_networks, models_of, weights_of
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.data_sets import find
from mesocosm.tasks.task import digest

PARTS = ("full", "function", "kernel", "interaction")


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
    """One row per network and part, and one per network and read-out scale."""
    config, pair = arm.kernels, arm.pair
    data, elsewhere = find(pair.inside).splits(), find(pair.outside).splits()
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
    tables: dict[str, list[pl.DataFrame]] = {"detection": [], "readout": []}
    for network in config.networks:
        found = context.evaluate(Partial(network_variances, config, network), train, labels, test, context.keys("init"))
        about = {"network": network, "inside": pair.inside, "outside": pair.outside, "digest": shown}
        tables["detection"].append(context.rows({"part": PARTS}, **about, **_detections(found, len(inside))))
        scales = {"readout": config.readouts}
        values = [[auroc(*np.split(variances, 2)) for variances in seed] for seed in np.asarray(found.readouts)]
        tables["readout"].append(context.rows(scales, **about, **_fields(values)))
    return {f"kernel_{name}": pl.concat(parts) for name, parts in tables.items()}


def _detections(found: Measured, inside: int) -> dict[str, np.ndarray]:
    """For each seed and part: mean variances (inside and each half of it, outside, infinite width), AUROC, and AUROC minus the full model's."""
    variances = np.stack([np.asarray(getattr(found.parts, part)) for part in PARTS], 1)  # seeds, parts, t
    within, beyond = variances[..., :inside], variances[..., inside:]
    half = inside // 2
    columns = {
        "variance_inside": within.mean(-1),
        "variance_half": within[..., :half].mean(-1),
        "variance_other_half": within[..., half : 2 * half].mean(-1),
        "variance_outside": beyond.mean(-1),
        "limit_inside": np.broadcast_to(np.asarray(found.limit)[:, None, :inside].mean(-1), within.shape[:2]),
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
