"""Measurements for the weight-decay study's claims: tables to one number per replicate."""

from collections.abc import Callable, Sequence
from functools import partial
from math import log
from typing import Any

import numpy as np
import polars as pl

from mesocosm.analysis.exponential_rate import exponential_rate
from mesocosm.claims.measures import Measure, derived, instances, within
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.tables import Value
from mesocosm.studies.interface import View
from mesocosm.studies.weight_decay.config import Config
from mesocosm.studies.weight_decay.tables import (
    AdaptiveBalance,
    DeepDescent,
    Descent,
    EndPoints,
    Hidden,
    NoisyPaths,
    Pruned,
    Scalars,
    Spectra,
    Spectrum,
    Trajectory,
)

OfSeeds = Measure[Replicates]
SMALLEST = 1e-9  # relative to the first imbalance; below it, rounding dominates


def absolute(value: Value, **where: Any) -> Measure[Instances]:
    """A column's absolute values, one row per instance; a difference of zero can round to either sign."""
    signed = instances(value, **where)
    return Measure(signed.reads, lambda view: Instances(np.abs(signed(view).values)))


# --- along the way --------------------------------------------------------------------------------------------------


def fitted_rate(rows: pl.DataFrame) -> float:
    """The rate at which the imbalance's norm falls per unit of time, fitted until rounding dominates."""
    by_time = rows.sort("time")
    kept = by_time.filter(pl.col("difference") > SMALLEST * by_time["difference"][0])
    return exponential_rate(kept["time"].to_numpy(), kept["difference"].to_numpy())


def descent_rate(arm: str) -> OfSeeds:
    """Fitted rate over the law's rate with decay, minus one."""
    law = Descent.law

    def measure(rows: pl.DataFrame, decayed: pl.DataFrame) -> Replicates:
        return Replicates.within(rows, lambda rows: fitted_rate(rows) / decayed[law][0] - 1)

    return derived(measure, Descent.rows(arm=arm), Descent.rows(arm="decayed"))


def deep_rate(arm: str) -> OfSeeds:
    """The rates of the balances of three matrices over the law's rate with decay, minus one; the one further from it."""
    law, place = DeepDescent.law, DeepDescent.place

    def measure(rows: pl.DataFrame, decayed: pl.DataFrame) -> Replicates:
        first, *others = (
            Replicates.within(rows.filter(pl.col(place) == one), lambda rows: fitted_rate(rows) / decayed[law][0] - 1)
            for one in rows[place].unique(maintain_order=True)
        )
        return first.extreme(*others, by=np.abs)

    return derived(measure, DeepDescent.rows(arm=arm), DeepDescent.rows(arm="decayed"))


def gap_over_bound(arm: str) -> OfSeeds:
    """The largest ratio of the gap to the exponential bound during training."""
    gap, bound = Descent.gap, Descent.bound
    return within(Descent.rows(arm=arm), lambda rows: float((rows[gap] / rows[bound]).max()))  # type: ignore[arg-type]


# --- the factorisation ----------------------------------------------------------------------------------------------

trajectory = partial(Trajectory.rows, arm="both")


def positive_decays(config: Config) -> list[float]:
    """The positive decays of the grid."""
    return [decay for decay in config.factorisation.decays if decay > 0]


def gap_fall(decays: Callable[[Any], Sequence[float]]) -> OfSeeds:
    """log10 of the gap after training over before, largest over decays."""
    step, gap = Trajectory.step, Trajectory.gap

    def fall(rows: pl.DataFrame) -> float:
        gaps = rows.sort(step)[gap]
        return float(np.log10(max(gaps[-1], 1e-16) / gaps[0]))

    def measure(view: View) -> Replicates:
        first, *others = (within(trajectory(decay=decay), fall)(view) for decay in decays(view.config))
        return first.extreme(*others, by=np.positive)

    return Measure((trajectory(decay=decays),), measure)


def rate_deviation(regularised: bool) -> OfSeeds:
    """Fitted rate over the law's, minus one, worst over positive decays; if not `regularised`, the rate at decay 0 against the same laws."""
    law = Trajectory.law

    def at(view: View, decay: float) -> Replicates:
        expected = trajectory(decay=decay).read(view)[law][0]
        return within(trajectory(decay=decay if regularised else 0.0), lambda rows: fitted_rate(rows) / expected - 1)(view)

    def measure(view: View) -> Replicates:
        first, *others = (at(view, decay) for decay in positive_decays(view.config))
        return first.extreme(*others, by=np.abs)

    return Measure((trajectory(),), measure)


