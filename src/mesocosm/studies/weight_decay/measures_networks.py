"""Measurements on transformers: ranks, balance and accuracy by decay, each relative to a network with the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mesocosm.claims.measures import Measure, within
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Estimate, Rows, Value
from mesocosm.studies.weight_decay.config import Config
from mesocosm.studies.weight_decay.tables import AttentionProducts, HeldOut

OfSeeds = Measure[Replicates]


class Decays(NamedTuple):
    """Decays of one network of a task, of attention and elsewhere."""

    attention: float
    elsewhere: float


Chosen = Callable[[Config], Decays]
"""A network, by the study's config."""
Passes = Callable[[pl.DataFrame], pl.Series]
"""Which networks have learned, by rows of `HeldOut`."""


def free(task: str) -> Chosen:
    """No decay of attention, the usual one elsewhere."""
    return lambda config: Decays(0.0, getattr(config, task).others)


def decayed(task: str) -> Chosen:
    """The decay at which the claim is judged, the usual one elsewhere."""
    return lambda config: Decays(getattr(config, task).judged, getattr(config, task).others)


def elsewhere(task: str) -> Chosen:
    """Decay elsewhere instead, none of attention."""
    return lambda config: Decays(0.0, getattr(config, task).moved)


def final(column: Value, task: str, chosen: Chosen, *, product: str, layer: int | None = None) -> OfSeeds:
    """A column at the end of training, mean over layers or in one."""
    return within(_of(task, chosen, product, layer), lambda rows: float(_last(rows)[column].mean()))  # type: ignore[arg-type]


def since_the_start(column: Value, task: str, chosen: Chosen, *, product: str, layer: int | None = None) -> OfSeeds:
    """Log of a column at the end over that before training."""
    first = within(_of(task, chosen, product, layer), lambda rows: float(rows.filter(pl.col(AttentionProducts.step) == 0)[column].mean()))  # type: ignore[arg-type]
    return final(column, task, chosen, product=product, layer=layer).log_ratio(first)


def change(column: Value, task: str, chosen: Chosen, *, product: str, layer: int | None = None) -> OfSeeds:
    """Log of a column at the end over that of the network whose attention does not decay."""
    return final(column, task, chosen, product=product, layer=layer).log_ratio(final(column, task, free(task), product=product, layer=layer))


def smallest_fall(column: Value, task: str, *, product: str, layer: int | None = None) -> OfSeeds:
    """The largest log ratio of a column between successive decays of attention, from the smallest to the largest that are ordered."""
    where: dict[str, Any] = {"task": task, "product": product, **({} if layer is None else {"layer": layer})}
    usual = AttentionProducts.rows(elsewhere=lambda config: getattr(config, task).others, attention=lambda config: getattr(config, task).ordered, **where)

    def largest_step(rows: pl.DataFrame) -> float:
        by_decay = _last(rows).group_by(AttentionProducts.attention).agg(pl.col(column).mean()).sort(AttentionProducts.attention)
        return float(np.diff(np.log(by_decay[column].to_numpy())).max())

    return within(usual, largest_step)


def learned(task: str, passes: Passes) -> OfSeeds:
    """1 if every network of a task that a ratio or an order reads has learned it, else 0."""

    def judged(config: Config) -> list[float]:
        return sorted({*getattr(config, task).ordered, getattr(config, task).judged})

    rows = HeldOut.rows(task=task, attention=judged, elsewhere=lambda config: [getattr(config, task).others, getattr(config, task).moved])
    return within(rows, lambda rows: float(passes(rows).all()))


def accurate(column: Estimate | Value, least: float) -> Passes:
    """Whether the accuracy on held-out examples is higher."""
    return lambda rows: rows[column] > least


def below_pairs(column: Estimate | Value) -> Passes:
    """Whether the loss on held-out text is at least 0.2 nats below that of pairs of neighbours."""
    return lambda rows: rows[column] < rows[HeldOut.baseline] - 0.2


def _of(task: str, chosen: Chosen, product: str, layer: int | None) -> Rows:
    where: dict[str, Any] = {"task": task, "product": product, **({} if layer is None else {"layer": layer})}
    return AttentionProducts.rows(attention=lambda config: chosen(config).attention, elsewhere=lambda config: chosen(config).elsewhere, **where)


def _last(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col(AttentionProducts.step) == pl.col(AttentionProducts.step).max())
