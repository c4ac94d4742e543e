"""Measurements for the cocoa study's claims: tables to one number per replicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from mesocosm.claims.measures import Measure, derived, instances, replicates, within
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.tables import Rows, Trials, Value
from mesocosm.studies.cocoa.config import Config
from mesocosm.studies.cocoa.tables import (
    ALIASED,
    BETWEEN,
    LEARNED,
    LONG,
    ROOMS,
    SWITCHED,
    WHOLE,
    Adapted,
    Learned,
    LearnedBias,
    LearnedLast,
    Learning,
    Perturbed,
    Ratios,
    RoomsDiagonal,
    RoomsLast,
    Shadow,
    Signal,
    Solved,
    Tree,
    TreeGroups,
    learner,
)
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


def at_last(estimator: str) -> OfSeeds:
    """Probability of the treasure over the last tenth of training."""
    return replicates(Solved.last, trial=learner(estimator))


def behind(estimator: str) -> OfSeeds:
    """Whether an estimator's last probability of the treasure is more than 0.5 below the leader's (1 or 0)."""
    return at_last("cocoa-reward").minus(at_last(estimator)).map(lambda gap: 1.0 * (gap > 0.5))


def whole(estimator: str) -> OfSeeds:
    """Probability of the treasure over the last tenth of the paper's whole training with exact models."""
    return replicates(Solved.last, trial=Trials(WHOLE + estimator))


def whole_mean(estimator: str) -> OfSeeds:
    """Probability of the treasure, averaged over that training."""
    return within(Learning.rows(Trials(WHOLE + estimator)), lambda table: float(table["treasure"].to_numpy().mean()))


def finds_more(estimator: str, other: str) -> OfSeeds:
    """Whether the first average is above the second (1 or 0)."""
    return exceeds(whole_mean(estimator).minus(whole_mean(other)), 0.0)


# --- learned models ------------------------------------------------------------------------------------------------------


def mean_of(estimator: str, kind: str) -> OfSeeds:
    """Probability of the treasure, averaged over training."""
    return replicates(LearnedLast.mean, trial=Trials(kind + estimator))


def mean_lead_of(estimator: str, other: str, kind: str) -> OfSeeds:
    """The difference of two averages."""
    return mean_of(estimator, kind).minus(mean_of(other, kind))


def exceeds(measure: OfSeeds, least: float) -> OfSeeds:
    """Whether a number is above another (1 or 0)."""
    return measure.map(lambda value: 1.0 * (value > least))


def stays_below(measure: OfSeeds, most: float) -> OfSeeds:
    """Whether a number is below another (1 or 0)."""
    return measure.map(lambda value: 1.0 * (value < most))


def both(one: OfSeeds, other: OfSeeds) -> OfSeeds:
    """Whether two conditions hold (1 or 0)."""
    return Measure(one.reads + other.reads, lambda view: one(view).extreme(other(view), by=np.negative))


def between_steps(estimator: str, kind: str, share: tuple[float, float]) -> OfSeeds:
    """Probability of the treasure, averaged over a part of the training at distance 100, given as shares of its iterations."""
    rows = Learned.rows(Trials(kind + estimator))

    def mean(table: pl.DataFrame) -> float:
        last = float(table["step"].cast(pl.Float64).to_numpy().max())
        inside = table.filter(pl.col("step").is_between(share[0] * last, share[1] * last))
        return float(inside["treasure"].to_numpy().mean())

    return within(rows, mean)


def budget(config: Config) -> int:
    """The iterations over which short and long tracks are compared."""
    return min(config.learned.steps, config.long.steps)


def brief_budget(config: Config) -> int:
    """The iterations over which all estimators on the short track are compared."""
    return min(config.learned.steps, config.brief_steps)


def over(estimator: str, kind: str, steps: Callable[[Config], int]) -> OfSeeds:
    """Probability of the treasure, averaged over the first iterations."""
    rows = Learned.rows(Trials(kind + estimator))

    def compute(view: View) -> Replicates:
        table = rows.read(view).filter(pl.col("step") <= steps(view.config)).group_by("seed").agg(pl.col("treasure").mean())
        return Replicates.of(table, "treasure")

    return Measure((rows,), compute)


def fall_of(estimator: str) -> OfSeeds:
    """How much that average falls from distance 20 to 100."""
    return over(estimator, LEARNED, budget).minus(over(estimator, LONG, budget))


def far_average(estimator: str) -> OfSeeds:
    """That average at distance 100."""
    return over(estimator, LONG, budget)


def brief_lead(estimator: str, other: str) -> OfSeeds:
    """The difference of two averages at distance 20."""
    return over(estimator, LEARNED, brief_budget).minus(over(other, LEARNED, brief_budget))


def over_aliased(estimator: str) -> OfSeeds:
    """Probability of the treasure with aliased rewards, averaged over training."""
    return over(estimator, ALIASED, lambda config: config.aliased.steps)


def _between(*estimators: str) -> Trials:
    """The trials of some estimators at the distances between."""
    return Trials(lambda config: tuple(f"{BETWEEN}{length - 3}-{name}" for length in config.between.lengths for name in estimators))


