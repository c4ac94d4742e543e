"""One number per replicate, and operations that preserve the pairing of replicates.

A replicate redraws everything that its statement generalises over; quantities inside it (episodes, batches, positions) are averaged beforehand.
Two arms are compared replicate by replicate, and only when they were measured on the same evaluation data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64


class NotJudged(Exception):
    """A measurement that cannot be judged; its text is the reason shown in the claims table."""


@dataclass(frozen=True)
class Replicates:
    """One value per replicate.

    Attributes:
        values: one for each replicate.
        ids: identifies each value's replicate: seeds, environment offsets, graph layouts.
        digests: the evaluation data behind each value (`tasks.digest`); empty strings where the value is exact.
        errors: standard error of each value from the finite evaluation set or its resolution, whichever is larger, same unit as the value; zero where it
            is exact. (Twenty rounded tenths that agree are known to 0.03 at best, however many examples were averaged.)
    """

    values: Float64[np.ndarray, " n"]
    ids: tuple[Any, ...]
    digests: tuple[str, ...]
    errors: Float64[np.ndarray, " n"]

    def __post_init__(self) -> None:
        """Reject repeated replicates, values that are not finite and columns of unequal length."""
        lengths = (len(self.values), len(self.ids), len(self.digests), len(self.errors))
        if len(set(lengths)) > 1:
            raise ValueError(f"values, ids, digests and errors have lengths {lengths}")
        if len(set(self.ids)) != len(self.ids):
            repeated = next(i for i in self.ids if self.ids.count(i) > 1)
            raise NotJudged(f"replicate {repeated!r} has {self.ids.count(repeated)} rows: average inside a replicate before judging over replicates")
        if not np.all(np.isfinite(self.values)):
            raise NotJudged(f"{int(np.sum(~np.isfinite(self.values)))} of {len(self.values)} values are not finite")
        if not np.all(self.errors >= 0) or not np.all(np.isfinite(self.errors)):
            raise NotJudged(f"{int(np.sum(~((self.errors >= 0) & np.isfinite(self.errors))))} of {len(self.errors)} standard errors are negative or not finite")

    @classmethod
    def of(cls, table: pl.DataFrame, value: str, *, by: str = "seed", error: str | None = None, own_data: bool = False) -> Replicates:
        """Read column `value` of `table`, one row for each distinct `by`.

        A column `digest`, if there is one, is read as the evaluation data's digest.

        Args:
            table: the rows.
            value: the column of values.
            by: the column that names the replicate.
            error: the column of the values' standard errors.
            own_data: whether each replicate drew evaluation data of its own (from its own key, say) in a table without digests.

        Raises:
            NotJudged: a replicate has several rows, there are no rows, or a value is not finite.
        """
        _require(table, value, by, *([error] if error else []))
        table = table.sort(by)
        return cls(
            values=_floats(table[value]),
            ids=tuple(table[by].to_list()),
            digests=_digests(table, by, own_data),
            errors=_floats(table[error]) if error else np.zeros(len(table)),
        )

    @property
    def shared(self) -> bool:
        """Whether evaluation errors are common to all replicates: there are some, and the digests do not show that each replicate has its own data."""
        return bool(np.any(self.errors > 0)) and len(set(self.digests)) < max(len(self.digests), 2)

    @classmethod
    def within(
        cls,
        table: pl.DataFrame,
        statistic: Callable[[pl.DataFrame], float],
        *,
        by: str = "seed",
        same_data: bool = True,
        errors: Mapping[str, str] | None = None,
    ) -> Replicates:
        r"""Compute `statistic` (a slope, a rank correlation, a smallest successive drop) inside each replicate's rows.

        The standard error of the result is $\sqrt{\sum_i (f(x + e_i) - f(x - e_i))^2 / 4}$ over the entries i of the columns that have errors. It is right to
        first order for a smooth statistic.

        Args:
            table: several rows per replicate.
            statistic: a replicate's rows -> one number.
            by: the column that names the replicate.
            same_data: reject rows of one replicate that were evaluated on different data; False if they differ on purpose.
            errors: column that `statistic` reads -> column of its standard errors; None if the column is exact.

        Raises:
            NotJudged: no rows, a number that is not finite, or unequal digests within a replicate.
        """
        _require(table, by)
        groups = sorted(table.partition_by(by, as_dict=True, maintain_order=True).items())
        values, ids, digests, deviations = [], [], [], []
        for (replicate,), rows in groups:
            values.append(statistic(rows))
            deviations.append(_propagated(rows, statistic, errors or {}))
            ids.append(replicate)
            found = sorted(set(rows["digest"].fill_null("").to_list())) if "digest" in rows.columns else [""]
            if same_data and len(found) > 1:
                raise NotJudged(f"replicate {replicate!r} has rows that were evaluated on different data (digests {', '.join(d or 'none' for d in found)})")
            digests.append("+".join(found))
        return cls(np.asarray(values, dtype=np.float64), tuple(ids), tuple(digests), np.asarray(deviations, dtype=np.float64))

    def map(self, function: Callable[[Any], Any]) -> Replicates:
        r"""Apply a smooth function value by value, $y = f(x)$; standard errors follow to first order, $e_y = |f'(x)|\, e_x$, by central differences."""
        values, errors = np.asarray(function(self.values), dtype=np.float64), self.errors
        if np.any(errors > 0):
            step = 1e-6 * np.where(self.values == 0, errors, np.abs(self.values))  # relative: a logarithm's argument may be tiny and must stay positive
            step = np.where(step > 0, step, 1.0)
            with np.errstate(all="ignore"):
                slope = (function(self.values + step) - function(self.values - step)) / (2 * step)
            errors = np.where(errors > 0, np.abs(slope) * errors, 0.0)
        return Replicates(values, self.ids, self.digests, errors)

    def minus(self, other: Replicates, *, same_data: bool = True) -> Replicates:
        r"""Paired difference, $x - y$ with $e = \sqrt{e_x^2 + e_y^2}$: never too small, and too large if both arms share their evaluation data.

        With `same_data=False` the pairs are taken by replicate although the two were evaluated on different data on purpose (one model, two splits).

        Raises:
            NotJudged: missing replicates or unequal evaluation data.
        """
        self._pair(other, same_data)
        return Replicates(self.values - other.values, self.ids, self._digests_with(other), np.hypot(self.errors, other.errors))

    def over(self, other: Replicates, *, same_data: bool = True) -> Replicates:
        r"""Paired ratio, $r = x / y$ with $e = \sqrt{e_x^2 + r^2 e_y^2} / |y|$; `same_data` as in `minus`.

        Raises:
            NotJudged: as `minus`, or a denominator of zero.
        """
        self._pair(other, same_data)
        if np.any(other.values == 0):
            raise NotJudged(f"the ratio's denominator is zero for replicate {other.ids[int(np.argmin(np.abs(other.values)))]!r}")
        ratio = self.values / other.values
        return Replicates(ratio, self.ids, self._digests_with(other), np.hypot(self.errors, ratio * other.errors) / np.abs(other.values))

    def log_ratio(self, other: Replicates, *, same_data: bool = True) -> Replicates:
        """Paired log ratio, log(self / other), the difference on the scale on which losses are compared; `same_data` as in `minus`."""
        for name, values in (("numerator", self.values), ("denominator", other.values)):
            if np.any(values <= 0):
                raise NotJudged(f"a log ratio needs positive values; the smallest {name} is {values.min():g}")
        return self.over(other, same_data=same_data).map(np.log)

    def extreme(self, *others: Replicates, by: Callable[[Any], Any], same_data: bool = True) -> Replicates:
        """For each replicate, the arm's value with the largest `by` (`np.negative`: the smallest value, `np.abs`: the one furthest from zero).

        The error is the largest among the arms', since the choice depends on all of them; `same_data` as in `minus`.

        Raises:
            NotJudged: as `minus`, for any of the others.
        """
        for other in others:
            self._pair(other, same_data)
        values = np.stack([arm.values for arm in (self, *others)])
        chosen = np.argmax(by(values), axis=0)
        errors = np.max([arm.errors for arm in (self, *others)], axis=0)
        digests = next((arm.digests for arm in (self, *others) if arm.shared), self.digests)
        return Replicates(values[chosen, np.arange(values.shape[1])], self.ids, digests, errors)

    def _digests_with(self, other: Replicates) -> tuple[str, ...]:
        """The digests behind a combination of two arms: those of the arm whose replicates share their data, whose error stays in common."""
        return other.digests if other.shared and not self.shared else self.digests

    def _pair(self, other: Replicates, same_data: bool) -> None:
        missing = sorted(set(map(str, self.ids)) ^ set(map(str, other.ids)))
        if missing:
            raise NotJudged(f"unpaired replicates: {', '.join(missing)} are in one arm only")
        if self.ids != other.ids:
            raise NotJudged("the replicates of the two arms are in different order")
        for replicate, mine, theirs in zip(self.ids, self.digests, other.digests, strict=True):
            if same_data and mine != theirs:
                raise NotJudged(f"replicate {replicate!r} was evaluated on different data in the two arms (digests {mine or 'none'} and {theirs or 'none'})")


