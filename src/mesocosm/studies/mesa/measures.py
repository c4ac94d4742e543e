"""Measurements for the mesa study's claims: tables to one number per replicate."""

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import polars as pl

from mesocosm.claims.measures import Measure, derived, replicates, within
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Column, Rows, Trials, Value
from mesocosm.studies.interface import View
from mesocosm.studies.mesa.tables import (
    AGAIN,
    DEEPEST,
    STOPPING,
    Compressed,
    FixedStepsByQuarter,
    Interpolation,
    Loss,
    Pattern,
    Polynomial,
    Probes,
    Stopping,
    StoppingByQuarter,
)

OfSeeds = Measure[Replicates]


# --- losses -----------------------------------------------------------------------------------------------------------


def loss(trial: Trials) -> OfSeeds:
    """Test loss of a network."""
    return replicates(Loss.loss, trial=trial)


def versus_step(trial: Trials) -> OfSeeds:
    """Log ratio of a network's loss to that of a gradient step, on the same sequences."""
    return replicates(Loss.versus_step, trial=trial)


def versus_ridge(trial: Trials) -> OfSeeds:
    """Log ratio of a network's loss to that of ridge regression, on the same sequences."""
    return replicates(Loss.versus_ridge, trial=trial)


def ratio(trial: Trials, other: Trials) -> OfSeeds:
    """Log ratio of two networks' losses on the same sequences."""
    return loss(trial).log_ratio(loss(other))


def best_of(others: Trials, trial: Trials) -> OfSeeds:
    """Log ratio of a network's loss to the smallest of several others', seed by seed."""
    own, rows = loss(trial), Loss.rows(others)

    def measure(view: View) -> Replicates:
        arms = rows.read(view).partition_by("trial", maintain_order=True)
        first, *further = (Replicates.of(arm, Loss.loss, error=Loss.loss.error) for arm in arms)
        return own(view).log_ratio(first.extreme(*further, by=np.negative))

    return Measure((*own.reads, rows), measure)


def learned_polynomial(steps: int) -> OfSeeds:
    """Test loss of the learned polynomial with this many steps."""
    return replicates(Polynomial.learned, steps=steps)


def neumann_series(steps: int) -> OfSeeds:
    """Test loss of the Neumann series with this many steps."""
    return replicates(Polynomial.neumann, steps=steps)


# --- weights ----------------------------------------------------------------------------------------------------------


def off_pattern(trial: Trials) -> OfSeeds:
    """The largest weight block off the pattern of gradient descent, as a fraction of the block on it."""
    return replicates(Pattern.off_pattern, trial=trial)


def step_size_ratio(trial: Trials) -> OfSeeds:
    """Log ratio of the weights' step size to the line-searched one; the ratio is at least 0.001, so that a wrong sign has a logarithm."""
    found, searched = pl.col(Pattern.step_size), pl.col(Pattern.searched_step_size)

    def measure(table: pl.DataFrame) -> Replicates:
        return Replicates.of(table.with_columns(ratio=(found / searched).clip(1e-3)), "ratio").map(np.log)

    return derived(measure, Pattern.rows(trial))


def compressed(trial: Trials) -> OfSeeds:
    """Log ratio of the compressed network's loss to the whole network's."""
    return replicates(Compressed.versus_network, trial=trial)


def compressed_mutant(trial: Trials) -> OfSeeds:
    """The same without the blocks whose keys contain the previous state."""
    return replicates(Compressed.mutant, trial=trial)


def second_run(arm: Value) -> OfSeeds:
    """Largest log ratio of an averaged network's loss to the network's own, after the first sixth of the second training."""
    step, network = Interpolation.step, Interpolation.network

    def worst(rows: pl.DataFrame) -> float:
        late = rows.filter(pl.col(step) >= pl.col(step).max() / 6)
        return float(np.max(np.log(late[arm].to_numpy() / late[network].to_numpy())))

    return within(Interpolation.rows(AGAIN), worst)


# --- probes -----------------------------------------------------------------------------------------------------------


def probe_change(value: Value, position: Callable[[Any], int], first: int, trial: Trials = DEEPEST) -> OfSeeds:
    """Log ratio of a probe's held-out loss after the last layer to that after layer `first` (0: the input)."""
    layer = Probes.layer

    def change(rows: pl.DataFrame) -> float:
        by_layer = rows.sort(layer)
        return log(by_layer[value][-1] / by_layer.filter(pl.col(layer) == first)[value][0])

    return within(Probes.rows(trial, position=position), change)


def probe_by_context(value: Value) -> OfSeeds:
    """Rank correlation of position and held-out probe loss after the last layer."""
    layer, position = Probes.layer, Probes.position

    def correlation(rows: pl.DataFrame) -> float:
        return float(rows.select(pl.corr(position, value, method="spearman")).item())

    def measure(table: pl.DataFrame) -> Replicates:
        return Replicates.within(table.filter(pl.col(layer) == table[layer].max()), correlation)

    return derived(measure, Probes.rows(DEEPEST))


def target_position(config: Any) -> int:
    """The position of the probe for the next state."""
    return config.probing.target_position


def preconditioning_position(config: Any) -> int:
    """The position of the probe for the preconditioned input."""
    return config.probing.preconditioning_position


# --- stopping ---------------------------------------------------------------------------------------------------------


def stopping(value: Value, tolerance: float, layer: str = "forgetting") -> OfSeeds:
    """A column of `Stopping` at one tolerance."""
    return replicates(value, trial=STOPPING, layer=layer, tolerance=tolerance)


def stopping_error(tolerance: float) -> OfSeeds:
    """log10 of the output error at a tolerance."""
    return stopping(Stopping.error, tolerance).map(np.log10)


def late_over_early_at_tolerance(tolerance: float) -> OfSeeds:
    """Log ratio of the relative output error in the last quarter of the sequence to that in the first."""
    table = StoppingByQuarter
    return _late_over_early(table.rows(layer="forgetting", tolerance=tolerance), table.quarter, table.error)


def late_over_early_of_steps(steps: int) -> OfSeeds:
    """The same after a fixed number of steps for every token."""
    table = FixedStepsByQuarter
    return _late_over_early(table.rows(layer="forgetting", steps=steps), table.quarter, table.error)


def _late_over_early(rows: Rows, quarter: Column, error: Column) -> OfSeeds:
    def change(rows: pl.DataFrame) -> float:
        by_quarter = rows.sort(quarter)[error]
        return log(by_quarter[-1] / by_quarter[0])

    return within(rows, change)
