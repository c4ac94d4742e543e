"""A site for several runs: a first page with one row per run, each run's page, and a page that compares their verdicts.

Every page is a single file. Each page with figures embeds Vega (about 0.9 MB) instead of loading a shared script: it can then be sent alone, and its content
security policy can allow scripts by hash, which browsers do not check for a script that a page on disk loads from another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mesocosm.lab.errors import UserError
from mesocosm.lab.report.comparison import Column, comparison
from mesocosm.lab.report.figures import draw
from mesocosm.lab.report.page import page, slug
from mesocosm.lab.report.run_page import render
from mesocosm.lab.store import atomic
from mesocosm.lab.store.run_directory import Run

HOME, COMPARISON = "index.html", "compare.html"


def write_site(runs: Sequence[Run], folder: Path) -> Path:
    """Write the pages into a folder; the run directories are only read.

    Returns:
        The first page's path.

    Raises:
        UserError: the folder is a run directory, whose own page would be overwritten, or cannot be written.
    """
    if (folder / "run.json").exists():
        raise UserError(f"{folder} is a run directory; choose another folder with --out")
    columns = [Column(run, name) for run, name in zip(runs, page_names(runs), strict=True)]
    first = page("site.html", "Runs · mesocosm", columns=columns, comparison=COMPARISON)
    pages = {HOME: first, COMPARISON: comparison(columns, HOME), **{column.page: render(column.run, draw(column.run), home=HOME) for column in columns}}
    try:
        for name, text in pages.items():
            atomic.write_bytes(folder / name, text.encode())
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None
    return folder / HOME


def page_names(runs: Sequence[Run]) -> list[str]:
    """`STUDY-PRESET.html`, with a number if the name is taken."""
    names: list[str] = []
    for run in runs:
        stem = f"{slug(run.study.name)}-{slug(run.preset)}"
        others = sum(name == f"{stem}.html" or name.startswith(f"{stem}.") for name in names)
        names.append(f"{stem}.{others + 1}.html" if others else f"{stem}.html")
    return names
