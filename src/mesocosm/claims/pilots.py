"""The pilots of a study: the table `search.csv` in its package, from which `searched` of a check is read.

A row is one training on a pilot seed, or one result that another implementation gave. The columns before `seed` are settings, those after it outcomes;
`made_by` names who made the row. A configuration is a combination of settings, so its seeds count once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

import polars as pl

FILE = "search.csv"
SEED = "seed"
MAKER = "made_by"


@dataclass(frozen=True)
class Pilots:
    """What was tried before regions were set.

    Attributes:
        table: the rows.

    Raises:
        ValueError: the table has no column `seed`.
    """

    table: pl.DataFrame

    def __post_init__(self) -> None:
        """Require the column that divides settings from outcomes."""
        if SEED not in self.table.columns:
            raise ValueError(f"a table of pilots needs a column {SEED!r}, which divides settings from outcomes; this one has {', '.join(self.table.columns)}")

    @cached_property
    def settings(self) -> list[str]:
        """The columns that make a configuration."""
        return [name for name in self.table.columns[: self.table.columns.index(SEED)] if name != MAKER]

    @cached_property
    def outcomes(self) -> list[str]:
        """The columns that tell how a row ended."""
        return [name for name in self.table.columns[self.table.columns.index(SEED) + 1 :] if name != MAKER]

    def count(self, *where: pl.Expr, beside: Collection[str] = (), **values: Any) -> int:
        """How many configurations were tried.

        Args:
            where: conditions on the rows to count.
            beside: settings that do not make another configuration.
            values: column -> the value of the rows to count.

        Raises:
            ValueError: there is no such column.
        """
        return self._tried(*where, beside=beside, **values).height

    def counts(self, column: str, *where: pl.Expr, beside: Collection[str] = (), **values: Any) -> dict[str, int]:
        """Value of a settings column -> how many configurations with it were tried; the other arguments are those of `count`."""
        tried = self._tried(*where, beside=beside, **values).drop_nulls(column)
        return dict(tried.group_by(column, maintain_order=True).len().iter_rows())

    def joined(self, other: Pilots) -> Pilots:
        """The rows of both tables, each once; settings stay before `seed`, and outcomes after it.

        Raises:
            ValueError: a setting of one table is an outcome of the other.
        """
        both = pl.concat([self.table, other.table], how="diagonal_relaxed").unique(maintain_order=True)
        settings, outcomes = dict.fromkeys([*self.settings, *other.settings]), dict.fromkeys([*self.outcomes, *other.outcomes])
        if mixed := [name for name in settings if name in outcomes]:
            raise ValueError(f"the column {mixed[0]!r} is a setting of one table of pilots and an outcome of the other")
        return Pilots(both.select(*settings, *(name for name in (MAKER, SEED) if name in both.columns), *outcomes))

    def _tried(self, *where: pl.Expr, beside: Collection[str], **values: Any) -> pl.DataFrame:
        if unknown := [name for name in (*beside, *values) if name not in self.table.columns]:
            raise ValueError(f"the table of pilots has no column {unknown[0]!r}; it has {', '.join(self.table.columns)}")
        rows = self.table.filter(*where, **values) if where or values else self.table
        return rows.select(name for name in self.settings if name not in beside).unique(maintain_order=True)


def pilots(package: str) -> Pilots:
    """The pilots of the study in this package.

    Raises:
        FileNotFoundError: the package has no `search.csv`.
        ValueError: the table has no column `seed`.
    """
    return Pilots(pl.read_csv(resources.files(package).joinpath(FILE).read_bytes(), infer_schema_length=None))


def has_pilots(package: str) -> bool:
    """Whether the package has a table of pilots."""
    return resources.files(package).joinpath(FILE).is_file()
