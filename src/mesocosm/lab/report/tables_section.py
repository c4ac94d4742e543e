"""The tables that the checks read: their first rows, and the whole of a small one to save."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mesocosm.claims.view import View
from mesocosm.lab.report.evidence import table_anchor
from mesocosm.lab.report.markup import Html, element, number

FIRST_ROWS = 5
LARGEST = 40_000
"""Bytes of CSV up to which a page carries a whole table."""


def tables_section(rows: Sequence[Mapping[str, Any]], view: View) -> Html | None:
    """One folded entry for each table that a check read."""
    read = sorted({name for row in rows for name in row.get("tables") or ()})
    if not read:
        return None
    entries = [_entry(name, view.table(name)) if view.has(name) else _missing(name) for name in read]
    return element("section", element("h2", "Tables"), entries, id="tables")


def _missing(name: str) -> Html:
    return element("p", element("code", name), ": no finished trial wrote this table.", id=table_anchor(name), class_="rest")


def _entry(name: str, table: pl.DataFrame) -> Html:
    size = f"{table.height:,} row{'s' * (table.height != 1)}, {table.width} column{'s' * (table.width != 1)}"
    numeric = [dtype.is_numeric() for dtype in table.dtypes]
    head = element("tr", [element("th", column, scope="col", class_=_class(right)) for column, right in zip(table.columns, numeric, strict=True)])
    body = [
        element("tr", [element("td", _text(value), class_=_class(right)) for value, right in zip(row, numeric, strict=True)])
        for row in table.head(FIRST_ROWS).rows()
    ]
    shown = element("div", element("table", element("thead", head), element("tbody", body), class_="data"), class_="scroll")
    more = f"{table.height - FIRST_ROWS:,} more rows. " if table.height > FIRST_ROWS else None
    files = ["All rows: ", element("code", f"trials/*/tables/{name}.parquet"), " in the run directory."]
    return element(
        "details",
        element("summary", element("code", name), element("span", size, class_="size")),
        element("div", shown, element("p", more, _download(name, table) or files, class_="rest"), id=table_anchor(name)),
        class_="table",
    )


def _download(name: str, table: pl.DataFrame) -> Html | None:
    """The whole table as a link that holds it, so that it can be saved from a page that lies anywhere."""
    content = table.write_csv().encode()
    if len(content) > LARGEST:
        return None
    return element("a", "Save as CSV", href=f"data:text/csv;base64,{base64.b64encode(content).decode()}", download=f"{name}.csv")


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return str(value)
    return str(value).replace("-", "−") if isinstance(value, int) else number(value)


def _class(numeric: bool) -> str | None:
    return "number" if numeric else None
