"""The mesa study's measurements: from tables to one number a replicate. Claims name them."""

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import polars as pl

from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.studies.interface import View


def identity(name: str, column: str = "error") -> Callable[[View], Instances]:
    """Relative errors of one identity."""
    return lambda view: Instances.of(view.table("identities", identity=name), column)


def column(table: str, trial: str, value: str, error: str | None = None, **where: Any) -> Callable[[View], Replicates]:
    """One column of one trial, a value a seed."""
    return lambda view: Replicates.of(view.table(table, trial=trial, **where), value, error=error)


def versus(reference: str, trial: str) -> Callable[[View], Replicates]:
    """Log ratio of a network's loss to a reference predictor's, on the same sequences."""
    return column("loss", trial, f"versus_{reference}", f"versus_{reference}_error")


def ratio(trial: str, other: str) -> Callable[[View], Replicates]:
    """Log ratio of two networks' losses on the same sequences."""
    return lambda view: loss(view, trial).log_ratio(loss(view, other))


def loss(view: View, trial: str) -> Replicates:
    """A network's loss."""
    return Replicates.of(view.table("loss", trial=trial), "loss", error="loss_error")


def step_size_ratio(trial: str) -> Callable[[View], Replicates]:
    """Log ratio of the step size in the weights to the searched one; a step size of the wrong sign counts as a thousandth."""

    def measure(view: View) -> Replicates:
        table = view.table("pattern", trial=trial)
        return Replicates.of(table.with_columns(ratio=(pl.col("step_size") / pl.col("searched_step_size")).clip(1e-3)), "ratio").map(np.log)

    return measure


def best_of(trials: Callable[[View], list[str]], trial: str) -> Callable[[View], Replicates]:
    """Log ratio of a network's loss to the smallest of several others', seed by seed."""

    def measure(view: View) -> Replicates:
        first, *others = (loss(view, other) for other in trials(view))
        return loss(view, trial).log_ratio(first.extreme(*others, by=np.negative))

    return measure


def deepest(view: View, prefix: str = "linear", depths: tuple[int, ...] | None = None) -> str:
    """Name of the deepest network."""
    return f"{prefix}-{max(depths if depths is not None else view.config.depths, default=1)}"


def polynomial(view: View, kind: str, steps: int) -> Replicates:
    """Loss of a polynomial predictor of some number of steps."""
    return Replicates.of(view.table("polynomial", steps=steps), kind, error=f"{kind}_error")


def second_run(arm: str) -> Callable[[View], Replicates]:
    """Largest log ratio of an averaged network's loss to the network's own, over the second training after its first sixth."""

    def worst(rows: pl.DataFrame) -> float:
        late = rows.filter(pl.col("step") >= pl.col("step").max() / 6)
        return float(np.max(np.log(late[arm].to_numpy() / late["network"].to_numpy())))

    return lambda view: Replicates.within(view.table("interpolation"), worst)


def probe_change(value: str, position: Callable[[View], int], first: int, trial: Callable[[View], str] = deepest) -> Callable[[View], Replicates]:
    """Log ratio of a probe's held-out loss after the last layer to that after layer `first` (0: the input)."""

    def change(rows: pl.DataFrame) -> float:
        by_layer = rows.sort("layer")
        return log(by_layer[value][-1] / by_layer.filter(pl.col("layer") == first)[value][0])

    return lambda view: Replicates.within(view.table("probes", trial=trial(view), position=position(view)), change)


def probe_by_context(value: str) -> Callable[[View], Replicates]:
    """Rank correlation of the held-out target probe loss after the last layer with the position."""

    def correlation(rows: pl.DataFrame) -> float:
        return float(rows.select(pl.corr("position", value, method="spearman")).item())

    def measure(view: View) -> Replicates:
        table = view.table("probes", trial=deepest(view))
        return Replicates.within(table.filter(pl.col("layer") == table["layer"].max()), correlation)

    return measure


def target_position(view: View) -> int:
    """Where the paper probes for the next state."""
    return view.config.probing.target_position


def preconditioning_position(view: View) -> int:
    """Where the paper probes for the preconditioned input."""
    return view.config.probing.preconditioning_position


def contracting_deepest(view: View) -> str:
    """The deepest network on contracting systems."""
    return deepest(view, "contracting", view.config.contracting_depths)


def stopping(tolerance: float, value: str, layer: str = "forgetting") -> Callable[[View], Replicates]:
    """What stopping at a tolerance costs."""
    return column("stopping", "stopping", value, layer=layer, tolerance=tolerance)


def late_over_early(table: str, **where: Any) -> Callable[[View], Replicates]:
    """Log ratio of the relative output error in the last quarter of the sequence to that in the first."""

    def change(rows: pl.DataFrame) -> float:
        by_quarter = rows.sort("quarter")["error"]
        return log(by_quarter[-1] / by_quarter[0])

    return lambda view: Replicates.within(view.table(table, layer="forgetting", **where), change)
