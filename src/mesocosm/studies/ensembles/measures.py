"""Measurements for the ensembles study's claims: tables to one number per replicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from mesocosm.claims.measures import Measure, derived, replicates, within
from mesocosm.claims.replicates import NotJudged, Replicates
from mesocosm.claims.tables import Estimate, Rows, Value
from mesocosm.studies.ensembles.config import Config
from mesocosm.studies.ensembles.tables import (
    Accuracies,
    AtOneLoss,
    KernelDetection,
    KernelLimits,
    KernelSlopes,
    Linear,
    Sweep,
    SweepShares,
    Trained,
    TrainedDetection,
    Wide,
    Widths,
)
from mesocosm.studies.interface import View

OfSeeds = Measure[Replicates]
Names = Callable[[Config], list[str]]


# --- widths -----------------------------------------------------------------------------------------------------------


def linear_ratio(part: str, against: str | None = None) -> OfSeeds:
    """Log ratio of absolute variances in the linear network, found over predicted (or another part's prediction), at the width where it is largest."""
    of, width, value, prediction = Linear.part, Linear.width, Linear.found, Linear.predicted

    def worst(rows: pl.DataFrame) -> float:
        found = rows.filter(pl.col(of) == part).sort(width)[value].to_numpy()
        wanted = rows.filter(pl.col(of) == (against or part)).sort(width)[prediction].to_numpy()
        ratios = np.log(np.abs(found) / np.abs(wanted))
        return float(ratios[np.argmax(np.abs(ratios))])

    return within(Linear.rows(), worst)


def width_slope(part: Value) -> OfSeeds:
    """Slope of log variance on log width."""
    width = Widths.width

    def slope(rows: pl.DataFrame) -> float:
        return float(np.polyfit(np.log(rows[width].to_numpy()), np.log(rows[part].to_numpy()), 1)[0])

    return within(Widths.rows(), slope)


def neuron_ratio(part: Value, limit: Value) -> OfSeeds:
    """Log of width times variance over the one-neuron prediction, mean over widths from 128 upward."""
    width = Widths.width

    def scaled(rows: pl.DataFrame) -> float:
        wide = rows.filter(pl.col(width) >= 128)
        return float(np.exp(np.mean(np.log(wide[width].to_numpy() * wide[part].to_numpy()))))

    return within(Widths.rows(), scaled).log_ratio(replicates(limit))


def widest_ratio(limit: Value) -> OfSeeds:
    """Log of the ensemble's variance at the largest width over a limit."""
    width, full = Widths.width, Widths.full
    widest = derived(lambda table: Replicates.of(table.filter(pl.col(width) == table[width].max()), full), Widths.rows())
    return widest.log_ratio(replicates(limit))


def explained_share(*parts: Value) -> OfSeeds:
    """The share of the full variance that these parts sum to, at width 128."""

    def measure(rows: pl.DataFrame) -> Replicates:
        return Replicates.of(rows.with_columns(explained=pl.sum_horizontal(*parts)), "explained").over(Replicates.of(rows, Widths.full))

    return derived(measure, Widths.rows(width=128))


def distance_slope(*variants: Value) -> OfSeeds:
    """Slope of the log distance between trained and kernel ensembles on log width; the shallowest of these variants."""
    width = Wide.width

    def slope(rows: pl.DataFrame) -> float:
        widths = np.log(rows[width].to_numpy())
        return max(float(np.polyfit(widths, np.log(rows[variant].to_numpy()), 1)[0]) for variant in variants)

    return within(Wide.rows(), slope)


# --- the plane --------------------------------------------------------------------------------------------------------


def correlation(network: str, part: str, column: Value) -> OfSeeds:
    """Rank correlation of a part's variance over the plane."""
    return replicates(column, network=network, part=part)


def contrast(network: str, first: str, second: str, column: Value) -> OfSeeds:
    """Difference between two parts' rank correlations."""
    return correlation(network, first, column).minus(correlation(network, second, column))


# --- pictures, kernel models ------------------------------------------------------------------------------------------


def mlps(config: Config) -> list[str]:
    """The MLPs: narrow and shallow, wide, deep."""
    return [name for name in config.kernels.networks if name.startswith("mlp")]


def cnns(config: Config) -> list[str]:
    """The CNNs."""
    return [name for name in config.kernels.networks if name.startswith("cnn")]


def smallest(names: Names, parts: tuple[str, ...], column: Estimate, inside: str) -> OfSeeds:
    """The smallest value of a column over networks and parts, with their largest standard error."""

    def measure(rows: pl.DataFrame) -> Replicates:
        return Replicates.of(rows.group_by("seed", "digest").agg(pl.col(column).min(), pl.col(column.error).max()), column, error=column.error)

    return derived(measure, KernelDetection.rows(inside=inside, network=names, part=parts))


def slope(along: str, of: str, inside: str) -> OfSeeds:
    """Slope of log variance inside on the log of the networks' size."""
    return replicates(KernelSlopes.slope, along=along, of=of, inside=inside)


def limit_ratio(part: str, inside: str) -> OfSeeds:
    """Log ratio of a part's variance inside, wide network over infinite width."""
    return replicates(KernelLimits.ratio, inside=inside, part=part, network=lambda config: mlps(config)[1])


def kernel_gain(part: str, inside: str) -> OfSeeds:
    """AUROC of a part's variance minus that of the full variance, mean over networks."""
    gained, error = KernelDetection.gain, KernelDetection.gain.error

    def measure(rows: pl.DataFrame) -> Replicates:
        return Replicates.of(rows.group_by("seed", "digest").agg(pl.col(gained).mean(), pl.col(error).mean()), gained, error=error)

    return derived(measure, KernelDetection.rows(inside=inside, part=part))


# --- pictures, trained networks ---------------------------------------------------------------------------------------


def at_equal_loss(measure: OfSeeds, *needed: Rows, goal: Callable[[Config], float]) -> OfSeeds:
    """The measure, not judged if a compared member did not reach the common training loss.

    Args:
        measure: the measurement.
        needed: rows of `AtOneLoss`, one variant each.
        goal: the common training loss.
    """
    loss, variant = AtOneLoss.worst_train_loss, AtOneLoss.variant

    def checked(view: View) -> Replicates:
        for rows in needed:
            table, most = rows.read(view), goal(view.config)
            if (worst := float(table[loss].to_numpy().max())) > most:
                where = f" in the network {table['network'][0]!r}" if "network" in table.columns else ""
                raise NotJudged(f"a member of {table[variant][0]}{where} stopped at a training loss of {worst:.3g}, above the common {most:g}")
        return measure(view)

    return Measure((*measure.reads, *needed), checked)


def _trained(measure: OfSeeds, inside: str, *variants: str) -> OfSeeds:
    needed = (Trained.rows(variant=variant, inside=inside) for variant in variants)
    return at_equal_loss(measure, *needed, goal=lambda config: config.trained.goal)


def trained_variance(variant: str, reference: str, inside: str) -> OfSeeds:
    """Log ratio of two variants' mean variance inside."""

    def of(name: str) -> OfSeeds:
        return _trained(replicates(Trained.variance_inside, error=Trained.variance_error, variant=name, inside=inside), inside, name)

    return of(variant).log_ratio(of(reference))


def accuracy_gain(ensemble: str, inside: str) -> OfSeeds:
    """Accuracy of an ensemble of gd-c or gd minus that of gd, paired by picture."""
    return _trained(replicates(Accuracies.gain, ensemble=ensemble, inside=inside), inside, "gd", "gd-c")


def gain(variant: str, inside: str, outside: str) -> OfSeeds:
    """AUROC minus that of gd at equal training loss, paired by picture."""
    gained = replicates(TrainedDetection.gain, variant=variant, inside=inside, outside=outside)
    return _trained(gained, inside, "gd", variant)


def detection(variant: str, inside: str, outside: str) -> OfSeeds:
    """AUROC of a variant at the common training loss."""
    found = replicates(TrainedDetection.auroc, variant=variant, inside=inside, outside=outside)
    return _trained(found, inside, variant)


def chance(variant: str, inside: str) -> OfSeeds:
    """AUROC of a variant between two halves of the inside, where there is nothing to detect."""
    return _trained(replicates(Trained.inside_auroc, variant=variant, inside=inside), inside, variant)


# --- pictures, trained networks of several shapes -----------------------------------------------------------------------

Network = str | Callable[[Any], str]


def readout(place: int) -> Callable[[Config], str]:
    """The network with the read-out scale at `place` in the list, from small to large."""
    return lambda config: f"readout-{range(len(config.sweep.readouts))[place]}"


def _swept(measure: OfSeeds, network: Network, *variants: str) -> OfSeeds:
    needed = (Sweep.rows(variant=variant, network=network) for variant in variants)
    return at_equal_loss(measure, *needed, goal=lambda config: config.sweep.trained.goal)


def swept_variance(variant: str, network: Network) -> OfSeeds:
    """Mean variance inside, in one network of the sweep."""
    return _swept(replicates(Sweep.variance_inside, error=Sweep.variance_error, variant=variant, network=network), network, variant)


def readout_growth(variant: str) -> OfSeeds:
    """Log ratio of a variant's variance inside, largest read-out scale over smallest."""
    return swept_variance(variant, readout(-1)).log_ratio(swept_variance(variant, readout(0)))


def kernel_share_growth(comparison: str, *networks: str) -> OfSeeds:
    """Log ratio of kernel noise's share of the variance inside between two of these networks, or two halves of one network's members."""
    needed = (Sweep.rows(variant=variant, network=network) for variant in ("gd", "gd-c") for network in networks)
    return at_equal_loss(replicates(SweepShares.growth, comparison=comparison), *needed, goal=lambda config: config.sweep.trained.goal)


def swept_gain(variant: str, place: int) -> OfSeeds:
    """AUROC minus that of gd at one read-out scale and equal training loss, paired by picture."""
    gained = replicates(Sweep.gain, variant=variant, network=readout(place))
    return _swept(gained, readout(place), "gd", variant)
