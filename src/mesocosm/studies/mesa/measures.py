"""Measurements for the mesa study's claims: tables to one number per replicate."""

from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import polars as pl

from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.claims.measures import Measure, derived, replicates, within
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Estimate, Rows, Trials, Value
from mesocosm.studies.interface import View
from mesocosm.studies.mesa.tables import AGAIN, DEEPEST, Compressed, GroupLoss, Interpolation, Loss, Pattern, Polynomial, Probes

OfSeeds = Measure[Replicates]
LOSSLESS = log(1.02)


# --- losses -----------------------------------------------------------------------------------------------------------


def versus_step(trial: Trials) -> OfSeeds:
    """Log ratio of a network's loss to that of a gradient step, on the same sequences."""
    return replicates(Loss.versus_step, trial=trial)


def versus_ridge(trial: Trials) -> OfSeeds:
    """Log ratio of a network's loss to that of ridge regression, on the same sequences."""
    return replicates(Loss.versus_ridge, trial=trial)


def ratio(trial: Trials, other: Trials) -> OfSeeds:
    """Log ratio of two networks' losses, paired by test sequence."""
    return _paired(GroupLoss.rows(trial), GroupLoss.loss, GroupLoss.rows(other), GroupLoss.loss)


def over_polynomial(trial: Trials, steps: int) -> OfSeeds:
    """Log ratio of a network's loss to that of the learned polynomial with this many steps, paired by test sequence."""
    return _paired(GroupLoss.rows(trial), GroupLoss.loss, Polynomial.rows(steps=steps), Polynomial.learned)


def learned_over_neumann(learned: int, neumann: int) -> OfSeeds:
    """Log ratio of the learned polynomial's loss to the Neumann series', with these numbers of steps, paired by test sequence."""
    return _paired(Polynomial.rows(steps=learned), Polynomial.learned, Polynomial.rows(steps=neumann), Polynomial.neumann)


def best_of(others: Trials, trial: Trials) -> OfSeeds:
    """Log ratio of a network's loss to the smallest of several others', seed by seed."""
    own, rows = GroupLoss.rows(trial), GroupLoss.rows(others)

    def measure(view: View) -> Replicates:
        network, arms = own.read(view), rows.read(view).partition_by("trial", maintain_order=True)
        first, *further = (paired_log_ratio(network, GroupLoss.loss, arm, GroupLoss.loss) for arm in arms)
        return first.extreme(*further, by=np.positive)

    return Measure((own, rows), measure)


def late_ratio(trial: Trials, other: Trials) -> OfSeeds:
    """Log ratio of two networks' losses over the last fifth of the positions, paired by test sequence."""
    return _paired(GroupLoss.rows(trial), GroupLoss.late, GroupLoss.rows(other), GroupLoss.late)


def late_rise(trial: Trials) -> OfSeeds:
    """Log ratio of a network's losses, over the last fifth of the positions over the fifth before, paired by test sequence."""
    return derived(lambda table: paired_log_ratio(table, GroupLoss.late, table, GroupLoss.before), GroupLoss.rows(trial))


def _paired(rows: Rows, loss: Value, other_rows: Rows, other_loss: Value) -> OfSeeds:
    return derived(lambda table, other: paired_log_ratio(table, loss, other, other_loss), rows, other_rows)


def paired_log_ratio(table: pl.DataFrame, loss: Value, other: pl.DataFrame, other_loss: Value) -> Replicates:
    """Replicates of a log ratio of mean losses; what the two have in common on each group of sequences cancels in its error."""
    pairs = _mean(table, loss).minus(_mean(other, other_loss))
    values, errors = log_ratio_of_means(_by_seed(table, loss), _by_seed(other, other_loss))
    return replace(pairs, values=values, errors=errors)


def _mean(table: pl.DataFrame, loss: Value) -> Replicates:
    return Replicates.within(table, lambda rows: float(rows[loss].to_numpy().mean()))


def _by_seed(table: pl.DataFrame, loss: Value) -> np.ndarray:
    return table.sort("seed", GroupLoss.group)[loss].to_numpy().reshape(table["seed"].n_unique(), -1)


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


def second_run(versus: Estimate) -> OfSeeds:
    """Whether the log ratio of an averaged network's loss to the network's own stays below that of 1.02 after the first sixth of the second training."""
    step = Interpolation.step

    def worst(rows: pl.DataFrame) -> float:
        return float(rows.filter(pl.col(step) >= pl.col(step).max() / 6)[versus].to_numpy().max())

    return within(Interpolation.rows(AGAIN), lambda rows: float(worst(rows) < LOSSLESS))


# --- probes -----------------------------------------------------------------------------------------------------------


def probe_change(value: Value, position: Callable[[Any], int], first: int, trial: Trials = DEEPEST) -> OfSeeds:
    """Log ratio of a probe's held-out loss after the last layer to that after layer `first` (0: the input), paired by sequence."""

    def change(table: pl.DataFrame) -> Replicates:
        return paired_log_ratio(_last_layer(table), value, table.filter(pl.col(Probes.layer) == first), value)

    return derived(change, Probes.rows(trial, position=position))


def probe_by_context(value: Value) -> OfSeeds:
    """Rank correlation of position and held-out probe loss after the last layer; its error is the jackknife's over groups of sequences."""
    position, group = Probes.position, Probes.group

    def correlation(rows: pl.DataFrame) -> float:
        return float(rows.group_by(position).agg(pl.col(value).mean()).select(pl.corr(position, value, method="spearman")).item())

    def error(rows: pl.DataFrame) -> float:
        without = [correlation(rows.filter(pl.col(group) != left_out)) for left_out in rows[group].unique()]
        return float(np.std(without) * np.sqrt(len(without) - 1))

    def measure(table: pl.DataFrame) -> Replicates:
        last = _last_layer(table)
        return replace(Replicates.within(last, correlation), errors=Replicates.within(last, error).values)

    return derived(measure, Probes.rows(DEEPEST))


def _last_layer(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col(Probes.layer) == table[Probes.layer].max())


def target_position(config: Any) -> int:
    """The position of the probe for the next state."""
    return config.probing.target_position


def preconditioning_position(config: Any) -> int:
    """The position of the probe for the preconditioned input."""
    return config.probing.preconditioning_position
