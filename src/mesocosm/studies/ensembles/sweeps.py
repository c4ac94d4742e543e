"""Trained ensembles of several widths, depths and read-out scales: variances, and how well they detect outside pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from mesocosm.learning.ensemble import VariantName
from mesocosm.studies.ensembles.config import TrainedImages, TrainedSweep
from mesocosm.studies.ensembles.images import held_out
from mesocosm.studies.ensembles.trained import detect, detection_columns, train_members
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.data_sets import find

SWEPT: tuple[VariantName, ...] = ("gd", "gd-c", "gd-a")


def train_sweep(config: TrainedSweep, context: Context) -> Tables:
    """One row per network and variant; all networks see the same training subsets, test pictures and outside pictures."""
    return {"sweep": pl.concat([_rows(name, arm, context) for name, arm in config.arms().items()])}


def _rows(name: str, config: TrainedImages, context: Context) -> Any:
    test, other = (held_out(find(source).splits().test, config.test) for source in (config.inside, config.outside))
    members = train_members(config, context, name, SWEPT, test, {config.outside: other.pixels})
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
