"""The view of a run that measurements read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mesocosm.claims.replicates import NotJudged

if TYPE_CHECKING:
    import polars as pl


class View:
    """Gives measurements and figures the config, preset and tables of a run; records which tables were read."""

    def __init__(self, config: Any, preset: str, tables: Mapping[str, pl.DataFrame]):
        self.config = config
        self.preset = preset
        self._tables = tables
        self.read: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether a finished trial wrote this table."""
        return name in self._tables

    def table(self, name: str, **where: Any) -> pl.DataFrame:
        """All trials' tables of this name concatenated, with the trial's name in the column `trial`; only rows whose columns `where` have these values.

        Raises:
            NotJudged: no finished trial wrote this table, or no row matches.
        """
        if name not in self._tables:
            raise NotJudged(f"no finished trial wrote the table {name!r}")
        self.read.add(name)
        table = self._tables[name]
        for column, value in where.items():
            table = matching(table, name, column, value)
        return table


def matching(table: pl.DataFrame, name: str, column: str, value: Any) -> pl.DataFrame:
    """The rows of the table of this name in which a column has this value.

    Raises:
        NotJudged: the column does not exist, or no row matches.
    """
    if column not in table.columns:
        raise NotJudged(f"the table {name!r} has no column {column!r} (it has {', '.join(table.columns)})")
    rows = table.filter(table[column] == value)
    if rows.is_empty():
        raise NotJudged(f"the table {name!r} has no row with {column} = {value!r}")
    return rows
