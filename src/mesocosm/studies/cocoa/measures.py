"""Measurements for the cocoa study's claims: tables to one number per replicate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from mesocosm.claims.measures import Measure, derived, instances, replicates
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.tables import Value
from mesocosm.studies.cocoa.config import Config
from mesocosm.studies.cocoa.tables import Ratios, Signal, Solved, Tree, TreeGroups, learner
from mesocosm.studies.interface import View

OfSeeds = Measure[Replicates]


def every(value: Value) -> Measure[Instances]:
    """A column over all instances of a finite set."""
    return instances(value, exhaustive=True)


# --- trees: decibels between two estimators' variances, one environment (offset) per replicate ---------------------------


def _gaps(table: pl.DataFrame, low: str, high: str) -> pl.DataFrame:
    """Decibels from the variance of `low` up to that of `high`, for each environment and overlap."""
    table = table.with_columns(overlap=pl.col("overlap") if "overlap" in table.columns else pl.lit(0))
    wide = table.pivot("estimator", index=["offset", "overlap"], values="variance")
    missing = [name for name in (low, high) if name not in wide.columns]
    if missing:
        raise NotJudged(f"no variance of {', '.join(missing)} was measured")
    return wide.select("offset", "overlap", gap=10 * (pl.col(high) / pl.col(low)).log10())


def leads(low: str, high: str, overlap: Callable[[Config], int] | int | None = None) -> Measure[Instances]:
    """The gap in every environment, at one overlap or at all. Five offsets cover all reward functions if groups play no part."""

    def measure(table: pl.DataFrame) -> Instances:
        gaps = _gaps(table, low, high)
        return Instances(gaps["gap"].to_numpy(), exhaustive=(gaps["offset"] % 5).n_unique() == 5)

    return derived(measure, Tree.rows() if overlap is None else Tree.rows(overlap=overlap))


def mean_lead(low: str, high: str) -> OfSeeds:
    """The gap averaged over overlaps above 0, where states differ from histories."""
    overlap, offset = Tree.overlap, Tree.offset

    def mean(rows: pl.DataFrame) -> float:
        return float(rows.filter(pl.col(overlap) > 0)["gap"].to_numpy().mean())

    return derived(lambda table: Replicates.within(_gaps(table, low, high), mean, by=offset), Tree.rows())


def _sweep(table: pl.DataFrame) -> pl.DataFrame:
    """Variance in decibels by number of groups."""
    table = table.filter(pl.col("estimator").str.starts_with("groups-"))
    number = pl.col("estimator").str.strip_prefix("groups-").cast(pl.Int64)
    return table.with_columns(groups=number, decibels=10 * pl.col("variance").log10()).sort("offset", "groups")


def _rank_with_groups(table: pl.DataFrame) -> Replicates:
    def correlation(rows: pl.DataFrame) -> float:
        return float(rows.select(pl.corr("groups", "decibels", method="spearman")).item())

    sweep = _sweep(table)
    found, ranks = Replicates.within(sweep, correlation, by="offset"), sweep["groups"].n_unique()
    return replace(found, errors=np.full(len(found.values), 12 / (ranks * (ranks**2 - 1)) / np.sqrt(12)))


rank_with_groups: OfSeeds = derived(_rank_with_groups, TreeGroups.rows())
"""Rank correlation of variance with the number of groups in each environment.

The variances are exact, but k ranks resolve the correlation only to 12 / (k (k^2 - 1)), the loss when two neighbours swap. Its error is that of rounding to
such steps.
"""


def way_to_states(groups: Callable[[Config], int]) -> OfSeeds:
    """Where the variance with this many groups lies between COCOA-reward's (0) and HCA+'s (1), in decibels."""
    rows, offset = TreeGroups.rows(), TreeGroups.offset

    def measure(view: View) -> Replicates:
        table = rows.read(view)
        near = Replicates.of(_gaps(table, "cocoa-reward", f"groups-{groups(view.config)}"), "gap", by=offset)
        return near.over(Replicates.of(_gaps(table, "cocoa-reward", "hca-plus"), "gap", by=offset))

    return Measure((rows,), measure)


# --- signal-to-noise ratios ----------------------------------------------------------------------------------------------


def nearest(config: Config) -> int:
    """The shortest track."""
    return min(config.signal.lengths)


def furthest(config: Config) -> int:
    """The longest track."""
    return max(config.signal.lengths)


def _signal(table: type[Ratios], estimator: str, length: Callable[[Config], int]) -> OfSeeds:
    return replicates(table.snr, estimator=estimator, length=length, own_data=True)  # each layout has episodes of its own


def off_the_form(table: type[Signal], estimator: str, of: str | None = None) -> OfSeeds:
    """Sampled minus closed form, averaged over distances; `of` selects another estimator's formula."""
    length, snr, error, form = table.length, table.snr, table.snr.error, table.closed_form

    def measure(rows: pl.DataFrame, others: pl.DataFrame) -> Replicates:
        rows = rows.drop(form).join(others.select("seed", length, form), on=["seed", length])
        mean = rows.group_by("seed").agg(difference=(pl.col(snr) - pl.col(form)).mean(), error=(pl.col(error) ** 2).sum().sqrt() / pl.len())
        return Replicates.of(mean, "difference", error="error", own_data=True)

    return derived(measure, table.rows(estimator=estimator), table.rows(estimator=of or estimator))


def fall(estimator: str) -> OfSeeds:
    """Decibels lost from the shortest to the longest track."""
    return _signal(Signal, estimator, nearest).minus(_signal(Signal, estimator, furthest))


def signal_lead(table: type[Ratios], estimator: str, other: str) -> OfSeeds:
    """Decibels between two estimators at the shortest track."""
    return _signal(table, estimator, nearest).minus(_signal(table, other, nearest))


# --- learning ------------------------------------------------------------------------------------------------------------


def solved(estimator: str) -> OfSeeds:
    """Whether the task was solved almost at once (1 or 0)."""
    return replicates(Solved.solved, trial=learner(estimator))


def treasure_at_last(estimator: str) -> OfSeeds:
    """Probability of the treasure over the last tenth of training."""
    return replicates(Solved.last, trial=learner(estimator))


def behind(estimator: str) -> OfSeeds:
    """By how much an estimator's last probability of the treasure is below the leader's."""
    return treasure_at_last("cocoa-reward").minus(treasure_at_last(estimator))
