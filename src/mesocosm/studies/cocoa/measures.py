"""The cocoa study's measurements: from tables to one number a replicate. Claims name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.studies.interface import View


def theorem(name: str, column: str = "error") -> Callable[[View], Instances]:
    """Errors of one theorem on random processes."""
    return lambda view: Instances.of(view.table("theorems", theorem=name), column)


def random(table: str, column: str) -> Callable[[View], Instances]:
    """Random instances."""
    return lambda view: Instances.of(view.table(table), column)


def every(table: str, column: str) -> Callable[[View], Instances]:
    """All of a finite set."""
    return lambda view: Instances.of(view.table(table), column, exhaustive=True)


# --- trees: decibels between two estimators' variances, an environment (offset) a replicate ------------------------------


def _gaps(table: pl.DataFrame, low: str, high: str) -> pl.DataFrame:
    """By how many decibels the variance of `low` is below that of `high`, at each overlap of each environment."""
    table = table.with_columns(overlap=pl.col("overlap") if "overlap" in table.columns else pl.lit(0))
    wide = table.pivot("estimator", index=["offset", "overlap"], values="variance")
    missing = [name for name in (low, high) if name not in wide.columns]
    if missing:
        raise NotJudged(f"no variance of {', '.join(missing)} was measured")
    return wide.select("offset", "overlap", gap=10 * (pl.col(high) / pl.col(low)).log10())


def leads(low: str, high: str, overlap: Callable[[View], int] | None = None) -> Callable[[View], Instances]:
    """The lead in every environment, at one overlap or at all; five offsets are all reward functions, and groups play no part."""

    def measure(view: View) -> Instances:
        table = view.table("tree") if overlap is None else view.table("tree", overlap=overlap(view))
        gaps = _gaps(table, low, high)
        return Instances(gaps["gap"].to_numpy(), exhaustive=(gaps["offset"] % 5).n_unique() == 5)

    return measure


def mean_lead(low: str, high: str) -> Callable[[View], Replicates]:
    """The lead averaged over overlaps above 0, where states differ from histories."""

    def mean(rows: pl.DataFrame) -> float:
        return float(rows.filter(pl.col("overlap") > 0)["gap"].to_numpy().mean())

    return lambda view: Replicates.within(_gaps(view.table("tree"), low, high), mean, by="offset")


def _sweep(view: View) -> pl.DataFrame:
    """Decibels of variance by the logarithm of the number of groups."""
    table = view.table("tree_groups").filter(pl.col("estimator").str.starts_with("groups-"))
    number = pl.col("estimator").str.strip_prefix("groups-").cast(pl.Int64)
    return table.with_columns(groups=number, decibels=10 * pl.col("variance").log10()).sort("offset", "groups")


def rank_with_groups(view: View) -> Replicates:
    """Rank correlation of variance with the number of groups, environment by environment.

    The variances are exact, but k ranks resolve the correlation to 12 / (k (k^2 - 1)) only, what the swap of two neighbours takes away: its error is that of
    a number rounded to such steps.
    """

    def correlation(rows: pl.DataFrame) -> float:
        return float(rows.select(pl.corr("groups", "decibels", method="spearman")).item())

    sweep = _sweep(view)
    found, ranks = Replicates.within(sweep, correlation, by="offset"), sweep["groups"].n_unique()
    return replace(found, errors=np.full(len(found.values), 12 / (ranks * (ranks**2 - 1)) / np.sqrt(12)))


def way_to_states(groups: Callable[[View], int]) -> Callable[[View], Replicates]:
    """How far the variance with so many groups is on the way from COCOA-reward's (0) to HCA+'s (1), in decibels."""

    def measure(view: View) -> Replicates:
        table = view.table("tree_groups")
        near = Replicates.of(_gaps(table, "cocoa-reward", f"groups-{groups(view)}"), "gap", by="offset")
        return near.over(Replicates.of(_gaps(table, "cocoa-reward", "hca-plus"), "gap", by="offset"))

    return measure


# --- signal-to-noise ratios ----------------------------------------------------------------------------------------------


def _signal(view: View, table: str, estimator: str, length: int) -> Replicates:
    return Replicates.of(view.table(table, estimator=estimator, length=length), "snr", error="snr_error")


def nearest(view: View) -> int:
    """The shortest track."""
    return min(view.config.signal.lengths)


def furthest(view: View) -> int:
    """The longest track."""
    return max(view.config.signal.lengths)


def off_the_form(table: str, estimator: str, of: str | None = None) -> Callable[[View], Replicates]:
    """Sampled less closed form, averaged over distances; `of` takes another estimator's formula."""

    def measure(view: View) -> Replicates:
        rows = view.table(table, estimator=estimator)
        forms = view.table(table, estimator=of or estimator).select("seed", "length", "closed_form")
        rows = rows.drop("closed_form").join(forms, on=["seed", "length"])
        mean = rows.group_by("seed").agg(difference=(pl.col("snr") - pl.col("closed_form")).mean(), error=(pl.col("snr_error") ** 2).sum().sqrt() / pl.len())
        return Replicates.of(mean, "difference", error="error")

    return measure


def fall(estimator: str) -> Callable[[View], Replicates]:
    """Decibels lost from the shortest to the longest track."""
    return lambda view: _signal(view, "signal", estimator, nearest(view)).minus(_signal(view, "signal", estimator, furthest(view)))


def signal_lead(table: str, estimator: str, other: str) -> Callable[[View], Replicates]:
    """Decibels between two estimators at the shortest track."""
    return lambda view: _signal(view, table, estimator, nearest(view)).minus(_signal(view, table, other, nearest(view)))


# --- learning ------------------------------------------------------------------------------------------------------------


def solved(estimator: str) -> Callable[[View], Replicates]:
    """Whether the treasure became probable enough early enough."""
    return lambda view: Replicates.of(view.table("solved", trial=estimator), "solved")


def treasure_at_last(estimator: str) -> Callable[[View], Replicates]:
    """Probability of the treasure over the last tenth of training."""
    return lambda view: Replicates.of(view.table("solved", trial=estimator), "last")


def behind(estimator: str, leader: str = "cocoa-reward") -> Callable[[View], Replicates]:
    """By how much an estimator's last probability of the treasure is below the leader's."""
    return lambda view: treasure_at_last(leader)(view).minus(treasure_at_last(estimator)(view))
