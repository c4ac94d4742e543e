"""The figures of all records: a line `<!-- gallery -->` in a page becomes one picture for each figure in `results/STUDY/figures`, which leads to its study.
The records' own pages, which `mesocosm report results/* --out site` would write, become a part of the documentation.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from mesocosm.lab.report.figures import figures_of
from mesocosm.lab.report.site import HOME, page_names, write_site
from mesocosm.lab.store.run_directory import Run

ROOT = Path(__file__).parents[1]
MARK = "<!-- gallery -->"
SITE = "records"
"""The folder of the records' pages in the documentation."""


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
    depth, runs = "../" * page.file.src_uri.count("/"), records()
    lead = f'<p><a href="{depth}{SITE}/{HOME}">The pages of all records</a>, as <code>mesocosm report results/* --out site</code> writes them</p>'
    return content.replace(MARK, "\n".join([lead, *(shelf(run, name, depth) for run, name in zip(runs, page_names(runs), strict=True))]))


def on_post_build(config: Any, **_: Any) -> None:
    """Write the records' pages beside those of the documentation, so that mkdocs has no part in them."""
    write_site(records(), Path(config["site_dir"]) / SITE)


def address(run: Run, file: Path) -> str:
    """Where a drawing stands in the site."""
    return f"figures/{run.study.name}/{file.name}"


def shelf(run: Run, name: str, depth: str = "") -> str:
    """A study's heading and pictures; `name` is that of its record's page, and `depth` leads from the page to the site's first folder."""
    study = f"{depth}studies/{run.study.name}.html"
    look = "width:100%;height:230px;object-fit:contain;background:white;border-radius:6px"
    cards = []
    for title, caption, file in drawings(run):
        words = f'alt="{html.escape(title)}" title="{html.escape(caption)}"'
        image = f'<img src="{depth}{address(run, file)}" {words} loading="lazy" style="{look}">'
        cards.append(f'<figure style="margin:0"><a href="{study}">{image}</a><figcaption>{html.escape(title)}</figcaption></figure>')
    record = f'<a href="{depth}{SITE}/{name}">its record</a>'
    heading = f'<h2 id="{run.study.name}"><a href="{study}">{run.study.name}</a></h2><p>{html.escape(run.study.title)} ({record})</p>'
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:18px"
    return f'{heading}<div style="{grid}">{"".join(cards)}</div>'
