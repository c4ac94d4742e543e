"""The report: whole without a network, every string in it only a string, and the same numbers as the table that it shows."""

import base64
import json
import math
import re
import shutil
from pathlib import Path

import altair as alt
import polars as pl
import pytest
import vl_convert
from hostile import ROW, hostile_run
from jinja2 import UndefinedError
from seen import Page

import toy_study
from mesocosm.lab.errors import UserError
from mesocosm.lab.report import vega
from mesocosm.lab.report.figures import RenderedFigure, draw, theme
from mesocosm.lab.report.page import embed_json, embed_script, environment, finite, share_that_holds
from mesocosm.lab.report.page import render as filled
from mesocosm.lab.report.run_page import measured_at, render, write_report
from mesocosm.lab.report.tables_section import tables_read
from mesocosm.lab.report.vega import vega_lite_version, write_pictures
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store import atomic
from mesocosm.lab.store.run_directory import Run, TrialStore
from mesocosm.studies.interface import Figure, View
from toy_study import STUDY


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
    words = ("Balls roll downhill.", "Where the balls end", "Provenance")
    places = [page.text.rindex(word) for word in words]
    assert places == sorted(places)
    assert "needs a ball that answers questions" in page.text
    assert "no finished trial wrote the table 'never-written'" in page.text
    assert "mesocosm run toy-study --preset smoke" in page.text


def test_every_figure_is_embedded_with_its_data(page, run):
    spec, pilots = page.data["specs"]
    assert [len(rows) for rows in spec["datasets"].values()] == [4]
    assert sorted(len(rows) for rows in pilots["datasets"].values()) == [3, 5]  # lines and labels
    assert sum(attributes.get("id", "").startswith("figure-") for _, attributes in page.elements) == 2
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
    with pytest.raises(UserError, match=r"cannot read or write .*figures: File exists; another file is in its place"):
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
    assert "Not drawn: " in page
    assert not (run.path / "figures/refused.svg").exists()
    assert (run.path / "figures" / f"{STUDY.figures[0].name}.svg").exists()


def test_a_figure_that_raises_does_not_cost_the_page(tmp_path):
    def broken(view: View) -> alt.Chart:
        raise ZeroDivisionError("nothing to divide by")

    run = hostile_run(tmp_path)
    run.study.figures = [Figure("broken", "Broken", "It raises.", broken), *STUDY.figures]
    drawn = draw(run)
    assert drawn[0].reason == "ZeroDivisionError: nothing to divide by"
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


def test_a_page_reads_each_file_once(run, monkeypatch):
    read, json_of, table_of = [], atomic.read_json, TrialStore._table
    monkeypatch.setattr(atomic, "read_json", lambda path: read.append(path.name) or json_of(path))
    monkeypatch.setattr(TrialStore, "_table", lambda store, name: read.append(f"{store.name}/{name}") or table_of(store, name))
    fresh = Run(run.path)
    render(fresh, draw(fresh))
    assert read.count("claims.json") == read.count("run.json") == read.count("rolling/heights") == 1
    assert len({name for name in read if "/" in name}) == len([name for name in read if "/" in name])


@pytest.mark.parametrize("verdict", ["fails", "not judged"])
def test_a_note_stands_with_its_page_below_the_check(verdict):
    row = {**ROW, "verdict": verdict, "note": "Nobody <rolls>.", "page": "docs/studies/toy.md#c2"}
    found = {"groups": {"C1": [row]}, "checks_by_verdict": {"fails": 1}, "judged": 1, "measured_at": {}}
    assert "Nobody &lt;rolls&gt;. See <code>docs/studies/toy.md#c2</code>." in filled("claims.html", **found)
    assert "See" not in filled("claims.html", **{**found, "groups": {"C1": [ROW]}})


def test_a_remark_on_many_checks_is_told_once_and_repeated_only_in_their_evidence():
    found = {"checks_by_verdict": {"holds": 3}, "judged": 3, "measured_at": {}}
    for number, above in ((2, 2), (3, 1)):
        rows = [{**ROW, "id": f"toy-study/C2.{n}", "reason": "changed since"} for n in range(number)]
        text = filled("claims.html", groups={"C1": rows[:1], "C2": rows[1:]}, **found)
        assert re.sub("<details>.*?</details>", "", text, flags=re.DOTALL).count("changed since") == above
        assert text.count("<dd>changed since</dd>") == (number if above == 1 else 0)


