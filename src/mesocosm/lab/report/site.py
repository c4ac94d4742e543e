"""A site for several runs: a first page with one row per run, each run's page, a page that compares their verdicts, and a gallery of their figures.

Every page is a single file. Each page with figures embeds Vega (about 0.9 MB) instead of loading a shared script: it can then be sent alone, and its content
security policy can allow scripts by hash, which browsers do not check for a script that a page on disk loads from another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mesocosm.lab.errors import UserError
from mesocosm.lab.report.comparison import Column, comparison
from mesocosm.lab.report.figures import RenderedFigure, draw
from mesocosm.lab.report.page import page, slug
from mesocosm.lab.report.pictures import picture
from mesocosm.lab.report.run_page import render
from mesocosm.lab.store import atomic
from mesocosm.lab.store.run_directory import Run

HOME, COMPARISON, GALLERY = "index.html", "compare.html", "gallery.html"
THUMBNAIL_SCALE = 0.75


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
    drawn = {column.page: draw(column.run) for column in columns}
    pages = {
        HOME: page("site.html", "Runs · mesocosm", columns=columns, comparison=COMPARISON, gallery=GALLERY),
        COMPARISON: comparison(columns, HOME),
        GALLERY: page("gallery.html", "Figures · mesocosm", home=HOME, shelves=[(column, thumbnails(column, drawn[column.page])) for column in columns]),
        **{column.page: render(column.run, drawn[column.page], home=HOME) for column in columns},
    }
    try:
        for name, text in pages.items():
            atomic.write_bytes(folder / name, text.encode())
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None
    return folder / HOME


def thumbnails(column: Column, drawn: Sequence[RenderedFigure]) -> list[tuple[int, RenderedFigure, str]]:
    """(place on the run's page, figure, address of its picture) of each figure with a drawing."""
    placed = enumerate(figure for figure in drawn if figure.spec is not None)
    found = [(place, figure, picture(column.run.path, figure.name, scale=THUMBNAIL_SCALE)) for place, figure in placed]
    return [(place, figure, address) for place, figure, address in found if address is not None]


def page_names(runs: Sequence[Run]) -> list[str]:
    """`STUDY-PRESET.html`, with a number if the name is taken."""
    names: list[str] = []
    for run in runs:
        stem = f"{slug(run.study.name)}-{slug(run.preset)}"
        others = sum(name == f"{stem}.html" or name.startswith(f"{stem}.") for name in names)
        names.append(f"{stem}.{others + 1}.html" if others else f"{stem}.html")
    return names
