"""A run in a notebook: what it shows is all there, works without a script or a network, and no text becomes markup."""

import re
import shutil
from urllib.parse import unquote

import pytest
from hostile import HOSTILE, ROW, hostile_run
from seen import Page

from mesocosm.lab.errors import UserError
from mesocosm.lab.report.notebook import run_display
from mesocosm.lab.report.pictures import LARGE, compact, data_address
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store import atomic
from mesocosm.lab.store.run_directory import Run
from toy_study import STUDY


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return execute(STUDY, "smoke", out=tmp_path_factory.mktemp("toy") / "run").path


def without_a_script(shown: str) -> Page:
    page = Page(shown)
    assert page.open == []
    assert not {"script", "iframe", "link", "style", "object"} & {name for name, _ in page.elements}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert "href" not in attributes
        assert str(attributes.get("src", "data:image/")).startswith("data:image/")
    return page


def test_a_judged_run_shows_its_verdicts_and_figures(path):
    run = Run(path)
    run.claims = [ROW, *(row for row in run.claims if row["id"] != ROW["id"])]
    page = without_a_script(run._repr_html_())
    assert "toy-study : Balls roll downhill" in page.text
    assert "C2 Balls roll downhill. Fig. 2" in page.text
    assert "drop: log ratio ✓ holds −2 [−2.5, −1.5] < −1 0 [−0.1, 0.1] no step 3" in page.text
    assert "C1.identity, C2.rate: preset smoke is too small" in page.text
    assert "Not judged, and why (3)" in page.text
    image, tried = [attributes for name, attributes in page.elements if name == "img"]  # the other figure was not drawn
    assert (image["alt"], tried["alt"]) == ("Where the balls end", "What was tried")
    assert unquote(str(image["src"]).partition(",")[2]) == compact((path / "figures" / "heights.svg").read_text())
    assert "Each dot is one ball" in page.text


def test_the_display_is_small_and_names_the_run_from_here(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    shown = Run(path)._repr_html_()
    assert len(shown) < 100_000
    assert str(path.parent) not in shown
    assert re.search(r"preset smoke · 2 seeds · .* · run<", shown)


def test_a_run_that_is_not_judged_shows_its_trials(tmp_path):
    def stop(event):
        if type(event).__name__ == "TrialStarted" and event.index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(STUDY, "smoke", out=tmp_path / "run", observer=stop)
    page = without_a_script(Run(tmp_path / "run")._repr_html_())
    assert "Not judged yet" in page.text
    assert len(re.findall("finished", page.text)) == 1
    assert len(re.findall("waiting", page.text)) == 3


def test_no_text_becomes_markup(path):
    shutil.copy(path / "figures" / "heights.svg", path / "figures" / "figure.svg")
    page = without_a_script(run_display(hostile_run(path)))
    assert HOSTILE.split()[0] in page.text


def test_a_large_drawing_becomes_a_picture():
    dots = "".join(f'<circle cx="{i % 100}" cy="{i // 100}" r="0.4"/>' for i in range(4000))
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="40">{dots}</svg>'
    assert len(drawing) > LARGE
    address = data_address(drawing, 1.5)
    assert address.startswith("data:image/png;base64,")
    assert len(address) < LARGE
    assert data_address(drawing.replace(dots, "<!-- # & -->"), 1.5) == "data:image/svg+xml," + (
        "%3Csvg xmlns=%22http://www.w3.org/2000/svg%22 width=%22100%22 height=%2240%22%3E%3C!-- %23 %26 --%3E%3C/svg%3E"
    ).replace("!", "%21")


def test_a_compact_drawing_keeps_its_text_and_its_pixels(path):
    import vl_convert

    drawing = (path / "figures" / "heights.svg").read_text()
    assert len(compact(drawing)) < 0.9 * len(drawing)
    assert re.findall(r"<text[^>]*>([^<]*)", compact(drawing)) == re.findall(r"<text[^>]*>([^<]*)", drawing)
    small = '<path aria-label="x: 0.12345" d="M0.12345,-1.5e-7L2.999,3" transform="translate(10.98765,0.5)" opacity="0.12345"/><text>0.12345</text>'
    assert compact(small) == '<path d="M0.12,-1.5e-7L2.99,3" transform="translate(10.98,0.5)" opacity="0.12345"/><text>0.12345</text>'
    sizes = [len(vl_convert.svg_to_png(text)) for text in (drawing, compact(drawing))]
    assert abs(sizes[0] - sizes[1]) < 0.02 * sizes[0]


def test_a_damaged_run_says_so(path, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    atomic.write_bytes(copy / "claims.json", b"[")
    with pytest.raises(UserError, match="damaged"):
        Run(copy)._repr_html_()