def test_log_axes_have_grid_lines_at_labels_only():
    chart = alt.Chart(pl.DataFrame({"x": [0.001, 10.0]})).mark_tick().encode(x=alt.X("x:Q", scale=alt.Scale(type="log")))
    drawn = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=vega_lite_version(), config=theme())
    axis = re.search(r'role-axis-grid"[^>]*>(.*?)</g>', drawn)
    lines = re.findall(r'opacity="(\d)"', axis[1]) if axis else []
    labels = re.findall(r'<text text-anchor="[a-z]+"[^>]*?(?:/>|>([^<]*)</text>)', drawn)
    assert lines.count("0") == labels.count("") > 10
    assert lines.count("1") >= 5


def test_the_mark_of_holm_never_stands_alone():
    """It follows the claim's badge if the claim has one check, and else the check's verdict."""
    found = {"checks_by_verdict": {"holds": 1}, "judged": 1, "measured_at": {}}
    one, two = (filled("claims.html", groups={"C1": [ROW, {**ROW, "id": "toy-study/C2.b", "holm": False}][:number]}, **found) for number in (1, 2))
    for text, before in ((one, 'class="badge holds"'), (two, 'class="word holds"')):
        assert text.count('class="holm"') == 1
        assert re.search(rf'<td class="verdict"><span {before}>(?:(?!</td>).)*class="holm"', text)


def test_a_check_that_was_not_judged_folds_its_numbers():
    found = {"checks_by_verdict": {"not judged": 1}, "judged": 0, "measured_at": {}}
    text = filled("claims.html", groups={"C1": [{**ROW, "verdict": "not judged", "reason": "preset smoke is too small"}]}, **found)
    above, _, folded = text.partition("<details>")
    assert "preset smoke is too small" in above
    assert "[−2.5, −1.5]" not in above
    assert "[−2.5, −1.5]" in folded.partition("</details>")[0]
    assert above.count('colspan="6"') == 3  # statement, check, evidence


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ({"holds": 3, "fails": 1}, "3 of 4 claims hold"),
        ({"holds": 1, "not judged": 6}, "1 of 1 judged claims hold"),
        ({"not judged": 6}, "none of 6 claims judged"),
    ],
)
def test_claims_that_were_not_judged_do_not_count_against_those_that_were(verdicts, told):
    assert share_that_holds(verdicts) == told


def test_the_verdicts_of_earlier_records_stand_in_the_row():
    """Below the check if one differs, and always in its evidence."""
    first = {"verdict": "fails", "date": "2026-11-22", "seeds": "0 to 4", "on": "these seeds"}
    found = {"checks_by_verdict": {"holds": 1}, "judged": 1, "measured_at": {}}
    differs, alike = (filled("claims.html", groups={"C1": [{**ROW, "earlier": [one]}]}, **found) for one in (first, first | {"verdict": "holds"}))
    assert '<p class="reason">Earlier verdicts on these seeds: fails (2026-11-22).</p>' in differs
    assert "Earlier verdicts" not in alike
    assert "<dd>earlier verdicts on these seeds: holds (2026-11-22)</dd>" in alike


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


# --- Vega -----------------------------------------------------------------------------------------------------------


@pytest.mark.whole
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


@pytest.mark.whole
def test_vega_is_bundled_where_nothing_can_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    vega.script.cache_clear()
    assert "window.vegaEmbed" in vega.script()
    vega.script.cache_clear()


# --- small things ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", environment().list_templates())
def test_every_template_escapes_and_refuses_what_it_is_not_given(name):
    assert environment().autoescape is True
    with pytest.raises(UndefinedError):
        environment().from_string("{{ missing }}").render()
    source, _, _ = environment().loader.get_source(environment(), name)
    assert not re.search(r"\|\s*safe|autoescape", source)


def test_values_are_kept_finite():
    assert finite({"a": [math.nan, 1.0], "b": (math.inf,)}) == {"a": [None, 1.0], "b": [None]}
