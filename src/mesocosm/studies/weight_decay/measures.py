"""The weight-decay study's measurements: from tables to one number a replicate. Claims name them."""

from collections.abc import Callable
from math import log

import numpy as np
import polars as pl

from mesocosm.analysis.exponential_rate import exponential_rate
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.studies.interface import View

Measurement = Callable[[View], Replicates]
SMALLEST = 1e-9  # of the first imbalance: below it rounding is measured


def instances(table: str, column: str, **where: str) -> Callable[[View], Instances]:
    """A column of one row an instance, as absolute values: a difference that is zero is so up to the sign of rounding."""
    return lambda view: Instances(np.abs(Instances.of(view.table(table, **where), column).values))


# --- along the way --------------------------------------------------------------------------------------------------


def fitted_rate(rows: pl.DataFrame) -> float:
    """The rate at which the imbalance's norm falls per unit of time, until it is too small to be known."""
    by_time = rows.sort("time")
    kept = by_time.filter(pl.col("difference") > SMALLEST * by_time["difference"][0])
    return exponential_rate(kept["time"].to_numpy(), kept["difference"].to_numpy())


def descent_rate(arm: str) -> Measurement:
    """Fitted rate over that of the law with decay, minus one."""
    return lambda view: Replicates.within(view.table("descent", arm=arm), lambda rows: fitted_rate(rows) / _law(view) - 1)


def _law(view: View) -> float:
    return view.table("descent", arm="decayed")["law"][0]


def gap_over_bound(arm: str) -> Measurement:
    """The largest ratio of the gap to the exponential bound over the training."""

    def largest(rows: pl.DataFrame) -> float:
        return float((rows["gap"] / rows["bound"]).max())  # type: ignore[arg-type]

    return lambda view: Replicates.within(view.table("descent", arm=arm), largest)


# --- the factorisation ----------------------------------------------------------------------------------------------


def positive_decays(view: View) -> list[float]:
    """Of the grid."""
    return [decay for decay in view.config.factorisation.decays if decay > 0]


def gap_fall(decays: Callable[[View], list[float]]) -> Measurement:
    """log10 of the gap at the end over that at the start, largest over decays."""

    def fall(rows: pl.DataFrame) -> float:
        gaps = rows.sort("step")["gap"]
        return float(np.log10(max(gaps[-1], 1e-16) / gaps[0]))

    def measure(view: View) -> Replicates:
        first, *others = (Replicates.within(view.table("trajectory", arm="both", decay=decay), fall) for decay in decays(view))
        return first.extreme(*others, by=np.positive)

    return measure


def rate_deviation(regularised: bool) -> Measurement:
    """Fitted rate over the law's, minus one, worst over positive decays; without regularisation the rates of decay 0 against the same laws."""

    def measure(view: View) -> Replicates:
        found = []
        for decay in positive_decays(view):
            law = view.table("trajectory", arm="both", decay=decay)["law"][0]
            rows = view.table("trajectory", arm="both", decay=decay if regularised else 0.0)
            found.append(Replicates.within(rows, lambda rows, law=law: fitted_rate(rows) / law - 1))
        return found[0].extreme(*found[1:], by=np.abs)

    return measure


def threshold_error(table: str, *, regularised: bool = True, **where: str) -> Measurement:
    """Largest distance of final singular values from the soft threshold, over positive decays and modes that are not critical."""

    def largest(rows: pl.DataFrame) -> float:
        alive = rows.filter((pl.col("target") - pl.col("wanted_at")).abs() > 1e-6)
        wanted = (alive["target"] - alive["wanted_at"]).clip(0.0)
        return float((alive["value"] - wanted).abs().max())  # type: ignore[arg-type]

    def measure(view: View) -> Replicates:
        rows = view.table(table, **where)
        decays = [decay for decay in rows["decay"].unique().sort() if decay > 0]
        if not decays:
            raise NotJudged("no decay above zero was trained")
        parts = [rows.filter(pl.col("decay") == (decay if regularised else 0.0)).with_columns(wanted_at=pl.lit(decay)) for decay in decays]
        return Replicates.within(pl.concat(parts), largest)

    return measure


def dead_modes(arm: str) -> Measurement:
    """Largest final singular value among modes whose target is at most the largest decay."""

    def measure(view: View) -> Replicates:
        decay = max(view.config.factorisation.decays)
        rows = view.table("spectrum", arm=arm, decay=decay).filter(pl.col("target") <= decay + 1e-9)
        return Replicates.within(rows, lambda rows: float(rows["value"].max()))  # type: ignore[arg-type]

    return measure


# --- adaptive optimisers --------------------------------------------------------------------------------------------


def scalar_threshold(form: str) -> Measurement:
    """Largest distance of the two scalars from the soft threshold under Adam with L2, over positive decays."""

    def largest(rows: pl.DataFrame) -> float:
        return float((rows["value"] - (rows["target"] - rows["decay"]).clip(0.0)).abs().max())  # type: ignore[arg-type]

    return lambda view: Replicates.within(view.table("scalars", optimizer="adam_l2", form=form).filter(pl.col("decay") > 0), largest)


def scalar_selectivity(form: str) -> Measurement:
    """Log of the share that the small scalar keeps over the share that the large one keeps, under AdamW at the largest decay."""

    def selectivity(rows: pl.DataFrame) -> float:
        shares = (rows.sort("scalar")["value"] / rows.sort("scalar")["target"]).clip(1e-3).to_list()
        return log(shares[1] / shares[0])

    return lambda view: Replicates.within(_largest_decay(view.table("scalars", optimizer="adamw", form=form)), selectivity)


def _largest_decay(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("decay") == pl.col("decay").max())


def adaptive(optimizer: str, column: str, *, arm: str = "both", regularised: bool = True) -> Measurement:
    """A column at the largest decay, or without decay."""

    def measure(view: View) -> Replicates:
        rows = view.table("adaptive_balance", optimizer=optimizer, arm=arm)
        return Replicates.of(_largest_decay(rows) if regularised else rows.filter(pl.col("decay") == 0), column)

    return measure


def rank_change(arm: str) -> Measurement:
    """Log of the effective rank under AdamW at the largest decay over that without decay."""
    return lambda view: adaptive("adamw", "effective_rank", arm=arm)(view).log_ratio(adaptive("adamw", "effective_rank", regularised=False)(view))


# --- two layers -----------------------------------------------------------------------------------------------------


def as_many_as_the_teacher(arm: str, what: str) -> Measurement:
    """1 where as many stay as the teacher has, else 0."""

    def measure(view: View) -> Replicates:
        rows = view.table("hidden", arm=arm)
        return Replicates.of(rows.with_columns(met=(pl.col(what) == pl.col("teacher")).cast(pl.Float64)), "met")

    return measure
