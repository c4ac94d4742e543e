"""The report in a browser: figures drawn, the table sorted, filtered and opened by clicks, nothing hostile run, no request, every screen and paper."""

import os
import re
from pathlib import Path

import pytest
from browser import Opened, executable
from hostile import HOSTILE, hostile_run

from mesocosm.audit import audit
from mesocosm.cli.audit_command import write_audit
from mesocosm.lab.report.figures import draw
from mesocosm.lab.report.run_page import render, write_report
from mesocosm.lab.report.site import write_site
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store.run_directory import Run
from packed_models import FAMILIES, pack, write
from toy_study import STUDY

pytestmark = pytest.mark.whole

MESA = Path(__file__).parents[3] / "results" / "mesa"
PHONE = {"width": 390, "height": 844}
TEXT = "(() => { const range = document.createRange(); range.selectNodeContents(cell); return range.getBoundingClientRect(); })()"


@pytest.fixture(scope="module")
def chromium():
    path = executable()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]  # which refuses root
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """`visit(path, **context)` opens a page; at the test's end every opened page is checked."""
    visited = []

    def open_page(path: Path, **options) -> Opened:
        context = chromium.new_context(**options)
        opened = Opened(context.new_page())
        visited.append((context, opened))
        opened.page.goto(path.resolve().as_uri())
        if options.get("java_script_enabled", True):
            opened.wait_for_figures()
        return opened

    yield open_page
    for context, opened in visited:
        context.close()
        opened.check()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return execute(STUDY, "quick", out=tmp_path_factory.mktemp("toy") / "quick")


@pytest.fixture(scope="module")
def page(run) -> Path:
    return write_report(run)


@pytest.fixture(scope="module")
def mesa(tmp_path_factory) -> Path:
    """The page of the committed record, written elsewhere."""
    record, path = Run(MESA), tmp_path_factory.mktemp("mesa") / "index.html"
    path.write_text(render(record, draw(record)))
    return path


@pytest.fixture(scope="module")
def site(run, tmp_path_factory) -> Path:
    smoke = execute(STUDY, "smoke", out=tmp_path_factory.mktemp("toy") / "smoke")
    return write_site([run, smoke], tmp_path_factory.mktemp("site"))


def visible_claims(page) -> list[str]:
    return [text for text in page.locator(".claims tbody:visible .id").all_inner_texts() if text]


