"""The ensembles study's measurements: from tables to one number a replicate. Claims name them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.studies.interface import View

Measure = Callable[[View], Replicates]


def identity(name: str, column: str = "error") -> Callable[[View], Instances]:
    """Errors of one identity."""
    return lambda view: Instances.of(view.table("identities", identity=name), column)


# --- widths -----------------------------------------------------------------------------------------------------------


def linear_ratio(part: str, against: str | None = None) -> Measure:
    """Log of found over predicted variance of the linear network (sign taken off), at the width where they differ most; or over another part's prediction."""

    def worst(rows: pl.DataFrame) -> float:
        found = rows.filter(pl.col("part") == part).sort("width")["found"].to_numpy()
        wanted = rows.filter(pl.col("part") == (against or part)).sort("width")["predicted"].to_numpy()
        ratios = np.log(np.abs(found) / np.abs(wanted))
        return float(ratios[np.argmax(np.abs(ratios))])

    return lambda view: Replicates.within(view.table("linear"), worst)


def width_slope(part: str) -> Measure:
    """Slope of log variance on log width."""

    def slope(rows: pl.DataFrame) -> float:
        return float(np.polyfit(np.log(rows["width"].to_numpy()), np.log(rows[part].to_numpy()), 1)[0])

    return lambda view: Replicates.within(view.table("widths"), slope)


def neuron_ratio(part: str, limit: str) -> Measure:
    """Log of width times variance over what one neuron predicts, mean over widths from 128 on."""

    def measure(view: View) -> Replicates:
        limits = Replicates.of(view.table("limits"), limit)

        def scaled(rows: pl.DataFrame) -> float:
            wide = rows.filter(pl.col("width") >= 128)
            return float(np.exp(np.mean(np.log(wide["width"].to_numpy() * wide[part].to_numpy()))))

        return Replicates.within(view.table("widths"), scaled).log_ratio(limits)

    return measure


def widest_ratio(limit: str) -> Measure:
    """Log of the ensemble's variance at the largest width over a limit."""

    def measure(view: View) -> Replicates:
        table = view.table("widths")
        widest = table.filter(pl.col("width") == table["width"].max())
        return Replicates.of(widest, "full").log_ratio(Replicates.of(view.table("limits"), limit))

    return measure


