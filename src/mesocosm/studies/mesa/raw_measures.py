"""Measurements of networks on observations and of algorithms without training: tables to one number per replicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from mesocosm.claims.measures import Measure, derived, replicates, within
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Trials, Value
from mesocosm.studies.mesa.measures import paired_log_ratio
from mesocosm.studies.mesa.tables import (
    RECALL,
    AttentionMass,
    Binding,
    Dimension,
    Distilled,
    FewShot,
    Parity,
    Polynomial,
    RawLoss,
    RawProbes,
    Recall,
    Sensitivity,
    Solver,
)

OfSeeds = Measure[Replicates]
Of = Callable[[Any], Any]


# --- algorithms over dimensions ---------------------------------------------------------------------------------------


def largest(config: Any) -> int:
    """The largest dimension of the sweep."""
    return max(config.dimensions.dims, default=0)


def smallest(config: Any) -> int:
    """The smallest one."""
    return min(config.dimensions.dims, default=0)


def second(config: Any) -> int:
    """The second smallest: the paper's kernel is at its best there."""
    return sorted(config.dimensions.dims)[1] if len(config.dimensions.dims) > 1 else 0


def least_noise(config: Any) -> float:
    """The smallest noise of the sweep."""
    return min(config.dimensions.noises)


def most_noise(config: Any) -> float:
    """The largest noise."""
    return max(config.dimensions.noises)


def growth_with_dimension(loss: Value) -> OfSeeds:
    """Log ratio of an algorithm's losses, in the largest dimension over the second smallest, with the least noise."""
    top, low = (replicates(loss, dim=dim, noise=least_noise) for dim in (largest, second))
    return top.log_ratio(low, same_data=False)


def kernel_over_least_squares(dim: Of, noise: Of) -> OfSeeds:
    """Log ratio of the two algorithms' losses on the same sequences."""
    kernel, least_squares = (replicates(loss, dim=dim, noise=noise) for loss in (Dimension.kernel, Dimension.least_squares))
    return kernel.log_ratio(least_squares)


def growth_with_noise(dim: Of) -> OfSeeds:
    """Difference of that log ratio, with the most noise minus the least."""
    return kernel_over_least_squares(dim, most_noise).minus(kernel_over_least_squares(dim, least_noise), same_data=False)


# --- what tokens hold ---------------------------------------------------------------------------------------------------


def bound(trial: Trials, back: int = 1, other: int = 3) -> OfSeeds:
    """Log ratio of probe errors after the first layer, for the token `back` over the token `other` before the current one."""

    def ratio(rows: pl.DataFrame) -> float:
        error = dict(rows.select(Binding.back, Binding.error).iter_rows())
        return float(np.log(error[back] / error[other]))

    return within(Binding.rows(trial, layer=1), ratio)


def sensed(trial: Trials) -> OfSeeds:
    """Log ratio of the first layer's sensitivity to the previous token over that to any earlier one."""

    def ratio(rows: pl.DataFrame) -> float:
        sizes = dict(rows.select(Sensitivity.back, Sensitivity.sensitivity).iter_rows())
        return float(np.log(sizes[1] / max(size for back, size in sizes.items() if back > 1)))

    return within(Sensitivity.rows(trial), ratio)


def attended(trial: Trials) -> OfSeeds:
    """The largest mean attention of a head of the first layer on the previous token."""
    return within(AttentionMass.rows(trial, back=1), lambda rows: float(rows[AttentionMass.mass].to_numpy().max()))


def decoded(trial: Trials, value: Value = RawProbes.target) -> OfSeeds:
    """Log ratio of a probe's losses after the last layer over the first, paired by group of sequences."""

    def change(table: pl.DataFrame) -> Replicates:
        last = table.filter(pl.col(RawProbes.layer) == table[RawProbes.layer].max())
        return paired_log_ratio(last, value, table.filter(pl.col(RawProbes.layer) == 1), value)

    return derived(change, RawProbes.rows(trial))


# --- losses -------------------------------------------------------------------------------------------------------------


def versus(trial: Trials, other: Trials, loss: Value = RawLoss.loss) -> OfSeeds:
    """Log ratio of two networks' losses, paired by group of test sequences."""
    return derived(lambda own, theirs: paired_log_ratio(own, loss, theirs, loss), RawLoss.rows(trial), RawLoss.rows(other))