@dataclass(frozen=True)
class Instances:
    """One number for each instance of a statement: errors of an identity, or signed values of an inequality that must hold for all.

    Attributes:
        values: one per instance (already the worst over its entries); NaN if the computation failed.
        exhaustive: whether the instances are all of a finite set; otherwise at least 100 random ones are needed.
    """

    values: Float64[np.ndarray, " n"]
    exhaustive: bool = False

    @classmethod
    def of(cls, table: pl.DataFrame, value: str, *, exhaustive: bool = False) -> Instances:
        """Read column `value`, one row per instance."""
        _require(table, value)
        return cls(_floats(table[value]), exhaustive)


def _propagated(rows: pl.DataFrame, statistic: Callable[[pl.DataFrame], float], errors: Mapping[str, str]) -> float:
    """The standard error of a statistic of these rows, entry by entry."""
    squares = 0.0
    for column, error in errors.items():
        _require(rows, column, error)
        values, deviations = _floats(rows[column]), _floats(rows[error])
        for place in np.flatnonzero(deviations):
            step = deviations[place] * (np.arange(len(values)) == place)
            ends = (statistic(rows.with_columns(pl.Series(column, values + sign * step))) for sign in (1, -1))
            squares += ((next(ends) - next(ends)) / 2) ** 2
    return math.sqrt(squares)


def _digests(table: pl.DataFrame, by: str, own_data: bool) -> tuple[str, ...]:
    """What identifies each row's evaluation data; the replicate itself if its data are its own."""
    if own_data:
        return tuple(f"{by} {replicate}" for replicate in table[by].to_list())
    return tuple(table["digest"].fill_null("").to_list()) if "digest" in table.columns else ("",) * len(table)


def _require(table: pl.DataFrame, *columns: str) -> None:
    """Raise NotJudged unless the table has these columns and a row."""
    for column in columns:
        if column not in table.columns:
            raise NotJudged(f"the table has no column {column!r} (it has {', '.join(table.columns)})")
    if table.is_empty():
        raise NotJudged("the table has no rows for this measurement")


def _floats(column: pl.Series) -> Float64[np.ndarray, " n"]:
    """A column as float64, NaN where the table has no entry."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
