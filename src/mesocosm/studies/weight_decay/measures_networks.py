"""Measurements on transformers: ranks, balance and accuracy by decay, each relative to a network with the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.stats import kendalltau

from mesocosm.claims.measures import Measure, within
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Value
from mesocosm.studies.weight_decay.config import Config
from mesocosm.studies.weight_decay.tables import AttentionProducts, HeldOut

OfSeeds = Measure[Replicates]


class Decays(NamedTuple):
    """Decays of one network of a task, of attention and elsewhere."""

    attention: float
    elsewhere: float


Chosen = Callable[[Config], Decays]
"""A network, by the study's config."""


def free(task: str) -> Chosen:
    """No decay of attention, the usual one elsewhere."""
    return lambda config: Decays(0.0, getattr(config, task).others)


def decayed(task: str) -> Chosen:
    """The decay at which the claim is judged, the usual one elsewhere."""
    return lambda config: Decays(getattr(config, task).judged, getattr(config, task).others)


def largest(task: str) -> Chosen:
    """The largest decay of attention, the usual one elsewhere."""
    return lambda config: Decays(max(getattr(config, task).decays), getattr(config, task).others)


def elsewhere(task: str) -> Chosen:
    """This decay elsewhere, none of attention."""
    return lambda config: Decays(0.0, getattr(config, task).judged)


def final(column: Value, task: str, chosen: Chosen, *, product: str, layer: int | None = None) -> OfSeeds:
    """A column at the end of training, mean over layers or in one."""
    where: dict[str, Any] = {"task": task, "product": product, **({} if layer is None else {"layer": layer})}
    rows = AttentionProducts.rows(attention=lambda config: chosen(config).attention, elsewhere=lambda config: chosen(config).elsewhere, **where)
    return within(rows, lambda rows: float(_last(rows)[column].mean()))  # type: ignore[arg-type]


def change(column: Value, task: str, chosen: Chosen, *, product: str, layer: int | None = None) -> OfSeeds:
    """Log of a column at the end over that of the network whose attention does not decay."""
    return final(column, task, chosen, product=product, layer=layer).log_ratio(final(column, task, free(task), product=product, layer=layer))


def order(column: Value, task: str, *, product: str, layer: int | None = None, trained: bool = True) -> OfSeeds:
    """Kendall's tau (b) of a column with attention's decay, after training or before; 0 if all networks are equal."""
    where: dict[str, Any] = {"task": task, "product": product, **({} if layer is None else {"layer": layer})}
    usual = AttentionProducts.rows(elsewhere=lambda config: getattr(config, task).others, attention=lambda config: getattr(config, task).decays, **where)

    def tau(rows: pl.DataFrame) -> float:
        moment = _last(rows) if trained else rows.filter(pl.col(AttentionProducts.step) == 0)
        by_decay = moment.group_by(AttentionProducts.attention).agg(pl.col(column).mean()).sort(AttentionProducts.attention)
        values = by_decay[column].to_numpy()
        return 0.0 if np.ptp(values) == 0 else float(kendalltau(by_decay[AttentionProducts.attention].to_numpy(), values)[0])

    return within(usual, tau)


def accurate(task: str, chosen: Chosen, threshold: float) -> OfSeeds:
    """1 if the accuracy on held-out examples exceeds a threshold, else 0."""
    rows = HeldOut.rows(task=task, attention=lambda config: chosen(config).attention, elsewhere=lambda config: chosen(config).elsewhere)
    return within(rows, lambda rows: float(rows[HeldOut.accuracy][0] > threshold))


def _last(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col(AttentionProducts.step) == pl.col(AttentionProducts.step).max())