def over_polynomial(trial: Trials, steps: int) -> OfSeeds:
    """Log ratio of a network's losses to those of the learned polynomial with this many steps, paired by group of test sequences."""
    return derived(lambda own, other: paired_log_ratio(own, RawLoss.loss, other, Polynomial.learned), RawLoss.rows(trial), Polynomial.rows(steps=steps))


def replaced(layer: int, dim: Of, pupil: str = "linear") -> OfSeeds:
    """Log ratio of a network's losses with this layer replaced by a pupil over the whole network's."""
    rows = Distilled.rows(layer=layer, dim=dim, pupil=pupil)
    return derived(lambda table: paired_log_ratio(table, Distilled.replaced, table, Distilled.whole), rows)


def replaced_trend(layer: int) -> OfSeeds:
    """That log ratio in the largest dimension minus the smallest."""
    return replaced(layer, most_distilled).minus(replaced(layer, least_distilled), same_data=False)


def most_distilled(config: Any) -> int:
    """The largest dimension in which layers are replaced."""
    return max(config.distillation.dims, default=0)


def least_distilled(config: Any) -> int:
    """The smallest one."""
    return min(config.distillation.dims, default=0)


# --- few shots ----------------------------------------------------------------------------------------------------------


def end_over_start(loss: Value, prompt: str = "plain") -> OfSeeds:
    """Log ratio of the mean loss at the last three pairs over that at the second: of the first position, networks here have not learned to expect nothing."""
    return _of_pairs(prompt, lambda losses: np.log(losses[-3:].mean() / losses[1]), loss)


def ascent(loss: Value, prompt: str = "plain") -> OfSeeds:
    """Log ratio of the mean loss at pairs 4 to 6 over that at the second."""
    return _of_pairs(prompt, lambda losses: np.log(losses[3:6].mean() / losses[1]), loss)


def jump(loss: Value) -> OfSeeds:
    """Log ratio of the loss at the first pair after the middle over the mean of the two before."""
    return _of_pairs("plain", lambda losses: np.log(losses[len(losses) // 2] / losses[len(losses) // 2 - 2 : len(losses) // 2].mean()), loss)


def recovery(loss: Value) -> OfSeeds:
    """Log ratio of the mean loss at the last three pairs over that at the first three after the middle."""
    return _of_pairs("plain", lambda losses: np.log(losses[-3:].mean() / losses[len(losses) // 2 :][:3].mean()), loss)


def prompted(prompt: str, other: str, first: int, last: int | None = None) -> OfSeeds:
    """Log ratio of mean losses with two prompts, from pair `first` to `last`."""
    own, theirs = (_of_pairs(name, lambda losses: float(losses[first - 1 : last].mean()), FewShot.one) for name in (prompt, other))
    return own.log_ratio(theirs)


def _of_pairs(prompt: str, statistic: Callable[[np.ndarray], float], loss: Value) -> OfSeeds:
    return within(FewShot.rows(prompt=prompt), lambda rows: float(statistic(rows.sort(FewShot.pair)[loss].to_numpy())))


# --- gated layers -------------------------------------------------------------------------------------------------------


def recalled(trial: Trials, other: Trials) -> OfSeeds:
    """Difference of two networks' accuracies on the same sequences."""
    return replicates(Recall.accuracy, trial=trial).minus(replicates(Recall.accuracy, trial=other))


def without_the_solve(trial: Trials, other: Trials) -> OfSeeds:
    """The same with one step of the solver in the mesa layers of the first."""
    return replicates(Solver.accuracy, trial=trial, bound="1 steps").minus(replicates(Recall.accuracy, trial=other))


def excess(bound: str, other: str) -> OfSeeds:
    """The loss under one bound of the solver minus that under another, in nats."""
    own, theirs = (replicates(Solver.loss, trial=RECALL["mesa"], bound=name) for name in (bound, other))
    return own.minus(theirs)


def steps_taken(bound: str) -> OfSeeds:
    """The mean number of steps under a bound."""
    return replicates(Solver.steps, trial=RECALL["mesa"], bound=bound)


# --- parity -------------------------------------------------------------------------------------------------------------


def solved(trial: Trials, factor: int, accuracy: float) -> OfSeeds:
    """Whether a network's accuracy at this length exceeds a bound."""
    return derived(lambda table: Replicates.within(table, lambda rows: float(rows[Parity.accuracy].item() > accuracy)), Parity.rows(trial, factor=factor))