def smallest_lead_between(estimator: str, other: str) -> OfSeeds:
    """The smallest difference of two averages over training, over the distances between, inside each replicate."""

    def smallest(table: pl.DataFrame) -> float:
        wide = table.group_by("length", "estimator").agg(pl.col("treasure").mean()).pivot("estimator", index="length", values="treasure")
        return float((wide[estimator] - wide[other]).to_numpy().min())

    return within(Learned.rows(_between(estimator, other)), smallest)


def logit_bias_of(estimator: str, kind: str) -> OfSeeds:
    """Exact bias of the gradient of the first state's logits, in decibels, mean over the second half of training."""
    rows = LearnedBias.rows(Trials(kind + estimator))

    def mean(table: pl.DataFrame) -> float:
        half = float(table["step"].cast(pl.Float64).to_numpy().max()) / 2
        return float(table.filter(pl.col("step") >= half)["logit_bias"].to_numpy().mean())

    return within(rows, mean)


# --- shadow training -----------------------------------------------------------------------------------------------------

BINS = 10
NEAR_SHADOW, FAR_SHADOW = Trials("shadow"), Trials("long-shadow")
HALF_DB = -3.0
"""A squared bias of half the squared gradient; coefficients of 0 have 0 dB."""


def binned(estimator: str, statistic: Value, trial: Trials = NEAR_SHADOW) -> OfSeeds:
    """A statistic in decibels, averaged in ten bins of the probability of the treasure, then over the bins that the policy visits (authors' code)."""
    rows = Shadow.rows(trial, estimator=estimator)

    def mean(table: pl.DataFrame) -> float:
        place = (pl.col("treasure") * BINS).floor().clip(0, BINS - 1)
        return float(table.group_by(place.alias("bin")).agg(pl.col(statistic).mean())[statistic].to_numpy().mean())

    return within(rows, mean)


def shadow_lead(statistic: Value, estimator: str, other: str, trial: Trials = NEAR_SHADOW) -> OfSeeds:
    """Decibels between two estimators."""
    return binned(estimator, statistic, trial).minus(binned(other, statistic, trial))


def shadow_fall(estimator: str) -> OfSeeds:
    """Decibels of the signal-to-noise ratio lost from distance 20 to 100, along shadow training."""
    return binned(estimator, Shadow.snr).minus(binned(estimator, Shadow.snr, FAR_SHADOW))


# --- task interleaving, switched rewards, noise ---------------------------------------------------------------------------


def rooms_mean(estimator: str) -> OfSeeds:
    """Share of questions answered correctly, averaged over training."""
    return replicates(RoomsLast.mean, trial=Trials(ROOMS + estimator))


def rooms_lead(estimator: str, other: str) -> OfSeeds:
    """The difference of two shares."""
    return rooms_mean(estimator).minus(rooms_mean(other))


def diagonal(encoding: str) -> OfSeeds:
    """Share of the exact coefficients that goes to the question's own context, under the policies that COCOA-reward trained."""
    return replicates(RoomsDiagonal.diagonal, trial=Trials(f"{ROOMS}cocoa-reward"), encoding=encoding)


def slower(estimator: str, other: str) -> OfSeeds:
    """Log ratio of the iterations until the treasure is left, in the trainings that had found it with both estimators."""
    one, two = (Adapted.rows(Trials(SWITCHED + name)) for name in (estimator, other))

    def compute(view: View) -> Replicates:
        tables = [rows.read(view) for rows in (one, two)]
        for name, table in zip((estimator, other), tables, strict=True):
            if not table["level"].cast(pl.Float64).is_finite().all():
                raise NotJudged(f"with {name}, the probability of the treasure before the switch is not a number")
        found = [set(table.filter(pl.col("level") > view.config.switched.found_at)["seed"].to_list()) for table in tables]
        if not (both := sorted(found[0] & found[1])):
            raise NotJudged("in no training had both estimators found the treasure before the switch")
        slow, fast = (Replicates.of(table.filter(pl.col("seed").is_in(both)), Adapted.took) for table in tables)
        return slow.log_ratio(fast)

    return Measure((one, two), compute)


def noisy(estimator: str, sigma: Callable[[Config], float]) -> OfSeeds:
    """Signal-to-noise ratio with noise of this size."""
    return replicates(Perturbed.snr, estimator=estimator, sigma=sigma, own_data=True)


def smallest_noisy_lead(estimator: str, other: str) -> OfSeeds:
    """The smallest lead in signal-to-noise ratio over all sizes of the noise, inside each replicate."""

    def smallest(table: pl.DataFrame) -> float:
        wide = table.pivot("estimator", index="sigma", values="snr")
        return float((wide[estimator] - wide[other]).to_numpy().min())

    return within(Perturbed.rows(estimator=(estimator, other)), smallest)


def fall_per_decade(estimator: str) -> OfSeeds:
    """Decibels lost when the noise grows tenfold, between its two largest sizes that are ten or more apart."""
    return noisy(estimator, lambda config: max(s for s in config.perturbed.sigmas if s <= max(config.perturbed.sigmas) / 9.99)).minus(
        noisy(estimator, lambda config: max(config.perturbed.sigmas))
    )


# --- binned rewards ------------------------------------------------------------------------------------------------------


def bias_on_trees(estimator: str) -> Measure[Instances]:
    """Squared bias over the squared true gradient, in every environment and at every overlap."""
    return instances(Tree.bias, exhaustive=True, estimator=estimator)
