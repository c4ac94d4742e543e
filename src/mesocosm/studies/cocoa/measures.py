"""Measurements for the cocoa study's claims: tables to one number per replicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from mesocosm.claims.measures import Measure, derived, instances, replicates
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.tables import Rows, Value
from mesocosm.studies.cocoa.config import Config
from mesocosm.studies.cocoa.tables import Ratios, Signal, Solved, Tree, TreeGroups, learner
from mesocosm.studies.interface import View

OfSeeds = Measure[Replicates]


def every(value: Value, **where: Any) -> Measure[Instances]:
    """A column over all instances of a finite set."""
    return instances(value, exhaustive=True, **where)


# --- trees: exact variances in the five environments that differ ---------------------------------------------------------


def _gaps(table: pl.DataFrame, low: str, high: str) -> pl.DataFrame:
    """Decibels from the variance of `low` up to that of `high`, for each environment and overlap."""
    table = table.with_columns(overlap=pl.col("overlap") if "overlap" in table.columns else pl.lit(0))
    wide = table.pivot("estimator", index=["offset", "overlap"], values="variance")
    missing = [name for name in (low, high) if name not in wide.columns]
    if missing:
        raise NotJudged(f"no variance of {', '.join(missing)} was measured")
    return wide.select("offset", "overlap", gap=10 * (pl.col(high) / pl.col(low)).log10())


def _all_five(gaps: pl.DataFrame, value: str = "gap") -> Instances:
    return Instances.of(gaps, value, exhaustive=True)


def leads(low: str, high: str, overlap: Callable[[Config], int] | int | None = None) -> Measure[Instances]:
    """The gap in every environment, at one overlap or at all."""
    return derived(lambda table: _all_five(_gaps(table, low, high)), Tree.rows() if overlap is None else Tree.rows(overlap=overlap))


def mean_lead(low: str, high: str) -> Measure[Instances]:
    """The gap in every environment, averaged over overlaps above 0, where states differ from histories."""

    def mean(table: pl.DataFrame) -> Instances:
        return _all_five(_gaps(table, low, high).filter(pl.col("overlap") > 0).group_by("offset").agg(pl.col("gap").mean()))

    return derived(mean, Tree.rows())


def apart(low: str, high: str, rows: Rows) -> Measure[Instances]:
    """The relative difference of two variances in every environment."""
    return derived(lambda table: _all_five(_gaps(table, low, high).with_columns(apart=(10 ** (pl.col("gap") / 10) - 1).abs()), "apart"), rows)


def smallest_rise(groups: str) -> Measure[Instances]:
    """The smallest rise of the variance, in decibels, from one number of groups to the next, in every environment."""
    number = pl.col("estimator").str.strip_prefix(f"{groups}-").cast(pl.Int64)
    rise = (10 * pl.col("variance").log10()).sort_by(number).diff().min()

    def measure(table: pl.DataFrame) -> Instances:
        return _all_five(table.filter(pl.col("estimator").str.starts_with(f"{groups}-")).group_by("offset").agg(rise=rise), "rise")

    return derived(measure, TreeGroups.rows())


def way_to_states(groups: Callable[[Config], int]) -> Measure[Instances]:
    """Where the variance with this many groups lies between COCOA-reward's (0) and HCA+'s (1), in decibels, in every environment."""
    rows = TreeGroups.rows()

    def measure(view: View) -> Instances:
        table = rows.read(view)
        near, far = (_gaps(table, "cocoa-reward", name) for name in (f"groups-{groups(view.config)}", "hca-plus"))
        return _all_five(near.join(far, on="offset").select(share=pl.col("gap") / pl.col("gap_right")), "share")

    return Measure((rows,), measure)


# --- signal-to-noise ratios ----------------------------------------------------------------------------------------------


def nearest(config: Config) -> int:
    """The shortest track."""
    return min(config.signal.lengths)


def furthest(config: Config) -> int:
    """The longest track."""
    return max(config.signal.lengths)


def _signal(table: type[Ratios], estimator: str, length: Callable[[Config], int], **where: Any) -> OfSeeds:
    return replicates(table.snr, estimator=estimator, length=length, own_data=True, **where)  # each layout has episodes of its own


def fall(estimator: str) -> OfSeeds:
    """Decibels lost from the shortest to the longest track."""
    return _signal(Signal, estimator, nearest).minus(_signal(Signal, estimator, furthest))


def signal_lead(table: type[Ratios], estimator: str, other: str, **where: Any) -> OfSeeds:
    """Decibels between two estimators at the shortest track."""
    return _signal(table, estimator, nearest, **where).minus(_signal(table, other, nearest, **where))


# --- learning ------------------------------------------------------------------------------------------------------------


def solved(estimator: str) -> OfSeeds:
    """Whether the task was solved almost at once (1 or 0)."""
    return replicates(Solved.solved, trial=learner(estimator))


def _at_last(estimator: str) -> OfSeeds:
    """Probability of the treasure over the last tenth of training."""
    return replicates(Solved.last, trial=learner(estimator))


def learned(estimator: str) -> OfSeeds:
    """Whether the treasure is more probable than not over the last tenth of training (1 or 0)."""
    return _at_last(estimator).map(lambda last: 1.0 * (last > 0.5))


def behind(estimator: str) -> OfSeeds:
    """Whether an estimator's last probability of the treasure is more than 0.5 below the leader's (1 or 0)."""
    return _at_last("cocoa-reward").minus(_at_last(estimator)).map(lambda gap: 1.0 * (gap > 0.5))