def explained_share(*parts: str, narrowest: bool = False) -> Measure:
    """What share of the full variance some parts sum to, at width 256 (at the middle width where there is no 256), or at the narrowest."""

    def measure(view: View) -> Replicates:
        table = view.table("widths")
        widths = sorted(table["width"].unique().to_list())
        width = 256 if 256 in widths else widths[len(widths) // 2]
        rows = table.filter(pl.col("width") == (widths[0] if narrowest else width))
        return Replicates.of(rows.with_columns(explained=pl.sum_horizontal(*parts)), "explained").over(Replicates.of(rows, "full"))

    return measure


def distance_slope(*variants: str) -> Measure:
    """Slope of the log distance between trained and kernel ensembles on log width, the shallowest of these variants."""

    def slope(rows: pl.DataFrame) -> float:
        widths = np.log(rows["width"].to_numpy())
        return max(float(np.polyfit(widths, np.log(rows[variant].to_numpy()), 1)[0]) for variant in variants)

    return lambda view: Replicates.within(view.table("wide"), slope)


# --- the plane --------------------------------------------------------------------------------------------------------


def correlation(network: str, part: str, column: str) -> Measure:
    """Rank correlation over the plane."""
    return lambda view: Replicates.of(view.table("correlations", network=network, part=part), column)


def contrast(network: str, first: str, second: str, column: str) -> Measure:
    """By how much one part's rank correlation exceeds another's."""
    return lambda view: correlation(network, first, column)(view).minus(correlation(network, second, column)(view))


# --- pictures, kernel models ------------------------------------------------------------------------------------------


def mlps(view: View) -> list[str]:
    """The fully connected networks."""
    return [name for name in view.config.kernels.networks if name.startswith("mlp")]


def cnns(view: View) -> list[str]:
    """The convolutional ones."""
    return [name for name in view.config.kernels.networks if name.startswith("cnn")]


def smallest(names: Callable[[View], list[str]], parts: tuple[str, ...], column: str, inside: str) -> Measure:
    """The smallest value of a column over networks and parts, with the largest standard error among them."""

    def measure(view: View) -> Replicates:
        rows = view.table("kernel_detection", inside=inside).filter(pl.col("network").is_in(names(view)) & pl.col("part").is_in(parts))
        return Replicates.of(rows.group_by("seed", "digest").agg(pl.col(column).min(), pl.col(f"{column}_error").max()), column, error=f"{column}_error")

    return measure


def smallest_ratio(names: Callable[[View], list[str]], parts: tuple[str, ...], inside: str, *, control: bool = False) -> Measure:
    """The smallest log ratio of mean variance outside over inside; as a control, of one half of the inside over the other."""
    above, below = ("variance_half", "variance_other_half") if control else ("variance_outside", "variance_inside")

    def measure(view: View) -> Replicates:
        rows = view.table("kernel_detection", inside=inside).filter(pl.col("network").is_in(names(view)) & pl.col("part").is_in(parts))
        ratios = rows.with_columns(ratio=(pl.col(above) / pl.col(below)).log())
        return Replicates.of(ratios.group_by("seed", "digest").agg(pl.col("ratio").min()), "ratio")

    return measure


def shape_of(view: View, place: int) -> str:
    """The network in a place of the list: the narrow shallow one, the wide one, the deep one."""
    return mlps(view)[place]


def variance(part: str, place: int, inside: str) -> Measure:
    """Mean variance inside of one part in one network."""
    return lambda view: Replicates.of(view.table("kernel_detection", inside=inside, part=part, network=shape_of(view, place)), "variance_inside")


def kernel_fall(part: str, inside: str) -> Measure:
    """Log ratio of a part's variance in the narrow network to that in the wide one."""
    return lambda view: variance(part, 0, inside)(view).log_ratio(variance(part, 1, inside)(view))


def share_growth(place: int, inside: str) -> Measure:
    """Log ratio of kernel noise's share of the variance in another network to its share in the narrow shallow one."""

    def share(view: View, where: int) -> Replicates:
        return variance("kernel", where, inside)(view).over(variance("full", where, inside)(view))

    return lambda view: share(view, place).log_ratio(share(view, 0))


def limit_ratio(part: str, inside: str) -> Measure:
    """Log ratio of a part's variance in the wide network to the variance at infinite width."""

    def measure(view: View) -> Replicates:
        rows = view.table("kernel_detection", inside=inside, part=part, network=shape_of(view, 1))
        return Replicates.of(rows, "variance_inside").log_ratio(Replicates.of(rows, "limit_inside"))

    return measure


def kernel_gain(part: str, inside: str) -> Measure:
    """AUROC of a part's variance less that of the full variance, mean over networks."""

    def measure(view: View) -> Replicates:
        rows = view.table("kernel_detection", inside=inside, part=part)
        mean = rows.group_by("seed", "digest").agg(pl.col("gain").mean(), pl.col("gain_error").mean())
        return Replicates.of(mean, "gain", error="gain_error")

    return measure


# --- pictures, trained networks ---------------------------------------------------------------------------------------


def trained(view: View, variant: str, inside: str) -> pl.DataFrame:
    """A variant's rows.

    Raises:
        NotJudged: a member did not reach the common training loss.
    """
    return at_equal_loss(view.table("trained", variant=variant, inside=inside), f"a member of {variant}", view.config.trained.goal)


def at_equal_loss(rows: pl.DataFrame, who: str, goal: float) -> pl.DataFrame:
    """The rows, if every member reached the common training loss.

    Raises:
        NotJudged: one did not.
    """
    if (worst := float(rows["worst_train_loss"].to_numpy().max())) > goal:
        raise NotJudged(f"{who} stopped at a training loss of {worst:.3g}, above the common {goal:g}")
    return rows


def trained_variance(variant: str, reference: str, inside: str) -> Measure:
    """Log ratio of mean variance inside, of two variants."""

    def of(view: View, name: str) -> Replicates:
        return Replicates.of(trained(view, name, inside), "variance_inside", error="variance_error")

    return lambda view: of(view, variant).log_ratio(of(view, reference))


def accuracy_gain(variant: str, inside: str) -> Measure:
    """Accuracy less that of gd, paired picture by picture."""

    def measure(view: View) -> Replicates:
        trained(view, "gd", inside)
        return Replicates.of(trained(view, variant, inside), "accuracy_gain", error="accuracy_gain_error")

    return measure


def accuracy_alone(variant: str, inside: str) -> Measure:
    """Accuracy of a variant's networks without their offsets, less that of gd."""
    return lambda view: Replicates.of(view.table("networks_alone", variant=variant, inside=inside), "accuracy_gain", error="accuracy_gain_error")


def gain(variant: str, inside: str, outside: str) -> Measure:
    """AUROC less that of gd, at equal training loss, paired picture by picture."""

    def measure(view: View) -> Replicates:
        for name in ("gd", variant):
            trained(view, name, inside)
        return Replicates.of(view.table("trained_detection", variant=variant, inside=inside, outside=outside), "gain", error="gain_error")

    return measure


def detection(variant: str, inside: str, outside: str) -> Measure:
    """AUROC of a variant, at the common training loss."""

    def measure(view: View) -> Replicates:
        trained(view, variant, inside)
        return Replicates.of(view.table("trained_detection", variant=variant, inside=inside, outside=outside), "auroc", error="auroc_error")

    return measure


def chance(variant: str, inside: str) -> Measure:
    """AUROC of a variant between two halves of the inside: nothing to detect."""
    return lambda view: Replicates.of(trained(view, variant, inside), "inside_auroc", error="inside_auroc_error")


# --- pictures, trained networks of several shapes -----------------------------------------------------------------------


def swept(view: View, variant: str, network: str) -> pl.DataFrame:
    """A variant's rows of one network of the sweep.

    Raises:
        NotJudged: a member did not reach the common training loss.
    """
    rows = view.table("sweep", variant=variant, network=network)
    return at_equal_loss(rows, f"a member of {variant} in the network {network!r}", view.config.sweep.trained.goal)


def readout(view: View, place: int) -> str:
    """The network with a scale of the read-out, by its place in the list (from small to large)."""
    return f"readout-{range(len(view.config.sweep.readouts))[place]}"


def swept_variance(view: View, variant: str, network: str) -> Replicates:
    """Mean variance inside."""
    return Replicates.of(swept(view, variant, network), "variance_inside", error="variance_error")


def readout_growth(variant: str) -> Measure:
    """Log ratio of a variant's variance inside at the largest read-out scale to that at the smallest."""

    return lambda view: swept_variance(view, variant, readout(view, -1)).log_ratio(swept_variance(view, variant, readout(view, 0)))


def kernel_share_growth(network: str, reference: str) -> Measure:
    """Log ratio of kernel noise's share, gd-c's variance inside over gd's, in one network to that in another."""

    def share(view: View, name: str) -> Replicates:
        return swept_variance(view, "gd-c", name).over(swept_variance(view, "gd", name))

    return lambda view: share(view, network).log_ratio(share(view, reference))


def swept_gain(variant: str, place: int) -> Measure:
    """AUROC less that of gd at one scale of the read-out, by its place in the list, at equal training loss, paired picture by picture."""

    def measure(view: View) -> Replicates:
        swept(view, "gd", readout(view, place))
        return Replicates.of(swept(view, variant, readout(view, place)), "gain", error="gain_error")

    return measure
