"""Several runs as one site: their pages, the first page and the comparison of their verdicts; the runs themselves are only read."""

import pytest
from hostile import ROW
from seen import Page

from mesocosm.cli import main
from mesocosm.lab.errors import UserError
from mesocosm.lab.report.comparison import Column, comparison
from mesocosm.lab.report.site import write_site
from mesocosm.lab.run.runner import execute
from toy_study import STUDY


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return execute(STUDY, "smoke", out=tmp_path_factory.mktemp("toy") / "run")


def test_a_site_compares_a_row_a_check_and_a_column_a_run(run):
    columns = [Column(run, "a.html"), Column(run, "b.html")]
    columns[1].claims = [{**ROW, "verdict": "fails", "estimate": 0.125, "low": 0.0, "high": 0.25}, *(row for row in run.claims if row["id"] != ROW["id"])]
    columns[0].claims = [{**ROW, "verdict": "holds"}, *(row for row in run.claims if row["id"] != ROW["id"])]
    page = Page(comparison(columns, "index.html"))
    assert page.open == []
    assert "4 checks: 1 judged differently; 0 judged in some runs only; 0 judged against different regions; 1 with disjoint intervals" in page.text
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
    assert sorted(path.name for path in home.parent.iterdir()) == [
        "compare.html",
        "gallery.html",
        "index.html",
        "toy-study-smoke.2.html",
        "toy-study-smoke.html",
    ]
    page = Page(home.read_text())
    assert page.text.count("Balls roll downhill") == 2
    assert page.text.count("not judged 3") == 2


def test_a_gallery_shows_the_figures_of_all_runs_and_leads_to_their_pages(run, tmp_path):
    home = write_site([run, run], tmp_path / "site")
    assert "gallery.html" in [attributes.get("href") for _, attributes in Page(home.read_text()).elements]
    page = Page((home.parent / "gallery.html").read_text())
    assert page.open == []
    images = [attributes for name, attributes in page.elements if name == "img"]
    assert [image["alt"] for image in images] == ["Where the balls end", "What was tried"] * 2  # the other figure has no table
    assert all(str(image["src"]).startswith("data:image/") for image in images)
    leads = [str(attributes["href"]) for _, attributes in page.elements if "#figure-" in str(attributes.get("href"))]
    assert leads == [f"toy-study-smoke{number}.html#figure-{figure}" for number in ("", ".2") for figure in (0, 1)]
    for lead in leads:
        name, _, anchor = lead.partition("#")
        assert anchor in [attributes.get("id") for _, attributes in Page((home.parent / name).read_text()).elements]


def test_a_site_does_not_overwrite_a_run(run):
    with pytest.raises(UserError, match="is a run directory; choose another folder with --out"):
        write_site([run, run], run.path)


def test_a_site_where_nothing_can_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*site"):
        write_site([run], tmp_path / "file" / "site")


def test_paths_that_are_no_runs_are_left_out_and_named(run, tmp_path, capsys):
    (tmp_path / "keep.py").write_text("")
    (tmp_path / "notes").mkdir()
    words = ["report", str(run.path), str(tmp_path / "keep.py"), str(tmp_path / "notes"), "--out", str(tmp_path / "site")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "site" / "index.html")
    assert said.err == "mesocosm: left out, since they have no run.json: keep.py, notes\n"
    assert main(["report", str(run.path), str(tmp_path / "typo"), "--out", str(tmp_path / "site")]) == 2
    assert "typo does not exist" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "keep.py"), str(tmp_path / "notes"), "--out", str(tmp_path / "site")]) == 2
    assert "none of the 2 paths is a run directory" in capsys.readouterr().err
