"""What came of a comparison: the learning rates that the search chose, and one table of scores with intervals, paired with the first layer by seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from mesocosm.claims.intervals import holm, p_value, t_interval
from mesocosm.claims.replicates import NotJudged, Replicates
from mesocosm.claims.view import View
from mesocosm.comparisons.layers.config import Config
from mesocosm.comparisons.layers.tables import Accuracy, Cost, Pilot, Score

MEAN = "mean over tasks"
"""In the column of tasks: the mean of the scores on new examples of all tasks."""


# --- the search -------------------------------------------------------------------------------------------------------


def searched(config: Config, pilots: pl.DataFrame) -> pl.DataFrame:
    """The table of the search: every pilot, and whether its learning rate was chosen for its layer and task.

    Chosen is the rate with the smallest mean loss over its pilot seeds, among the rates with which no seed diverged if there are any.
    """
    of_rate = [Pilot.layer, Pilot.task, Pilot.learning_rate]
    rates = pilots.group_by(of_rate, maintain_order=True).agg(pl.col(Pilot.diverged).any(), pl.col(Pilot.loss).mean())
    best = rates.sort(Pilot.diverged, Pilot.loss).unique([Pilot.layer, Pilot.task], keep="first").select(of_rate)
    found = pilots.join(best.with_columns(chosen=pl.lit(value=True)), on=of_rate, how="left").with_columns(pl.col("chosen").fill_null(value=False))
    places = {(layer, task): place for place, (layer, task) in enumerate((layer, task) for layer in config.layers for task in config.tasks)}
    order = [places[layer, task] for layer, task in found.select(Pilot.layer, Pilot.task).rows()]
    return found.with_columns(place=pl.Series(order, dtype=pl.Int64)).sort("place", Pilot.learning_rate, "seed").drop("place")


def chosen_rates(search: pl.DataFrame) -> tuple[float, ...]:
    """The chosen rate of each layer and task, in the order of `Config.learning_rates`."""
    rows = search.filter("chosen").unique([Pilot.layer, Pilot.task], keep="first", maintain_order=True)
    return tuple(rows[Pilot.learning_rate].to_list())


def at_the_ends(config: Config) -> int:
    """The number of chosen rates that are the smallest or largest of those that were tried: beyond, there may be better ones."""
    return sum(rate in (min(config.grid), max(config.grid)) for rate in config.learning_rates) if len(config.grid) > 1 else 0


# --- the table --------------------------------------------------------------------------------------------------------


def compared(view: View) -> pl.DataFrame:
    """One row for each task, split and layer.

    Its columns are the score's mean over seeds with its 95 % interval, the number n of seeds, the mean accuracy on tasks with symbols, and `difference`, the
    score minus that of the first layer on the same seeds and examples, with its interval. `holm` tells whether the difference survives Holm's correction for
    all differences of the table, at 5 %. The last rows are of the mean over tasks, of layers that have a score on all.
    """
    config: Config = view.config
    scores, right = view.table(Score.name), view.table(Accuracy.name) if view.has(Accuracy.name) else None
    rows, p_values = [], []
    for task, split in [*((task, split) for task in config.tasks for split in ("iid", "ood")), (MEAN, "iid")]:
        first = None
        for place, layer in enumerate(config.layers):
            found = _mean(scores, layer, config.tasks) if task == MEAN else _replicates(scores, layer, task, split)
            if found is None:
                continue
            first = found if place == 0 else first
            row: dict[str, Any] = {"task": task, "split": split, "layer": layer, **_interval(found, "score"), "n": len(found.ids)}
            accuracies = None if right is None else right.filter(layer=layer, task=task, split=split)[Accuracy.accuracy]
            row["accuracy"] = accuracies.mean() if accuracies is not None and len(accuracies) else None
            if place and first is not None:
                difference = found.minus(first)
                row |= _interval(difference, "difference")
                p_values.append((len(rows), _p_value(difference)))
            rows.append(row)
    survives = dict(zip((place for place, _ in p_values), (holm([value for _, value in p_values]) < 0.05).tolist(), strict=True))
    kinds = dict.fromkeys(("score", "score_low", "score_high", "accuracy", "difference", "difference_low", "difference_high"), pl.Float64)
    schema = {"task": pl.String, "split": pl.String, "layer": pl.String, "n": pl.Int64, **kinds, "holm": pl.Boolean}
    return pl.DataFrame([{**dict.fromkeys(schema), **row, "holm": survives.get(place)} for place, row in enumerate(rows)], schema=schema)


def costs(view: View) -> pl.DataFrame:
    """One row for each layer and length, without trials and seeds."""
    return view.table(Cost.name).select(sorted(Cost.columns(), key=list(Cost.__annotations__).index))


def _replicates(scores: pl.DataFrame, layer: str, task: str, split: str) -> Replicates | None:
    rows = scores.filter(layer=layer, task=task, split=split)
    return Replicates.of(rows, Score.score, error=Score.score.error) if len(rows) else None


def _mean(scores: pl.DataFrame, layer: str, tasks: Sequence[str]) -> Replicates | None:
    """The mean of a layer's scores on all tasks, by seed; None if one is missing."""
    parts = [part for task in tasks if (part := _replicates(scores, layer, task, "iid")) is not None]
    if len(parts) < len(tasks):
        return None
    digests = tuple("+".join(sorted(set(each))) for each in zip(*(part.digests for part in parts), strict=True))
    errors = np.sqrt(np.sum([part.errors**2 for part in parts], axis=0)) / len(parts)
    return Replicates(np.mean([part.values for part in parts], axis=0), parts[0].ids, digests, errors)


def _interval(found: Replicates, name: str) -> dict[str, float | None]:
    try:
        interval = t_interval(found.values, found.errors, shared=found.shared)
    except NotJudged:  # one seed
        return {name: float(np.mean(found.values)), f"{name}_low": None, f"{name}_high": None}
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _p_value(difference: Replicates) -> float:
    """The smallest alpha at which the interval of a difference excludes 0."""
    if len(difference.ids) < 2:
        return 1.0
    return p_value(lambda alpha: t_interval(difference.values, difference.errors, alpha, shared=difference.shared), lambda low, high: low > 0 or high < 0)