def sideways(page) -> int:
    """By how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def brightness(page, selector: str, style: str) -> float:
    """Of a computed colour, 0 to 255."""
    colour = page.locator(selector).first.evaluate(f"element => getComputedStyle(element)[{style!r}]")
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3


# --- figures --------------------------------------------------------------------------------------------------------


def test_every_figure_of_the_record_is_drawn_with_marks(visit, mesa):
    page = visit(mesa).page
    plots = page.locator(".plot")
    assert plots.count() == len(Run(MESA).study.figures) + 1  # that of its pilots
    for plot in plots.all():
        assert plot.locator(".in-light svg.marks [class*='mark-'] path").count() > 3
        assert plot.locator(".in-light svg").bounding_box()["height"] > 100


def test_a_figure_names_what_the_pointer_is_on(visit, page):
    opened = visit(page).page
    opened.locator(".in-light .mark-symbol path").first.hover()
    assert "seed" in opened.locator("#vg-tooltip-element.visible").inner_text()


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<svg"), ("png", b"\x89PNG")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_figure_can_be_saved(visit, page, kind, start, scheme):
    opened = visit(page, color_scheme=scheme).page
    with opened.expect_download() as download:
        opened.get_by_role("button", name=kind, exact=False).first.click()
    assert download.value.suggested_filename == f"heights.{kind}"
    assert Path(download.value.path()).read_bytes().startswith(start)


# --- the claims table -----------------------------------------------------------------------------------------------


def test_claims_sort_by_clicks_on_headings(visit, page):
    opened = visit(page).page
    assert visible_claims(opened) == ["C1", "C2", "C3"]
    opened.get_by_role("button", name="Claim and check").click()
    opened.get_by_role("button", name="Claim and check").click()
    assert visible_claims(opened) == ["C3", "C2", "C1"]
    opened.get_by_role("button", name="Verdict").click()
    assert opened.locator("th[aria-sort]").all_inner_texts() == ["Verdict"]
    order = ["fails", "inconclusive", "holds", "not judged"]
    ranks = [order.index(body.get_attribute("data-verdict")) for body in opened.locator(".claims tbody").all()]
    assert ranks == sorted(ranks)
    opened.get_by_role("button", name="Verdict").click()
    assert visible_claims(opened)[0] == "C3"


def test_claims_filter_by_verdict_and_text(visit, mesa):
    opened = visit(mesa).page
    fails = opened.locator(".verdicts button[data-verdict=fails]")
    rows = Run(MESA).claims
    failing = [row["claim"] for row in rows if row["verdict"] == "fails"]
    fails.click()
    assert visible_claims(opened) == sorted(set(failing), key=failing.index)
    assert opened.locator(".claims .row:visible").count() == len(failing)
    assert opened.get_by_role("status").inner_text() == f"{len(failing)} of {len(rows)} checks shown"
    fails.click()
    opened.get_by_role("searchbox").fill("step-size")
    assert "C2" in visible_claims(opened)
    assert opened.locator(".claims .row:visible").count() < len(rows)
    opened.get_by_role("searchbox").fill("")
    assert opened.locator(".claims .row:visible").count() == len(rows)


def test_a_row_opens_to_its_evidence(visit, page):
    opened = visit(page).page
    proof = opened.locator("#claim-C2 .proof").first
    assert not proof.is_visible()
    opened.locator("#claim-C2 summary").first.click()
    assert proof.locator("circle.dot").count() == 8
    text = proof.inner_text()
    for part in ("no step", "Fig. 2", "toy_study/claims.py:", "mesocosm run toy-study --preset quick"):
        assert part in text
    assert not opened.locator("#table-heights").is_visible()
    proof.get_by_role("link", name="heights").click()
    assert opened.locator("#table-heights").is_visible()
    with opened.expect_download() as download:
        opened.locator("#table-heights").get_by_role("link", name="Save as CSV").click()
    assert Path(download.value.path()).read_text().startswith("trial,seed,start,end")


def test_all_evidence_opens_and_closes(visit, page):
    opened = visit(page).page
    opened.get_by_role("button", name="Open all evidence").click()
    assert opened.locator(".proof:visible").count() == 3
    opened.get_by_role("button", name="Close all evidence").click()
    assert opened.locator(".proof:visible").count() == 0


def test_without_scripts_the_page_is_whole(visit, page):
    opened = visit(page, java_script_enabled=False).page
    assert visible_claims(opened) == ["C1", "C2", "C3"]
    assert not opened.locator(".controls").is_visible()
    opened.locator("#claim-C2 summary").first.click()
    assert opened.locator("#claim-C2 .proof").first.is_visible()
    assert "This figure needs JavaScript" in opened.locator(".plot").first.inner_text()


# --- hostile strings ------------------------------------------------------------------------------------------------


def test_hostile_strings_run_nothing(visit, tmp_path):
    run = hostile_run(tmp_path)
    path = tmp_path / "index.html"
    path.write_text(render(run, draw(run)))
    opened = visit(path).page
    opened.locator(".in-light .mark-symbol path").first.hover()
    assert opened.locator("#vg-tooltip-element.visible img").count() == 0
    for summary in opened.locator("summary").all():
        summary.click()
    opened.get_by_role("searchbox").fill(HOSTILE)
    opened.get_by_role("button", name="Verdict").click()
    opened.wait_for_timeout(200)
    assert opened.locator("img, iframe").count() == 0


def test_hostile_runs_make_a_harmless_site(visit, tmp_path):
    (tmp_path / "a").mkdir()
    home = write_site([hostile_run(tmp_path / "a"), hostile_run(tmp_path / "a")], tmp_path / "site")
    for page in sorted(home.parent.glob("*.html")):
        opened = visit(page).page
        opened.wait_for_timeout(100)
        assert opened.locator("img, iframe").count() == 0
    assert len(list(home.parent.glob("*.html"))) == 5


# --- screens and paper ----------------------------------------------------------------------------------------------


def test_dark_is_dark_and_follows_the_reader(visit, page):
    opened = visit(page, color_scheme="dark").page
    assert brightness(opened, "body", "backgroundColor") < 60 < 160 < brightness(opened, "body", "color")
    assert brightness(opened, ".in-dark .role-axis-label text", "fill") > 140
    assert not opened.locator(".in-light:visible").count()
    opened.emulate_media(color_scheme="light")
    assert brightness(opened, "body", "color") < 60 < 200 < brightness(opened, "body", "backgroundColor")
    assert brightness(opened, ".in-light .role-axis-label text", "fill") < 120
    assert opened.locator(".in-light:visible").count() == opened.locator(".in-light").count() > 0
    assert not opened.locator(".in-dark:visible").count()


def test_a_page_opened_in_the_light_is_redrawn_in_the_dark(visit, page):
    opened = visit(page, color_scheme="light").page
    assert opened.locator(".in-dark").count() == 0
    opened.emulate_media(color_scheme="dark")
    for figure in opened.locator("figure:has(.in-light)").all():
        figure.locator(".in-dark svg.marks").wait_for(state="visible")


def test_a_phone_scrolls_down_only(visit, mesa, page, site):
    for path in (mesa, page, *sorted(site.parent.glob("*.html"))):
        opened = visit(path, viewport=PHONE).page
        assert sideways(opened) <= 0, path
        opened.evaluate("document.querySelectorAll('details').forEach(details => (details.open = true))")
        assert sideways(opened) <= 0, path


def test_on_a_phone_no_word_is_broken_and_no_panel_is_cut(visit, mesa, tmp_path):
    opened = visit(mesa, viewport=PHONE).page
    training = opened.locator(".plot[data-name=training]")
    assert training.evaluate("plot => plot.scrollWidth <= plot.clientWidth")
    tensors, config = pack(FAMILIES["mistral-gqa"])[0], FAMILIES["mistral-gqa"].config
    audited = visit(write_audit([audit(write(tmp_path / "model", tensors, config))], tmp_path / "out"), viewport=PHONE).page
    for path in (opened, audited):
        assert sideways(path) <= 0
        words = path.locator(".trials :is(th, td)").filter(has_text=re.compile(r"^[\w.*]+$"))
        assert words.count() > 20
        assert max(words.evaluate_all(f"cells => cells.map(cell => {TEXT}.height)")) < 30  # one line


def test_a_drawing_fills_its_card(visit, mesa):
    for plot in visit(mesa, viewport={"width": 1200, "height": 900}).page.locator(".card:not(.empty) .plot").all():
        drawn = plot.locator(".in-light svg").bounding_box()["width"]
        assert drawn > 0.9 * plot.bounding_box()["width"]


def test_paper_shows_everything_and_no_controls(visit, page):
    opened = visit(page, color_scheme="dark").page
    opened.emulate_media(media="print")
    assert opened.locator(".proof:visible").count() == opened.locator(".proof").count() == 3
    assert opened.locator("#table-heights").is_visible()
    assert opened.locator(".proof").first.bounding_box()["height"] > 40
    assert opened.locator(":is(button, input, nav):not(th *):visible").count() == 0
    assert opened.locator(".in-light svg.marks").first.is_visible()
    assert brightness(opened, "body", "backgroundColor") == 255
    assert opened.pdf().startswith(b"%PDF")


# --- several runs ---------------------------------------------------------------------------------------------------


def test_a_site_leads_to_its_runs_and_back(visit, site):
    opened = visit(site).page
    assert opened.locator("tbody tr").count() == 2
    opened.get_by_role("link", name="quick").click()
    assert opened.locator("h1").inner_text() == STUDY.title
    opened.get_by_role("link", name="All runs").click()
    opened.get_by_role("link", name="Compare the verdicts").click()
    assert opened.locator("h1").inner_text() == "Verdicts compared"


def test_a_site_compares_verdicts(visit, site):
    opened = visit(site.with_name("compare.html")).page
    rows = opened.locator(".comparison tbody tr:not(.claim)")
    assert rows.count() == 4
    cells = opened.locator("tr", has_text="C2.drop").locator("td").all_inner_texts()
    assert ["holds" in cells[0], "not judged" in cells[1]] == [True, True]
    assert opened.locator("tr", has_text="C2.drop").locator(".disagreement").inner_text() == "judged in some runs only"
    opened.get_by_label("Only differences").check()
    assert opened.locator("tr", has_text="C2.drop").is_visible()
    assert opened.locator("#study-toy-study tbody:visible").count() == 2
    opened.locator("tr", has_text="C2.drop").get_by_role("link", name="holds").click()
    assert opened.url.endswith("/toy-study-quick.html#claim-C2")
    assert opened.locator("#claim-C2").is_visible()


def test_a_site_carries_its_own_pages_only(site):
    assert sorted(path.name for path in site.parent.iterdir()) == ["compare.html", "gallery.html", "index.html", "toy-study-quick.html", "toy-study-smoke.html"]
