"""The tables that the checks read, or all tables of a run without checks: their first rows, and small tables as CSV downloads."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from mesocosm.claims.view import View
from mesocosm.lab.formatting import number

FIRST_ROWS = 5
LARGEST = 40_000
"""The largest table that a page embeds whole, in bytes of CSV."""


class Column(NamedTuple):
    """A table's column."""

    name: str
    numeric: bool


class TableEntry(NamedTuple):
    """A table on a page.

    Attributes:
        name: the table's name.
        columns: None if no finished trial wrote it.
        size: rows and columns in words.
        first_rows: cells of the first rows, as text.
        more_rows: number of rows that are not shown.
        csv: the whole table in base64, for a download link; None if it is larger than `LARGEST`.
    """

    name: str
    columns: list[Column] | None = None
    size: str = ""
    first_rows: Sequence[Sequence[str]] = ()
    more_rows: int = 0
    csv: str | None = None


def tables_read(rows: Sequence[Mapping[str, Any]], view: View, written: Iterable[str] = ()) -> list[TableEntry]:
    """An entry for each table that a check read; in a run without checks, for each table that trials wrote, but not the history of training."""
    read = sorted({name for row in rows for name in row.get("tables") or ()} if rows else set(written) - {"history"})
    return [_entry(name, view.table(name)) if view.has(name) else TableEntry(name) for name in read]


def _entry(name: str, table: pl.DataFrame) -> TableEntry:
    columns = [Column(column, dtype.is_numeric()) for column, dtype in table.schema.items()]
    size = f"{table.height:,} row{'s' * (table.height != 1)}, {table.width} column{'s' * (table.width != 1)}"
    first_rows = [[_text(value) for value in row] for row in table.head(FIRST_ROWS).rows()]
    csv = table.write_csv().encode()
    return TableEntry(name, columns, size, first_rows, max(table.height - FIRST_ROWS, 0), base64.b64encode(csv).decode() if len(csv) <= LARGEST else None)


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return str(value)
    return str(value).replace("-", "−") if isinstance(value, int) else number(value)