def threshold_error(table: type[Spectra], *, regularised: bool = True, **where: Any) -> OfSeeds:
    """Largest distance of final singular values from the soft threshold, over positive decays and modes that are not critical."""
    decay, target, value = table.decay, table.target, table.value

    def largest(rows: pl.DataFrame) -> float:
        alive = rows.filter((pl.col(target) - pl.col("wanted_at")).abs() > 1e-6)
        wanted = (alive[target] - alive["wanted_at"]).clip(0.0)
        return float((alive[value] - wanted).abs().max())  # type: ignore[arg-type]

    def measure(rows: pl.DataFrame) -> Replicates:
        decays = [trained for trained in rows[decay].unique().sort() if trained > 0]
        if not decays:
            raise NotJudged("no decay above zero was trained")
        parts = [rows.filter(pl.col(decay) == (trained if regularised else 0.0)).with_columns(wanted_at=pl.lit(trained)) for trained in decays]
        return Replicates.within(pl.concat(parts), largest)

    return derived(measure, table.rows(**where))


def dead_modes(arm: str) -> OfSeeds:
    """Largest final singular value among modes whose target is at most the largest decay."""
    decay, target, value = Spectrum.decay, Spectrum.target, Spectrum.value

    def measure(rows: pl.DataFrame) -> Replicates:
        dead = rows.filter(pl.col(target) <= pl.col(decay) + 1e-9)
        return Replicates.within(dead, lambda rows: float(rows[value].max()))  # type: ignore[arg-type]

    return derived(measure, Spectrum.rows(arm=arm, decay=lambda config: max(config.factorisation.decays)))


# --- adaptive optimisers --------------------------------------------------------------------------------------------


def scalars_at_threshold(form: str) -> OfSeeds:
    """Whether both scalars lie within 0.01 of the soft threshold under Adam with L2, at every positive decay (1 or 0)."""
    decay, target, value = Scalars.decay, Scalars.target, Scalars.value

    def met(rows: pl.DataFrame) -> float:
        return float(((rows[value] - (rows[target] - rows[decay]).clip(0.0)).abs() < 0.01).all())

    return derived(lambda rows: Replicates.within(rows.filter(pl.col(decay) > 0), met), Scalars.rows(optimizer="adam_l2", form=form))


def scalar_selectivity(form: str) -> OfSeeds:
    """Log of the share that the small scalar keeps over the share that the large one keeps, under AdamW at the largest decay."""
    scalar, target, value = Scalars.scalar, Scalars.target, Scalars.value

    def selectivity(rows: pl.DataFrame) -> float:
        by_size = rows.sort(scalar)
        shares = (by_size[value] / by_size[target]).clip(1e-3).to_list()
        return log(shares[1] / shares[0])

    return derived(lambda rows: Replicates.within(_largest_decay(rows), selectivity), Scalars.rows(optimizer="adamw", form=form))


def _largest_decay(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("decay") == pl.col("decay").max())


def adaptive(optimizer: str, value: Value, *, arm: str = "both", regularised: bool = True) -> OfSeeds:
    """A column at the largest decay, or without decay."""
    decay = AdaptiveBalance.decay

    def measure(rows: pl.DataFrame) -> Replicates:
        return Replicates.of(_largest_decay(rows) if regularised else rows.filter(pl.col(decay) == 0), value)

    return derived(measure, AdaptiveBalance.rows(optimizer=optimizer, arm=arm))


def rank_change(arm: str) -> OfSeeds:
    """Log of the effective rank under AdamW at the largest decay over that without decay."""
    rank = AdaptiveBalance.effective_rank
    return adaptive("adamw", rank, arm=arm).log_ratio(adaptive("adamw", rank, regularised=False))


def low_pseudo_rank(arm: str) -> OfSeeds:
    """1 if at most three of the five modes make up 95 % of the sum of singular values under AdamW at the largest decay, else 0."""
    return adaptive("adamw", AdaptiveBalance.rank95_sum, arm=arm).map(lambda modes: (modes <= 3).astype(float))


# --- two layers -----------------------------------------------------------------------------------------------------


def as_many_as_the_teacher(arm: str) -> OfSeeds:
    """1 if as many directions stay as the teacher has, else 0."""
    met = (pl.col(Hidden.directions) == pl.col(Hidden.teacher)).cast(pl.Float64)
    return derived(lambda rows: Replicates.of(rows.with_columns(met=met), "met"), Hidden.rows(arm=arm))


