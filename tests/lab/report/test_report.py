"""The report: whole without a network, every string in it only a string, and the same numbers as the table that it shows."""

import base64
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import polars as pl
import pytest
from hostile import ROW, hostile_run
from jinja2 import UndefinedError

import toy_study
from mesocosm.claims.agreement import differences
from mesocosm.claims.summary import claim_verdict
from mesocosm.lab.errors import UserError
from mesocosm.lab.formatting import duration, interval_text, number, region_text
from mesocosm.lab.report import vega
from mesocosm.lab.report.comparison import Column, comparison
from mesocosm.lab.report.evidence import measured_at
from mesocosm.lab.report.figures import RenderedFigure, draw
from mesocosm.lab.report.interval_plot import Axis, Plot, interval_plot, replicate_plot
from mesocosm.lab.report.page import embed_json, embed_script, environment, finite
from mesocosm.lab.report.page import render as filled
from mesocosm.lab.report.run_page import render, write_report
from mesocosm.lab.report.site import write_site
from mesocosm.lab.report.tables_section import tables_read
from mesocosm.lab.report.vega import vega_lite_version, write_pictures
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store.run_directory import Run
from mesocosm.studies.interface import Figure, View
from toy_study import STUDY


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in {"meta", "br", "img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def data(self):
        return next(json.loads(text, parse_constant=pytest.fail) for attributes, text in self.scripts if attributes.get("type") == "application/json")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return execute(STUDY, "smoke", out=tmp_path_factory.mktemp("toy") / "run")


@pytest.fixture(scope="module")
def page(run) -> Page:
    return Page(write_report(run).read_text())


# --- the page of a real run -----------------------------------------------------------------------------------------


def test_page_is_closed_and_whole(page):
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "base"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("data:text/csv;" if "download" in attributes else "#")
        assert not any(name.startswith("on") for name in attributes)
    targets = {attributes["href"] for _, attributes in page.elements if "href" in attributes and "download" not in attributes}
    assert {"#claims", "#figures", "#trials", "#tables", "#provenance", "#table-heights", "#table-identity"} == targets
    assert targets <= {f"#{name}" for name in ids}


def test_page_forbids_requests_and_other_scripts(page):
    policy = next(attributes["content"] for tag, attributes in page.elements if tag == "meta" and "http-equiv" in attributes)
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]


def test_page_shows_claims_before_figures_before_trials(page):
    words = ("Balls roll downhill.", "Where the balls end", "How it was made")
    places = [page.text.rindex(word) for word in words]
    assert places == sorted(places)
    assert "needs a ball that answers questions" in page.text
    assert "no finished trial wrote the table 'never-written'" in page.text
    assert "mesocosm run toy-study --preset smoke" in page.text


def test_every_figure_is_embedded_with_its_data(page, run):
    (spec,) = page.data["specs"]
    assert [len(rows) for rows in spec["datasets"].values()] == [4]
    assert sum(attributes.get("id", "").startswith("figure-") for _, attributes in page.elements) == 1
    assert set(page.data["themes"]) == {"light", "dark"}
    assert (run.path / "figures" / "heights.svg").read_text().startswith("<svg")
    assert (run.path / "figures" / "heights.png").read_bytes().startswith(b"\x89PNG")
    assert not (run.path / "figures" / "missing.svg").exists()


