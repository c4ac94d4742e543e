"""The figures of all records: a line `<!-- gallery -->` in a page becomes one picture for each figure in `results/STUDY/figures`, which leads to its study."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from mesocosm.lab.report.figures import figures_of
from mesocosm.lab.store.run_directory import Run

ROOT = Path(__file__).parents[1]
MARK = "<!-- gallery -->"


def records() -> list[Run]:
    """The records, one for each study that has one."""
    return [Run(file.parent) for file in sorted((ROOT / "results").glob("*/run.json"))]


def drawings(run: Run) -> list[tuple[str, str, Path]]:
    """(title, caption, file) of each figure of a record."""
    files = [(figure, run.path / "figures" / f"{figure.name}.svg") for figure in figures_of(run)]
    return [(figure.title, figure.caption, file) for figure, file in files if file.exists()]


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the drawings to the site."""
    from mkdocs.structure.files import File

    for run in records():
        for *_, file in drawings(run):
            files.append(File.generated(config, address(run, file), abs_src_path=str(file)))
    return files


def on_page_content(content: str, *, page: Any, **_: Any) -> str:
    """Fill in the pictures."""
    if MARK not in content:
        return content
    depth = "../" * page.file.src_uri.count("/")
    return content.replace(MARK, "\n".join(shelf(run, depth) for run in records()))


def address(run: Run, file: Path) -> str:
    """Where a drawing stands in the site."""
    return f"figures/{run.study.name}/{file.name}"


def shelf(run: Run, depth: str = "") -> str:
    """A study's heading and pictures; `depth` leads from the page to the site's first folder."""
    study = f"{depth}studies/{run.study.name}.html"
    look = "width:100%;height:230px;object-fit:contain;background:white;border-radius:6px"
    cards = []
    for title, caption, file in drawings(run):
        words = f'alt="{html.escape(title)}" title="{html.escape(caption)}"'
        image = f'<img src="{depth}{address(run, file)}" {words} loading="lazy" style="{look}">'
        cards.append(f'<figure style="margin:0"><a href="{study}">{image}</a><figcaption>{html.escape(title)}</figcaption></figure>')
    heading = f'<h2 id="{run.study.name}"><a href="{study}">{run.study.name}</a></h2><p>{html.escape(run.study.title)}</p>'
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:18px"
    return f'{heading}<div style="{grid}">{"".join(cards)}</div>'
