"""One number a replicate, and the few operations between them that keep pairing honest.

A replicate re-draws everything its statement generalises over; whatever lies inside it (episodes, batches, positions) is averaged before it arrives here.
Two arms are compared replicate by replicate, and only when they were measured on the same evaluation data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl


class NotJudged(Exception):
    """A measurement that cannot be judged; its text is the reason shown in the claims table."""


@dataclass(frozen=True)
class Replicates:
    """One value a replicate.

    Attributes:
        values: shape (n,), float64.
        ids: what tells the replicates apart, one for each value: seeds, environment offsets, graph layouts.
        digests: the evaluation data behind each value (`tasks.digest`); empty strings where the value is exact.
        errors: standard error of each value from the finite evaluation set, same unit as the value; zero where it is exact.
    """

    values: np.ndarray
    ids: tuple[object, ...]
    digests: tuple[str, ...]
    errors: np.ndarray

    def __post_init__(self) -> None:
        """Refuse repeated replicates and values that are not finite."""
        if len(set(self.ids)) != len(self.ids):
            repeated = next(i for i in self.ids if self.ids.count(i) > 1)
            raise NotJudged(f"replicate {repeated!r} has {self.ids.count(repeated)} rows: average inside a replicate before judging over replicates")
        if not np.all(np.isfinite(self.values)):
            raise NotJudged(f"{int(np.sum(~np.isfinite(self.values)))} of {len(self.values)} values are not finite")

    @classmethod
    def of(cls, table: pl.DataFrame, value: str, *, by: str = "seed", error: str | None = None) -> Replicates:
        """Read column `value` of `table`, one row for each distinct `by`.

        `error` names the column with each value's standard error; a column `digest`, if there is one, is read as the evaluation data's digest.

        Raises:
            NotJudged: more than one row a replicate, no row at all, or a value that is not finite.
        """
        for column in (value, by, *([error] if error else [])):
            if column not in table.columns:
                raise NotJudged(f"the table has no column {column!r} (it has {', '.join(table.columns)})")
        if table.is_empty():
            raise NotJudged("the table has no rows for this measurement")
        table = table.sort(by)
        return cls(
            values=table[value].cast(pl.Float64).to_numpy(),
            ids=tuple(table[by].to_list()),
            digests=tuple(table["digest"].to_list()) if "digest" in table.columns else ("",) * len(table),
            errors=table[error].cast(pl.Float64).to_numpy() if error else np.zeros(len(table)),
        )

    @classmethod
    def within(cls, table: pl.DataFrame, statistic: Callable[[pl.DataFrame], float], *, by: str = "seed") -> Replicates:
        """Compute `statistic` (a slope, a rank correlation, a smallest successive drop) inside each replicate's rows."""
        if table.is_empty():
            raise NotJudged("the table has no rows for this measurement")
        groups = sorted(table.partition_by(by, as_dict=True, maintain_order=True).items())
        values, ids, digests = [], [], []
        for (replicate,), rows in groups:
            values.append(statistic(rows))
            ids.append(replicate)
            digests.append("+".join(sorted(set(rows["digest"].to_list()))) if "digest" in rows.columns else "")
        return cls(np.asarray(values, dtype=np.float64), tuple(ids), tuple(digests), np.zeros(len(values)))

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Replicates:
        """Apply a smooth function value by value; standard errors follow by central differences."""
        step = 1e-6 * np.maximum(1.0, np.abs(self.values))
        slope = (function(self.values + step) - function(self.values - step)) / (2 * step)
        errors = np.where(self.errors > 0, np.abs(slope) * self.errors, 0.0)
        return Replicates(np.asarray(function(self.values), dtype=np.float64), self.ids, self.digests, errors)

    def minus(self, other: Replicates) -> Replicates:
        """Paired difference, self - other. Raises NotJudged for missing replicates or unequal evaluation data."""
        self._pair(other)
        return Replicates(self.values - other.values, self.ids, self.digests, np.hypot(self.errors, other.errors))

    def over(self, other: Replicates) -> Replicates:
        """Paired ratio, self / other."""
        self._pair(other)
        ratio = self.values / other.values
        errors = np.abs(ratio) * np.hypot(self.errors / np.abs(self.values), other.errors / np.abs(other.values))
        return Replicates(ratio, self.ids, self.digests, np.where((self.errors > 0) | (other.errors > 0), errors, 0.0))

    def log_ratio(self, other: Replicates) -> Replicates:
        """Paired log ratio, log(self / other), the difference on the scale on which losses are compared."""
        for name, values in (("numerator", self.values), ("denominator", other.values)):
            if np.any(values <= 0):
                raise NotJudged(f"a log ratio needs positive values; the smallest {name} is {values.min():g}")
        return self.over(other).map(np.log)

    def _pair(self, other: Replicates) -> None:
        missing = sorted(set(map(str, self.ids)) ^ set(map(str, other.ids)))
        if missing:
            raise NotJudged(f"unpaired replicates: {', '.join(missing)} are in one arm only")
        if self.ids != other.ids:
            raise NotJudged("the replicates of the two arms are in different order")
        for replicate, mine, theirs in zip(self.ids, self.digests, other.digests, strict=True):
            if mine != theirs:
                raise NotJudged(f"replicate {replicate!r} was evaluated on different data in the two arms (digests {mine or 'none'} and {theirs or 'none'})")


@dataclass(frozen=True)
class Instances:
    """Errors of an identity over declared instances.

    Attributes:
        errors: shape (n,), one non-negative error an instance (already the largest over its entries).
        exhaustive: whether the instances are all of a finite set; otherwise at least 100 random ones are needed.
    """

    errors: np.ndarray
    exhaustive: bool = False

    @classmethod
    def of(cls, table: pl.DataFrame, error: str, *, exhaustive: bool = False) -> Instances:
        """Read column `error`, one row an instance."""
        if error not in table.columns:
            raise NotJudged(f"the table has no column {error!r} (it has {', '.join(table.columns)})")
        return cls(table[error].cast(pl.Float64).to_numpy(), exhaustive)
