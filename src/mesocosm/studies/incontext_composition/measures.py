"""Measurements for the incontext-composition study's claims: tables to one number per replicate."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from mesocosm.claims.measures import Measure, replicates, within
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Estimate, Trials, Value
from mesocosm.studies.incontext_composition.config import Config, Model
from mesocosm.studies.incontext_composition.tables import Curve, Executed, Explained, References, given_code, on, trainings

OfSeeds = Measure[Replicates]


# --- R^2 --------------------------------------------------------------------------------------------------------------


def r2(column: Estimate, trial: Trials) -> OfSeeds:
    """R^2 on one of the sets."""
    return replicates(column, trial=trial)


def ahead(column: Estimate, trial: Trials, other: Trials) -> OfSeeds:
    """R^2 of one model minus that of another."""
    return r2(column, trial).minus(r2(column, other))


def gap(trial: Trials) -> OfSeeds:
    """R^2 on training's pairs minus R^2 on held-out ones."""
    return r2(Explained.train, trial).minus(r2(Explained.held_out, trial), same_data=False)


def ridge(column: Estimate) -> OfSeeds:
    """R^2 of ridge regression on the inputs, on the test prompts of models that are trained on Connected+."""
    return _reference(column, "ridge")


def oracle(column: Estimate) -> OfSeeds:
    """R^2 of the search for the code."""
    return _reference(column, "oracle")


def ridge_gap() -> OfSeeds:
    """The gap of ridge regression."""
    return ridge(References.train).minus(ridge(References.held_out), same_data=False)


def support_matters_for_ridge(column: Estimate) -> OfSeeds:
    """R^2 of ridge regression on a set of Connected minus that on the same set of Disconnected."""
    connected, disconnected = (_reference(column, "ridge", support) for support in ("connected", "disconnected"))
    return connected.minus(disconnected, same_data=False)


def _reference(column: Estimate, predictor: str, support: str = "connected+") -> OfSeeds:
    return replicates(column, predictor=predictor, support=support, pairs=_pairs)


def _pairs(config: Config) -> int:
    return config.prompting.pairs


def support_matters(column: Estimate, model: str) -> OfSeeds:
    """R^2 after training on Connected minus R^2 after training on Disconnected."""
    return r2(column, on(model, "connected")).minus(r2(column, on(model, "disconnected")), same_data=False)


def support_matters_for_execution(column: Estimate) -> OfSeeds:
    """The same, of a hypernetwork that is given the code."""
    connected, disconnected = (replicates(column, trial=given_code(support)) for support in ("connected", "disconnected"))
    return connected.minus(disconnected, same_data=False)


def gap_of_execution() -> OfSeeds:
    """R^2 on training's pairs minus R^2 on held-out ones, of a hypernetwork that is given the code, on Connected+."""
    known, held_out = (replicates(column, trial=given_code("connected+")) for column in (Executed.train, Executed.held_out))
    return known.minus(held_out, same_data=False)


def unexplained(trial: Trials, other: Trials) -> OfSeeds:
    """Log of what one model leaves unexplained on training's pairs over what another does."""
    one, two = (r2(Explained.train, each).map(lambda value: 1 - value) for each in (trial, other))
    return one.log_ratio(two)


# --- the code ---------------------------------------------------------------------------------------------------------


def decoded(trial: Trials, column: Value = Explained.decoded) -> OfSeeds:
    """R^2 of the code at the end."""
    return replicates(column, trial=trial)


def decoded_early(trial: Trials, column: Value = Curve.decoded) -> OfSeeds:
    """R^2 of the code at the early step."""
    return replicates(column, trial=trial, step=early)


def early(config: Config) -> int:
    """C8's early step."""
    return config.training.steps if config.early is None else config.early


# --- curves -----------------------------------------------------------------------------------------------------------


def ahead_at_equal_fit(model: Model, other: Model) -> OfSeeds:
    """R^2 on held-out pairs, one model minus another, where both have the R^2 on training's pairs that both reach.

    Only ends of trainings of several lengths count, so that all learning rates have come down to 0, and the model before training.
    """

    def difference(curves: pl.DataFrame) -> float:
        one, two = (_ends(curves.filter(model=name)) for name in (model, other))
        if not all(math.isfinite(value) for ends in (one, two) for name in ("train", "held_out") for value in ends[name]):
            return math.nan
        level = min(one["train"].max(), two["train"].max())  # pyright: ignore[reportArgumentType]
        return _held_out_at(one, level) - _held_out_at(two, level)

    return within(Curve.rows(trainings(model, other)), difference, of=(Curve.train, Curve.held_out))


def _ends(curves: pl.DataFrame) -> pl.DataFrame:
    """A model before training, and at the end of each training, shortest first."""
    ordered: Any = curves.sort("step", "trial")
    return pl.concat([ordered.head(1), ordered.group_by("trial", maintain_order=True).last().select(ordered.columns).sort("step")])


def _held_out_at(ends: pl.DataFrame, level: float) -> float:
    """R^2 on held-out pairs where R^2 on training's pairs first reaches a level.

    Between two lengths the logarithm of what is unexplained on held-out pairs is linear in that on training's. An untrained model explains far less than
    nothing (R^2 of about -10), so that a line in R^2 itself would put a model that fits well after the shortest training far too low.
    """
    fit, composed = ends["train"].to_list(), ends["held_out"].to_list()
    place = next(number for number, value in enumerate(fit) if value >= level)
    if place == 0:  # training has only made it worse
        return composed[0]
    before, at, after = map(_log_unexplained, (fit[place - 1], level, fit[place]))
    first, last = map(_log_unexplained, composed[place - 1 : place + 1])
    return 1 - math.exp(first + (at - before) / (after - before) * (last - first))


def _log_unexplained(explained: float) -> float:
    """Log of 1 - R^2; an R^2 to which its standard error was added may be 1 or more."""
    return math.log(max(1 - explained, 1e-6))


def decline(trial: Trials) -> OfSeeds:
    """The largest R^2 on held-out pairs in the first 30 % of training, minus the last."""

    def statistic(curve: pl.DataFrame) -> float:
        ordered: Any = curve.sort("step")
        first = ordered.filter(pl.col("step") <= 0.3 * pl.col("step").max())
        return first["held_out"].max() - ordered["held_out"][-1]

    return within(Curve.rows(trial), statistic, of=(Curve.held_out,))
