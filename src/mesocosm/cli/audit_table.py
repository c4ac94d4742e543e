"""The audit's terminal table: one row per product and head, each value next to its nulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mesocosm.audit.checkpoint_audit import Audit
from mesocosm.audit.layouts import shared_prefix
from mesocosm.audit.summary import sentence, summary
from mesocosm.lab.errors import UserError
from mesocosm.lab.events.progress import printable
from mesocosm.lab.formatting import number

READING = (
    "ratio: nuclear norm over mean squared Frobenius norm of the factors, 1 at balance. null1: Gaussian factors of the same shapes and norms; null2: the same "
    "factors with a random rotation between them; mean ± standard deviation over draws. score: (ratio - null2) / (1 - null2). (×4): number of queries that "
    "share the key. A value near null1 does not distinguish this product from one at initialisation; a value away from null2 shows that the factors are "
    "aligned, not what aligned them. There is no good or bad value."
)
"""What the columns mean, and what they do not show."""

HELP = "see mesocosm audit --help"
HEADINGS = ("layer", "head", "product", "d_h", "ratio", "null1", "null2", "score", "rank95_sum", "null1", "null2", "stable", "null1", "law")


def sorted_rows(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Sort rows by a column, largest first; a leading minus sorts smallest first; an empty name keeps the checkpoint's order.

    Raises:
        UserError: no such column.
    """
    name = column.removeprefix("-")
    if not name:
        return rows
    if name not in rows.columns:
        raise UserError(f"--sort {column}: the columns are {', '.join(rows.columns)}; {HELP}")
    return rows.sort(name, descending=not column.startswith("-"), nulls_last=True, maintain_order=True)


def audit_table(audit: Audit, *, sort: str = "", top: int = 0) -> RenderableType:
    """The audited rows, then the skipped blocks by reason, the meaning of the columns, and a paragraph of summary.

    Args:
        sort: name of a column, see `sorted_rows`.
        top: maximum number of rows; 0 for all.
    """
    rows = sorted_rows(audit.audited, sort)
    shown = rows.head(top) if top else rows
    parts = rows["part"].unique(maintain_order=True).to_list()
    several, shared = len(parts) > 1, f"{shared_prefix(parts)}." if parts else ""
    headings = ("part",) * several + HEADINGS
    table = number_table(headings, words=("part", "product", "law"))
    for row in shown.iter_rows(named=True):
        table.add_row(*map(Text, [printable(row["part"].removeprefix(shared))] * several + _cells(row)))
    told: list[RenderableType] = [Text.assemble((printable(audit.model), "bold"), f"  {printable(shared.rstrip('.') if several else ''.join(parts))}")]
    told += [table] if rows.height else []
    told += left_out(rows.height - shown.height)
    told += [Text(line, style="yellow") for line in skipped_lines(audit.skipped)]
    told += [Text(f"{product}: {printable(note)}", style="dim") for product, note in notes_of(rows)]
    if rows.height:
        told += [Text(READING, style="dim"), Text(" ".join(printable(sentence(row)) for row in summary(rows).iter_rows(named=True)))]
    return Group(*told)


def number_table(headings: Sequence[str], words: Sequence[str]) -> Table:
    """An empty table with words aligned left, and numbers aligned right without wrapping."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading != "part", justify="left" if heading in words else "right")
    return table


def left_out(rows: int) -> list[RenderableType]:
    """A line that says how many rows were omitted, if any."""
    return [Text(f"{rows} more rows: --top 0 shows all, --out DIR writes them", style="dim")] if rows else []


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["layer"]),
        str(row["head"]) if row["group"] == 1 else f"{row['head']} (×{row['group']})",
        row["product"],
        str(row["d_h"]),
        *spread_cells(row, "ratio"),
        number(row["score"], 2),
        *spread_cells(row, "rank95_sum"),
        *spread_cells(row, "stable")[:2],
        row["applies"],
    ]


def spread_cells(row: Mapping[str, Any], measure: str) -> list[str]:
    """Format a value and both of its nulls with their standard deviations."""
    if measure == "ratio":
        return [f"{row['ratio']:.4f}", *(f"{row[null]:.4f}±{row[f'{null}_sd']:.1g}" for null in ("null1", "null2"))]
    nulls = (f"{measure}_{null}" for null in ("null1", "null2"))
    return [f"{row[measure]:.3g}", *(f"{row[null]:.3g}±{row[f'{null}_sd']:.1g}" for null in nulls)]


def skipped_lines(skipped: pl.DataFrame) -> list[str]:
    """One line per reason, with the blocks that were skipped for it."""
    lines = []
    for (reason,), group in skipped.partition_by("reason", as_dict=True, maintain_order=True).items():
        blocks = group["block"].to_list()
        listed = ", ".join(map(printable, blocks[:3])) + (f" and {len(blocks) - 3} more" if len(blocks) > 3 else "")
        lines.append(f"skipped: {listed}: {printable(str(reason))}")
    return lines


def notes_of(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """The distinct pairs of product and note."""
    return [(product, note) for product, note in rows.select("product", "notes").unique(maintain_order=True).iter_rows() if note]


def comparison_rows(compared: pl.DataFrame, names: tuple[str, str], *, sort: str = "", top: int = 0) -> RenderableType:
    """The values of two checkpoints side by side; by default, the largest change of the ratio comes first."""
    rows = sorted_rows(compared, sort) if sort else compared.sort(pl.col("ratio_change").abs(), descending=True, nulls_last=True, maintain_order=True)
    shown = rows.head(top) if top else rows
    headings = ("part", "layer", "head", "product", "ratio a", "null2 a", "ratio b", "null2 b", "change", "rank95_sum a", "b", "stable a", "b", "in")
    table = number_table(headings, words=("part", "product", "in"))
    for row in shown.iter_rows(named=True):
        ratios = [cell for side in "ab" for cell in (_four(row[f"ratio_{side}"]), _with_sd(row[f"null2_{side}"], row[f"null2_sd_{side}"]))]
        ranks = [number(row[f"{name}_{side}"]) for name in ("rank95_sum", "stable") for side in "ab"]
        place = (printable(row["part"]), str(row["layer"]), str(row["head"]), row["product"])
        table.add_row(*map(Text, (*place, *ratios, _four(row["ratio_change"]), *ranks, row["found_in"])))
    sides = [Text(f"{side}: {printable(name)}", style="bold") for side, name in zip("ab", names, strict=True)]
    return Group(*sides, table, *left_out(rows.height - shown.height), Text(READING, style="dim"))


def _four(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _with_sd(value: float | None, sd: float | None) -> str:
    return "–" if value is None or sd is None else f"{value:.4f}±{sd:.1g}"
