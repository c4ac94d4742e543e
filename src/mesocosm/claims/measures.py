"""Measurements that declare the rows they read before a run exists, and operations on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.claims.tables import Column, Estimate, Rows, Trials

if TYPE_CHECKING:
    import polars as pl

    from mesocosm.claims.claim import Check
    from mesocosm.claims.view import View

T = TypeVar("T", Replicates, Instances)


@dataclass(frozen=True)
class Measure(Generic[T]):
    """Maps a run's tables to one number per replicate or instance.

    Attributes:
        reads: all rows that `compute` reads.
        compute: the measurement itself.
    """

    reads: tuple[Rows, ...]
    compute: Callable[[View], T]

    def __call__(self, view: View) -> T:
        """Compute the measurement."""
        return self.compute(view)

    def map(self: Measure[Replicates], function: Callable[[Any], Any]) -> Measure[Replicates]:
        """`Replicates.map`."""
        return Measure(self.reads, lambda view: self(view).map(function))

    def minus(self: Measure[Replicates], other: Measure[Replicates], *, same_data: bool = True) -> Measure[Replicates]:
        """`Replicates.minus`."""
        return Measure(self.reads + other.reads, lambda view: self(view).minus(other(view), same_data=same_data))

    def over(self: Measure[Replicates], other: Measure[Replicates], *, same_data: bool = True) -> Measure[Replicates]:
        """`Replicates.over`."""
        return Measure(self.reads + other.reads, lambda view: self(view).over(other(view), same_data=same_data))

    def log_ratio(self: Measure[Replicates], other: Measure[Replicates], *, same_data: bool = True) -> Measure[Replicates]:
        """`Replicates.log_ratio`."""
        return Measure(self.reads + other.reads, lambda view: self(view).log_ratio(other(view), same_data=same_data))


def rows_read(check: Check) -> tuple[Rows, ...]:
    """The rows that a check and its control declare; empty for measurements that are plain functions."""
    measurements = (check.measure, check.control.measure)
    return tuple(rows for measurement in measurements if isinstance(measurement, Measure) for rows in measurement.reads)


def trials_read(check: Check, config: Any) -> set[str]:
    """The trials that a check and its control name, under a config."""
    return {name for rows in rows_read(check) if rows.trial for name in rows.trial.names(config)}


def replicates(
    value: Column, *, error: Column | None = None, by: Column | str = "seed", own_data: bool = False, trial: Trials | None = None, **where: Any
) -> Measure[Replicates]:
    """A column of some rows, one row per replicate (`Replicates.of`); an `Estimate` brings its error. `trial` and `where` as in `Table.rows`."""
    error = value.error if error is None and isinstance(value, Estimate) else error
    rows = _rows_of(value, error, by, trial=trial, **where)
    return Measure((rows,), lambda view: Replicates.of(rows.read(view), value, by=by, error=error, own_data=own_data))


def instances(value: Column, *, exhaustive: bool = False, trial: Trials | None = None, **where: Any) -> Measure[Instances]:
    """A column of some rows, one row per instance (`Instances.of`); `trial` and `where` as in `Table.rows`."""
    rows = _rows_of(value, trial=trial, **where)
    return Measure((rows,), lambda view: Instances.of(rows.read(view), value, exhaustive=exhaustive))


def within(
    rows: Rows, statistic: Callable[[pl.DataFrame], float], *, by: Column | str = "seed", same_data: bool = True, of: tuple[Estimate, ...] = ()
) -> Measure[Replicates]:
    """A statistic inside each replicate's rows (`Replicates.within`); `of` names the columns that it reads and whose errors it inherits."""
    errors: dict[str, str] = {column: column.error for column in of}
    return Measure((rows,), lambda view: Replicates.within(rows.read(view), statistic, by=by, same_data=same_data, errors=errors))


def derived(function: Callable[..., T], *rows: Rows) -> Measure[T]:
    """Apply `function` to the tables of these rows, in order."""
    return Measure(rows, lambda view: function(*(each.read(view) for each in rows)))


def _rows_of(value: Column, *others: Column | str | None, trial: Trials | None, **where: Any) -> Rows:
    """Rows of the column's table; the other columns must belong to the same table."""
    for other in others:
        if isinstance(other, Column) and other.table is not value.table:
            raise TypeError(f"{value.table.name}.{value} and {other.table.name}.{other} belong to different tables")
    return value.table.rows(trial, **where)
