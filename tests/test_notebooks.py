"""The tutorial notebooks: saved with their outputs, which the documentation shows, and each still runs."""

import importlib.util
import json
import re
from collections import Counter
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest

import mesocosm
from mesocosm.claims.summary import tally_text
from mesocosm.lab.formatting import when

ROOT = Path(__file__).parents[1]


def hook(name: str):
    """A module that mkdocs calls."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NOTEBOOKS = hook("notebooks")
each = pytest.mark.parametrize("path", NOTEBOOKS.NOTEBOOKS, ids=lambda path: path.stem)


def test_there_is_one_for_each_use_and_each_is_in_the_navigation():
    assert [path.stem for path in NOTEBOOKS.NOTEBOOKS] == ["audit", "parts", "science"]
    assert set(re.findall(r"notebooks/(\w+)\.md", (ROOT / "mkdocs.yml").read_text())) == {"audit", "parts", "science"}


@each
def test_it_is_saved_as_it_ran(path):
    text = path.read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run: python docs/notebooks.py"
    assert any(cell["outputs"] for cell in cells)
    assert "/tmp/" not in text  # nothing tells where it ran
    assert str(Path.home()) not in text
    assert len(text) < 2_000_000


@each
def test_its_page_shows_text_code_and_outputs_and_loads_nothing(path):
    cells = NOTEBOOKS.read(path)["cells"]
    page = NOTEBOOKS.page(path)
    shown = dict(NOTEBOOKS.outputs(NOTEBOOKS.read(path)))
    for cell in cells:
        assert "".join(cell["source"]) in page
    assert [page.count(NOTEBOOKS.TOKEN.format(*place)) for place in shown] == [1] * len(shown)
    for html in shown.values():
        assert "<script" not in html
        assert not re.search(r'(?:src|href)="(?!data:)', html)


@each
def test_its_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#]+)", "".join("".join(cell["source"]) for cell in NOTEBOOKS.read(path)["cells"] if cell["cell_type"] == "markdown")):
        assert (path.parent / link).exists(), link


def test_a_link_to_a_notebook_leads_to_its_page_but_the_download_does_not():
    assert NOTEBOOKS.on_page_markdown("[a](notebooks/parts.ipynb), [b](../notebooks/parts.ipynb)") == "[a](notebooks/parts.md), [b](../notebooks/parts.md)"
    assert NOTEBOOKS.on_page_markdown("[Download](parts.ipynb)") == "[Download](parts.ipynb)"


def test_an_output_that_a_page_cannot_show_is_an_error():
    assert NOTEBOOKS.as_html({"output_type": "stream", "text": ["a < b\n"]}) == "<pre><code>a &lt; b\n</code></pre>"
    with pytest.raises(ValueError, match="error with"):
        NOTEBOOKS.as_html({"output_type": "error", "ename": "E"})


def test_the_record_that_a_notebook_shows_is_the_one_in_results():
    """Its date, the numbers of verdicts and the checks that do not hold are those of the record that the code opens."""
    cells = NOTEBOOKS.read(ROOT / "docs" / "notebooks" / "science.ipynb")["cells"]
    shown = {"".join(cell["source"]): "".join(map(NOTEBOOKS.as_html, cell["outputs"])) for cell in cells if cell["cell_type"] == "code"}
    opened, counts, listed = (
        next(html for source, html in shown.items() if part in source) for part in ("mesocosm.Run(", 'group_by("verdict").len()', '["fails", "inconclusive"]')
    )
    (study,) = re.findall(r'mesocosm\.Run\("\.\./\.\./results/([\w-]+)"\)', "\n".join(shown))
    record = mesocosm.Run(ROOT / "results" / study)
    again = "run: python docs/notebooks.py"
    assert when(record.record["started"]) in opened, again
    assert tally_text(record.claims).casefold() in unescape(opened).casefold(), again
    numbers = {verdict: int(number) for verdict, number in re.findall(r"<td>&quot;([a-z ]+)&quot;</td><td>(\d+)</td>", counts)}
    assert numbers == Counter(row["verdict"] for row in record.claims), again
    wanted = [row["id"] for row in record.claims if row["verdict"] in ("fails", "inconclusive")]
    found = re.findall(rf"&quot;({study}/[^&]+)&quot;", listed)
    assert found == wanted if len(wanted) <= 10 else set(found) <= set(wanted), again  # Polars leaves out the middle of a longer table


@pytest.mark.whole
@each
def test_it_runs(path):
    before, after = NOTEBOOKS.read(path), NOTEBOOKS.executed(path)
    kinds = [[output["output_type"] for output in cell.get("outputs", [])] for cell in after["cells"] if cell["cell_type"] == "code"]
    assert [bool(kind) for kind in kinds] == [bool(cell["outputs"]) for cell in before["cells"] if cell["cell_type"] == "code"]


def test_the_gallery_shows_every_figure_of_every_record():
    gallery = hook("gallery")
    records = gallery.records()
    assert records
    for run in records:
        files = {file.name for *_, file in gallery.drawings(run)}
        assert files == {file.name for file in (run.path / "figures").glob("*.svg")}
        shelf = gallery.shelf(run, "mine.html", "../")
        assert 'href="../records/mine.html"' in shelf
        assert len(re.findall(rf'<img src="\.\./figures/{run.study.name}/', shelf)) == len(files)
        assert (ROOT / "docs" / "studies" / f"{run.study.name}.md").exists()


@pytest.mark.slow
def test_the_documentation_has_the_site_of_all_records(tmp_path):
    """The gallery's links lead to pages on which every record's figures can be seen."""
    gallery = hook("gallery")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="gallery.md"))
    leads = set(re.findall(rf'href="({gallery.SITE}/[^"]+)"', gallery.on_page_content(gallery.MARK, page=page)))
    gallery.on_post_build({"site_dir": str(tmp_path)})
    assert leads <= {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.html")}
    assert len(leads) == 1 + len(gallery.records())
    figures = (tmp_path / gallery.SITE / "gallery.html").read_text()
    for run, name in zip(gallery.records(), gallery.page_names(gallery.records()), strict=True):
        assert figures.count(f'href="{name}#figure-') == len(gallery.drawings(run))
        text = (tmp_path / gallery.SITE / name).read_text()
        assert all(f'id="claim-{row["claim"]}"' in text for row in run.claims)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*")) < 50e6
