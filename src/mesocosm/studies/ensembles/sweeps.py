"""Trained ensembles of several widths, depths and read-out scales: variances, and how well they detect outside pictures."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float

from mesocosm.analysis.detection import SCORES
from mesocosm.analysis.log_ratio import log_combination
from mesocosm.learning.ensemble import VariantName
from mesocosm.studies.ensembles.config import TrainedImages, TrainedSweep
from mesocosm.studies.ensembles.images import held_out, splits_for
from mesocosm.studies.ensembles.trained import Members, detect, detection_columns, train_members
from mesocosm.studies.interface import Context, Tables

SWEPT: tuple[VariantName, ...] = ("gd", "gd-c", "gd-a")


def train_sweep(config: TrainedSweep, context: Context) -> Tables:
    """One row per network and variant, and one per comparison; all networks see the same training subsets, test pictures and outside pictures."""
    arms = config.arms()
    trained = {name: _train(name, arm, context) for name, arm in arms.items()}
    score = Partial(_shares, config.trained.score, config.trained.test)
    shares = {name: context.evaluate(score, trained[name].outputs) for name in ("base", "wide", "deep")}  # seeds, all and halves, gd-c and gd, pictures
    comparisons = {
        "width": (shares["base"][:, 0], shares["wide"][:, 0]),
        "width unchanged": (shares["base"][:, 1], shares["base"][:, 2]),
        "depth": (shares["deep"][:, 0], shares["base"][:, 0]),
        "depth unchanged": (shares["deep"][:, 1], shares["deep"][:, 2]),
    }
    growth, error = zip(*(log_combination(np.concatenate(pair, 1), np.array([1, -1, -1, 1])) for pair in comparisons.values()), strict=True)
    columns = {"growth": np.stack(growth, 1), "growth_error": np.stack(error, 1)}
    return {
        "sweep": pl.concat([_rows(name, arm, trained[name], context) for name, arm in arms.items()]),
        "sweep_shares": context.rows({"comparison": list(comparisons)}, digest=trained["base"].digest, **columns),
    }


def _train(name: str, config: TrainedImages, context: Context) -> Members:
    test, other = (held_out(splits_for(context.seeds, source).test, config.test) for source in (config.inside, config.outside))
    return train_members(config, context, name, SWEPT, test, {config.outside: other.pixels})


def _shares(score: str, inside: int, outputs: Float[Array, "variants members pictures classes"]) -> Float[Array, "3 2 n"]:
    """Scores inside of gd-c and gd, the two sides of kernel noise's share: of all members, and of the first and the last half of them."""
    pair = jnp.stack([outputs[SWEPT.index(variant), :, :inside] for variant in ("gd-c", "gd")])
    half = (outputs.shape[1] + 1) // 2
    return jnp.stack([SCORES[score](members) for members in (pair, pair[:, :half], pair[:, -half:])])


def _rows(name: str, config: TrainedImages, members: Members, context: Context) -> Any:
    sets = np.stack([members.scores(outputs, config.score) for outputs in np.moveaxis(members.outputs, 1, 0)], 1)
    return context.rows(
        {"variant": SWEPT},
        network=name,
        width=config.width,
        depth=config.depth,
        readout=float(config.readout),
        inside=config.inside,
        outside=config.outside,
        digest=members.digest,
        accuracy=np.stack([members.right(outputs).mean(-1) for outputs in np.moveaxis(members.outputs, 1, 0)], 1),
        train_loss=members.loss,
        worst_train_loss=members.worst,
        variance_inside=sets[:, :, 0].mean(-1),
        variance_error=sets[:, :, 0].std(-1, ddof=1) / np.sqrt(config.test),
        variance_outside=sets[:, :, 1].mean(-1),
        **detection_columns([[detect(own, seed[0], 1) for own in seed] for seed in sets]),
    )