def test_same_run_gives_the_same_page(run):
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_a_run_that_cannot_be_written_gets_one_line(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    shutil.rmtree(copy / "figures")
    (copy / "figures").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot read or write .*figures: File exists; something else is in its place"):
        write_report(Run(copy))


def test_pictures_name_a_generic_font(run):
    assert "sans-serif" in (run.path / "figures" / "heights.svg").read_text()


# --- hostile strings ------------------------------------------------------------------------------------------------


def test_hostile_names_are_only_text(tmp_path):
    run = hostile_run(tmp_path)
    page = Page(render(run, draw(run)))
    assert page.open == []
    assert not [tag for tag, _ in page.elements if tag in {"img", "iframe"}]
    assert len(page.scripts) == 4
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count("alert(1)") > 20
    assert page.text.count("{{body}}") > 20
    assert json.dumps(page.data).count("alert(1)") == 6


def test_nan_and_infinity_become_null(tmp_path):
    run = hostile_run(tmp_path)
    (rows,) = Page(render(run, draw(run))).data["specs"][0]["datasets"].values()
    assert [(row["start"], row["end"]) for row in rows] == [(1.0, None), (None, 2.0), (3.0, 3.0)]


def test_script_text_cannot_end_its_element():
    source = 'a = "</script><!--</SCRIPT>"'
    page = Page(f"<script>{embed_script(source)}</script><p>{embed_json({'a': source})}</p>")
    assert [tag for tag, _ in page.elements] == ["script", "p"]


# --- figures --------------------------------------------------------------------------------------------------------


def test_a_figure_that_vega_refuses_does_not_cost_the_page(tmp_path):
    def refused(view: View) -> alt.Chart:
        return alt.Chart(pl.DataFrame({"x": [1.0]})).mark_point().encode(x="x:Q").transform_calculate(y="datum.x +")

    run = hostile_run(tmp_path)
    run.study.figures = [Figure("refused", "Refused", "Its expression is no expression.", refused), *STUDY.figures]
    page = write_report(run).read_text()
    assert "Not drawn: it could not be drawn: " in page
    assert not (run.path / "figures/refused.svg").exists()
    assert (run.path / "figures" / f"{STUDY.figures[0].name}.svg").exists()


def test_a_figure_that_raises_does_not_cost_the_page(tmp_path):
    def broken(view: View) -> alt.Chart:
        raise ZeroDivisionError("nothing to divide by")

    run = hostile_run(tmp_path)
    run.study.figures = [Figure("broken", "Broken", "It raises.", broken), *STUDY.figures]
    drawn = draw(run)
    assert drawn[0].reason == "it could not be drawn: ZeroDivisionError: nothing to divide by"
    assert drawn[1].spec is not None
    assert "nothing to divide by" in Page(render(run, drawn)).text


def test_pictures_of_figures_that_are_gone_go(tmp_path, run):
    drawn = [figure for figure in draw(run) if figure.name == "heights"]
    write_pictures(drawn, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"heights.svg", "heights.png"}
    write_pictures([RenderedFigure("heights", "", "", reason="gone")], tmp_path)
    assert not list(tmp_path.iterdir())


def test_altair_and_vl_convert_speak_the_same_version():
    import vl_convert

    assert vega_lite_version() in vl_convert.get_vegalite_versions()


# --- claims ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "fails", "inconclusive"], "fails"),
        (["holds", "inconclusive", "not judged"], "inconclusive"),
        (["holds", "not judged"], "not judged"),
    ],
)
def test_a_claim_is_as_its_checks(checks, verdict):
    assert claim_verdict([{**ROW, "verdict": check} for check in checks]) == verdict


def drawn(plot: Plot | None) -> Page:
    return Page(environment().get_template("interval_plot.html").module.draw(plot))


def test_a_note_stands_with_its_page_below_the_check():
    row = {**ROW, "verdict": "fails", "note": "Nobody <rolls>.", "page": "docs/studies/toy.md#c2"}
    found = {"groups": {"C1": [row]}, "checks_by_verdict": {"fails": 1}, "judged": 1, "measured_at": {}}
    assert "Nobody &lt;rolls&gt;. See <code>docs/studies/toy.md#c2</code>." in filled("claims.html", **found)
    assert "See" not in filled("claims.html", **{**found, "groups": {"C1": [ROW]}})


def test_a_plot_says_what_it_shows():
    (svg, attributes), *marks = drawn(interval_plot(ROW)).elements
    assert svg == "svg"
    assert attributes["aria-label"] == "−2 [−2.5, −1.5], region < −1, control 0 [−0.1, 0.1]"
    centres = {attributes["class"]: float(attributes["cx"]) for tag, attributes in marks if tag == "circle"}
    edge = next(float(attributes["x1"]) for tag, attributes in marks if tag == "line")
    assert centres["measured"] < edge < centres["control"]


def test_replicates_are_all_drawn():
    dots = [attributes for tag, attributes in drawn(replicate_plot(ROW)).elements if tag == "circle" and "dot" in attributes["class"]]
    assert len(dots) == 3
    assert [float(dot["cx"]) for dot in dots] == sorted(float(dot["cx"]) for dot in dots)


def test_nothing_measured_draws_nothing():
    assert interval_plot({**ROW, "estimate": None}) is None
    assert replicate_plot({**ROW, "replicates": None}) is None


def test_identity_is_drawn_by_decades_with_zero_at_the_edge():
    axis = Axis.around([0.0, 1e-12, 10.0], decades=True)
    assert axis.at(0.0) < axis.at(1e-12) < axis.at(1e-5) < axis.at(10.0)
    assert axis.at(1e-5) - axis.at(1e-6) == pytest.approx(axis.at(1e-1) - axis.at(1e-2))
    row = {**ROW, "kind": "exact", "estimate": 0.0, "low": None, "high": None, "threshold": 1e-12, "control": {"name": "m", "estimate": 9.0}, "reference": None}
    assert interval_plot(row) is not None


def test_one_value_alone_still_has_an_axis():
    assert interval_plot({**ROW, "estimate": 1.0, "low": 1.0, "high": 1.0, "threshold": 1.0, "control": None, "reference": None}) is not None


@pytest.mark.parametrize(
    ("threshold", "direction", "text"), [(-1.0, "<", "< −1"), (0.5, ">", "> 0.5"), ([0.9, 1.1], "in", "0.9 to 1.1"), (None, None, "–"), (0.0, ">", "> 0")]
)
def test_regions_in_words(threshold, direction, text):
    assert region_text({"threshold": threshold, "direction": direction}) == text


def test_intervals_in_words():
    assert interval_text({"estimate": 1.0, "low": None, "high": None}) == "1"
    assert interval_text({"estimate": None}) == "–"


# --- what stands behind a check -------------------------------------------------------------------------------------