def as_many_as_are_above(arm: str) -> OfSeeds:
    """1 if as many directions stay as singular values are above the decay, else 0."""
    met = (pl.col(Pruned.directions) == pl.col(Pruned.above)).cast(pl.Float64)
    return derived(lambda rows: Replicates.of(rows.with_columns(met=met), "met"), Pruned.rows(arm=arm))


# --- two scalars on a line --------------------------------------------------------------------------------------------


def points(rows: pl.DataFrame) -> np.ndarray:
    """The end points, shape (seeds, 2)."""
    return rows.sort("seed").select(EndPoints.first, EndPoints.second).to_numpy()


def rules_apart(form: str, setting: str) -> Measure[Instances]:
    """The distance between the end points of AdamW and of Adam with L2, relative to the latter's norm."""

    def measure(adamw: pl.DataFrame, plain: pl.DataFrame) -> Instances:
        there = points(plain)
        return Instances(np.linalg.norm(points(adamw) - there, axis=1) / np.linalg.norm(there, axis=1))

    return derived(measure, *(EndPoints.rows(rule=rule, form=form, setting=setting) for rule in ("adamw", "adam_l2")))


def beside_first_axis(form: str) -> Measure[Instances]:
    """|w_2| over |w| at AdamW's end point, in the small setting."""
    return _of_points(form, lambda found, config: np.abs(found[:, 1]))


def beside_normal(form: str) -> Measure[Instances]:
    """The distance of AdamW's end point from the line's normal through the origin, over |w|, in the small setting."""

    def distance(found: np.ndarray, config: Config) -> np.ndarray:
        first, second = config.surface.slope
        return np.abs(first * found[:, 1] - second * found[:, 0]) / np.hypot(first, second)

    return _of_points(form, distance)


def _of_points(form: str, distance: Callable[[np.ndarray, Config], np.ndarray]) -> Measure[Instances]:
    rows = EndPoints.rows(rule="adamw", form=form, setting="small")

    def measure(view: View) -> Instances:
        found = points(rows.read(view))
        return Instances(distance(found, view.config) / np.linalg.norm(found, axis=1))

    return Measure((rows,), measure)


# --- noise --------------------------------------------------------------------------------------------------------------


def silent_rate(arm: str) -> OfSeeds:
    """The fitted rate of the imbalance without noise over 2 eta lambda, minus one."""
    rows = NoisyPaths.rows(arm=arm, noise=0.0)

    def measure(view: View) -> Replicates:
        noisy = view.config.noisy
        between = rows.read(view).filter(pl.col(NoisyPaths.time).is_between(noisy.rate_from, noisy.rate_until))
        return Replicates.within(between, lambda rows: fitted_rate(rows) / (2 * noisy.learning_rate * noisy.decay) - 1)

    return Measure((rows,), measure)


def floor_slope(last: bool) -> OfSeeds:
    """The slope of the log of the imbalance, late or at the first measurement, against the log of the noise."""
    rows, noise, time, difference = NoisyPaths.rows(arm="decayed"), NoisyPaths.noise, NoisyPaths.time, NoisyPaths.difference

    def slope(rows: pl.DataFrame) -> float:
        means = rows.group_by(noise).agg(pl.col(difference).mean()).sort(noise)
        return float(np.polyfit(np.log(means[noise].to_numpy()), np.log(means[difference].to_numpy()), 1)[0])

    def measure(view: View) -> Replicates:
        table = rows.read(view).filter(pl.col(noise) > 0)
        part = _late(view, table) if last else table.filter(pl.col(time) == pl.col(time).min())
        return Replicates.within(part, slope)

    return Measure((rows,), measure)


def log_floor(noise: Callable[[Config], float]) -> OfSeeds:
    """log10 of the mean late imbalance over the first one."""
    rows, difference, start = NoisyPaths.rows(arm="decayed", noise=noise), NoisyPaths.difference, NoisyPaths.start

    def fall(rows: pl.DataFrame) -> float:
        return float(np.log10(np.mean(rows[difference].to_numpy()) / rows[start][0]))

    return Measure((rows,), lambda view: Replicates.within(_late(view, rows.read(view)), fall))


def _late(view: View, rows: pl.DataFrame) -> pl.DataFrame:
    time = NoisyPaths.time
    return rows.filter(pl.col(time) > (1 - view.config.noisy.floor_share) * pl.col(time).max())
