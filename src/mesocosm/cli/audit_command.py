"""The handler of `mesocosm audit`: audits each checkpoint, prints the tables, writes the files and the page."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from mesocosm.audit import Audit, AuditError, Options, audit
from mesocosm.audit.comparison import compare
from mesocosm.cli.audit_table import HELP, audit_table, comparison_rows
from mesocosm.lab.errors import UserError
from mesocosm.lab.store import atomic


def run_audit(
    models: Sequence[str], options: Options, out: Console, *, comparing: bool = False, sort: str = "", top: int = 0, folder: Path | None = None
) -> int:
    """Audit, print and write.

    Returns:
        0, or 2 if no block of a checkpoint could be audited.

    Raises:
        UserError: a checkpoint cannot be read, a comparison does not have two checkpoints, or the folder cannot be written.
    """
    if not models:
        raise UserError(f"name a checkpoint: `mesocosm audit MODEL`, where MODEL is a file, a directory or owner/name on the Hugging Face hub; {HELP}")
    if comparing and len(models) != 2:
        raise UserError(f"--compare takes two checkpoints, not {len(models)}; {HELP}")
    audits = distinct_names([_audited(model, options, out) for model in models])
    if comparing and all(found.audited.height for found in audits):
        table = compare(*audits)
        out.print(comparison_rows(table, (audits[0].model, audits[1].model), sort=sort, top=top))
    else:
        table = None
        for found in audits:
            out.print(audit_table(found, sort=sort, top=top))
    if folder is not None:
        out.print(f"Report: {write_audit(audits, folder, table)}", soft_wrap=True, markup=False, highlight=False)
    return 0 if all(found.audited.height for found in audits) else 2


def distinct_names(audits: Sequence[Audit]) -> list[Audit]:
    """Number the later ones of audits whose checkpoints have the same name."""
    models = [found.model for found in audits]
    earlier = [models[:i].count(model) for i, model in enumerate(models)]
    names = [f"{model} ({count + 1})" if count else model for model, count in zip(models, earlier, strict=True)]
    return [
        found
        if name == found.model
        else replace(found, model=name, **{table: _renamed(getattr(found, table), name) for table in ("rows", "spectra", "row_norms")})
        for found, name in zip(audits, names, strict=True)
    ]


def _renamed(table: pl.DataFrame, name: str) -> pl.DataFrame:
    return table.with_columns(model=pl.lit(name))


def _audited(model: str, options: Options, out: Console) -> Audit:
    waiting: AbstractContextManager[Any] = out.status(f"auditing {model}") if out.is_terminal else nullcontext()
    with waiting as status:
        try:
            return audit(model, options, _progress_printer(model, status))
        except AuditError as error:
            raise UserError(f"{error}; {HELP}" if str(error).startswith("--") else str(error)) from None


def _progress_printer(model: str, status: Any) -> Callable[[int, int], None] | None:
    return (lambda done, blocks: status.update(f"auditing {model}: {done} of {blocks} blocks")) if status is not None else None


def write_audit(audits: Sequence[Audit], folder: Path, compared: pl.DataFrame | None = None) -> Path:
    """Write `audit` and, after a comparison, `comparison` as Parquet, CSV and JSON, `spectra` and `row_norms` as Parquet, and the page.

    Returns:
        The page's path.

    Raises:
        UserError: the folder cannot be written.
    """
    from mesocosm.cli.audit_page import write_page

    tables = {"audit": pl.concat([found.rows for found in audits])} | ({} if compared is None else {"comparison": compared})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            _write(folder / f"{name}.parquet", table.write_parquet)
            _write(folder / f"{name}.csv", table.write_csv)
            _write(folder / f"{name}.json", table.write_json)
        _write(folder / "spectra.parquet", pl.concat([found.spectra for found in audits]).write_parquet)
        _write(folder / "row_norms.parquet", pl.concat([found.row_norms for found in audits]).write_parquet)
        return write_page(audits, folder)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None


def _write(path: Path, write: Callable[[io.BytesIO], Any]) -> None:
    buffer = io.BytesIO()
    write(buffer)
    atomic.write_bytes(path, buffer.getvalue())