def test_a_check_is_found_in_the_code():
    """Not its measurement, which other checks share."""
    places = measured_at("toy-study", STUDY.claims)
    source = (Path(toy_study.__file__).parent / "claims.py").read_text().splitlines()
    for id in ("toy-study/C1.identity", "toy-study/C2.drop", "toy-study/C2.rate"):
        file, _, line = places[id].partition(":")
        assert file == "toy_study/claims.py"
        assert "Check(" in source[int(line) - 1]
    assert len(set(places.values())) == len(places)


def test_a_small_table_comes_whole_and_a_large_one_in_part(tmp_path):
    tables = {"small": pl.DataFrame({"seed": range(8), "name": ["=a,b"] * 8}), "large": pl.DataFrame({"value": range(20_000)}), "unread": pl.DataFrame()}
    page = Page(filled("tables.html", tables=tables_read([{"tables": ["small", "large", "gone"]}], View(None, "quick", tables))))
    links = {attributes["download"]: attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert list(links) == ["small.csv"]
    assert pl.read_csv(base64.b64decode(links["small.csv"].partition(",")[2])).equals(tables["small"])
    assert "20,000 rows, 1 column" in page.text
    assert "19,995 more rows. All rows: trials/*/tables/large.parquet" in page.text
    assert "gone : no finished trial wrote this table." in page.text
    assert "unread" not in page.text


# --- several runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "kinds"),
    [
        (["holds", "holds"], []),
        (["holds", "fails"], ["judged differently"]),
        (["holds", "inconclusive", None], ["judged differently"]),
        (["holds", "not judged"], ["judged in some runs only"]),
        (["holds", None], ["judged in some runs only"]),
        ([None, "not judged"], []),
    ],
)
def test_runs_differ_where_their_verdicts_do(verdicts, kinds):
    assert differences([verdict and {**ROW, "verdict": verdict} for verdict in verdicts]) == kinds


def test_a_site_compares_a_row_a_check_and_a_column_a_run(run):
    columns = [Column(run, "a.html"), Column(run, "b.html")]
    columns[1].claims = [{**ROW, "verdict": "fails", "estimate": 0.125, "low": 0.0, "high": 0.25}, *(row for row in run.claims if row["id"] != ROW["id"])]
    columns[0].claims = [{**ROW, "verdict": "holds"}, *(row for row in run.claims if row["id"] != ROW["id"])]
    page = Page(comparison(columns, "index.html"))
    assert page.open == []
    assert "4 checks: 1 judged differently; 0 judged in some runs only; 0 held to other regions; 1 with intervals apart" in page.text
    assert "holds −2 [−2.5, −1.5] ✕ fails 0.125 [0, 0.25]" in page.text
    assert [attributes["href"] for _, attributes in page.elements if "href" in attributes][:5] == [
        "index.html",
        "a.html",
        "b.html",
        "a.html#claim-C2",
        "b.html#claim-C2",
    ]


def test_a_site_leaves_its_runs_alone(run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    home = write_site([run, run], tmp_path / "site")
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    assert sorted(path.name for path in home.parent.iterdir()) == ["compare.html", "index.html", "toy-study-smoke.2.html", "toy-study-smoke.html"]
    page = Page(home.read_text())
    assert page.text.count("Balls roll downhill") == 2
    assert page.text.count("not judged 3") == 2


def test_a_site_does_not_overwrite_a_run(run):
    with pytest.raises(UserError, match="is a run directory; choose another folder with --out"):
        write_site([run, run], run.path)


def test_a_site_where_nothing_can_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*site"):
        write_site([run], tmp_path / "file" / "site")


def test_vega_is_bundled_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    vega.script.cache_clear()
    bundle = vega.script()
    (kept,) = tmp_path.rglob("*.js")
    assert kept.read_text() == bundle
    kept.write_text("kept")
    vega.script.cache_clear()
    assert vega.script() == "kept"
    vega.script.cache_clear()


def test_vega_is_bundled_where_nothing_can_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    vega.script.cache_clear()
    assert "window.vegaEmbed" in vega.script()
    vega.script.cache_clear()


# --- small things ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-2.1749, "−2.17"),
        (1e-12, "10⁻¹²"),
        (4.44e-16, "4.44·10⁻¹⁶"),
        (123456, "123,456"),
        (None, "–"),
        (math.inf, "not finite"),
        (8, "8"),
        (999.6, "1,000"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "40 ms"), (3.2, "3.2 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3599.9, "1 h"), (7800, "2 h 10 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("name", environment().list_templates())
def test_every_template_escapes_and_refuses_what_it_is_not_given(name):
    assert environment().autoescape is True
    with pytest.raises(UndefinedError):
        environment().from_string("{{ missing }}").render()
    source, _, _ = environment().loader.get_source(environment(), name)
    assert not re.search(r"\|\s*safe|autoescape", source)


def test_values_are_kept_finite():
    assert finite({"a": [math.nan, 1.0], "b": (math.inf,)}) == {"a": [None, 1.0], "b": [None]}
