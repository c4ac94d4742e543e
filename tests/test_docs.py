"""What the pages say is true: their Python runs, their commands are understood, their links lead somewhere, their numbers come from the records."""

import functools
import importlib
import importlib.util
import json
import re
import shlex
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mesocosm.claims.earlier import Verdict
from mesocosm.claims.judge import CheckRow, ControlRow, to_json
from mesocosm.cli.parse import parse_command
from mesocosm.lab.catalogue import packages

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OURS = {name for name, package in packages().items() if package.startswith("mesocosm.")}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@functools.cache
def parsed(page: Path) -> list[Token]:
    return MarkdownIt().parse(page.read_text())


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """(title, text) of each fenced block of a language; the title may be empty."""
    found = []
    for token in parsed(page):
        if token.type == "fence" and token.info.split()[:1] == [language]:
            title = re.search(r'title="([^"]+)"', token.info)
            found.append((title[1] if title else "", token.content))
    return found


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page lead."""
    inline = [child for token in MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text()) for child in token.children or []]
    return [str(token.attrs.get("href") or token.attrs.get("src")) for token in inline if token.type in ("link_open", "image")]


COMMANDS = [
    pytest.param(shlex.split(line, comments=True)[1:], id=f"{name(page)}: {line.partition('#')[0].strip()}")
    for page in PAGES
    for _, text in blocks(page, "sh")
    for line in text.splitlines()
    if line.startswith("mesocosm ")
]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own, importable; what was imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


def write_titled(page: Path, folder: Path) -> None:
    """Blocks with a title are files."""
    for title, text in blocks(page, "python"):
        if title:
            (folder / title).parent.mkdir(exist_ok=True)
            (folder / title).write_text(text)


@pytest.mark.whole
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_python_of_a_page_runs(page, elsewhere):
    """Blocks without a title run in order, in one namespace; files are imported, and the tests in them are run."""
    write_titled(page, elsewhere)
    namespace: dict[str, object] = {"__name__": "page"}
    for title, text in blocks(page, "python"):
        if not title:
            exec(compile(text, name(page), "exec"), namespace)
            continue
        module = importlib.import_module(title.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        for function in [value for key, value in vars(module).items() if key.startswith("test_")]:
            function()


@pytest.mark.slow
def test_the_study_of_the_contributing_page_is_found_run_and_judged(elsewhere):
    from mesocosm.lab.catalogue import find
    from mesocosm.lab.run.runner import execute

    page = ROOT / "CONTRIBUTING.md"
    write_titled(page, elsewhere)
    ((_, entry),) = blocks(page, "toml")
    points = tomllib.loads(entry)["project"]["entry-points"]["mesocosm.studies"]
    installed = elsewhere / "one_head-0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: one-head\nVersion: 0\n")
    (installed / "entry_points.txt").write_text("\n".join(["[mesocosm.studies]", *(f"{key} = {value}" for key, value in points.items())]))
    run = execute(find("one-head"))
    assert [(row["verdict"], row["reason"]) for row in run.claims] == [("holds", None)]
    assert list(run.figures) == ["losses"]
    assert run.model("trained", seed=3).query.shape == (1, 16, 16)


@pytest.mark.parametrize("words", COMMANDS)
def test_the_front_door_understands_the_command_lines(words):
    with pytest.raises(SystemExit, match="0") if "--help" in words else nullcontext():
        _ = parse_command(words)


def test_the_two_commands_of_the_readme_are_targets():
    targets = re.findall(r"^([a-z.]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    wanted = {word for page in PAGES for _, text in blocks(page, "sh") for word in re.findall(r"^make ([a-z]+)", text, re.MULTILINE)}
    assert {"demo", "test"} <= wanted <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_internal_links_lead_somewhere(page):
    for link in links(page):
        if not link.startswith(("https:", "mailto:", "#")):
            assert (page.parent / link.partition("#")[0]).exists(), link


# --- records


@pytest.fixture(scope="module")
def records():
    spec = importlib.util.spec_from_file_location("records", ROOT / "docs" / "records.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_gives_each_study_the_status_of_its_record(records):
    readme = (ROOT / "README.md").read_text()
    assert readme == records.with_status(readme, ROOT / "results"), "run: python docs/records.py"
    assert set(records.STUDY.findall(readme)) >= OURS


@pytest.mark.parametrize("study", sorted(OURS) or [pytest.param("", id="none yet")])
def test_every_study_has_a_page_whose_numbers_are_read_from_its_record(study):
    if study:
        assert f"<!-- claims {study} -->" in (ROOT / "docs" / "studies" / f"{study}.md").read_text()


def row(check: str, verdict: Verdict, **numbers) -> CheckRow:
    """A judged check whose texts would break a careless table."""
    texts = {
        "statement": "It $is* so.",
        "source": "Fig. 1",
        "command": "",
        "reason": None,
        "metric": "loss_ratio",
        "control": ControlRow("no|step", 1.0, 0.9, 1.1),
    }
    return CheckRow(id=f"mesa/{check}", claim=check.partition(".")[0], kind="mean", threshold=0.1, direction="<", verdict=verdict, **texts, **numbers)


def test_a_record_is_shown_as_it_was_judged(records, tmp_path):
    folder = tmp_path / "mesa"
    folder.mkdir()
    first = row("C1.a", "holds", estimate=0.012345, low=0.01, high=0.0212, n=8)
    rows = [first, row("C1.b", "fails", estimate=-3.0, low=-4.0, high=-2.0, n=5), row("C2.a", "holds")]
    (folder / "claims.json").write_text(to_json(rows))
    (folder / "run.json").write_text(json.dumps({"preset": "cpu", "seeds": [0, 1, 7], "started": "2025-01-02T03:04", "command": "mesocosm run mesa"}))
    text = records.claims_section(tmp_path, "mesa")
    for shown in ("0.0123 [0.01, 0.0212], n = 8", "-3 [-4, -2], n = 5", "1 [0.9, 1.1]", "**C1** |", "**fails**", "seeds 0 to 7"):
        assert shown in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.count("|") in (5, 7), line


def test_a_sentence_quotes_a_row_of_the_record(records, tmp_path):
    (tmp_path / "mesa").mkdir()
    rows = [row("C1.a", "holds", estimate=0.012345, low=0.01, high=0.0212, n=8), row("C1.b", "not judged")]
    (tmp_path / "mesa" / "claims.json").write_text(to_json(rows))
    (tmp_path / "mesa" / "run.json").write_text("{}")
    found = records.QUOTED.fullmatch
    assert found("{{ C1.a }}").groups() == (None, "C1.a", None, None)
    assert found("{{ gated-rnn/C1.a-b estimate .2f }}").groups() == ("gated-rnn", "C1.a-b", "estimate", ".2f")
    quoted = functools.partial(records.quoted, tmp_path, "mesa")
    assert quoted("C1.a", None, None) == "0.0123 [0.01, 0.0212]"
    assert quoted("C1.a", "control", ".2f") == "1.00 [0.90, 1.10]"
    assert (quoted("C1.a", "low", ".3f"), quoted("C1.a", "n", None), quoted("C1.b", "verdict", None)) == ("0.010", "8", "not judged")
    for check, entry in (("C1.c", None), ("C1.b", None), ("C1.b", "estimate"), ("C1.a", "metric")):
        with pytest.raises(KeyError, match=check):
            quoted(check, entry, None)
    with pytest.raises(KeyError, match="no-such-study"):
        records.quoted(tmp_path, "no-such-study", "C1.a", None, None)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
@pytest.mark.whole
def test_all_that_a_page_quotes_stands_in_a_record(records, page):
    for study, *rest in records.QUOTED.findall(page.read_text()):
        assert records.quoted(ROOT / "results", study or page.stem, *(part or None for part in rest))


def test_without_a_record_the_page_says_so(records, tmp_path):
    assert "no record" in records.claims_section(tmp_path, "mesa")
    assert records.status(tmp_path, "mesa") == "on the bench, no record yet"


def test_the_page_of_all_studies_shows_their_table_alone_with_links_that_lead_somewhere(records):
    table = records.studies_table((ROOT / "README.md").read_text())
    assert set(records.STUDY.findall(table)) >= OURS
    assert "--" not in table.replace("---", "")  # no command lines
    for link in re.findall(r"\]\(([^)#]+)\)", table):
        assert (ROOT / "docs" / "studies" / link).exists(), link


def test_formulas_need_no_script(records):
    page = records.on_page_content('<p><span class="arithmatex">\\(a &lt; b_t\\)</span></p><div class="arithmatex">\\[\\sum_t x\\]</div>')
    assert page.count("<math") == 2
    assert "arithmatex" not in page


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def rows(page: str, first: str) -> dict[str, list[str]]:
    """The other cells of a table's rows, by what its first cell shows as code; the table begins with these words."""
    table = (ROOT / "docs" / page).read_text().partition(first)[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| `")]
    return {cell.strip("`"): rest for cell, *rest in cells}


def test_the_page_on_layers_has_the_tasks_and_presets_that_there_are():
    from mesocosm.comparisons.layers.config import PRESETS
    from mesocosm.comparisons.layers.problems import PROBLEMS

    assert {task: cells[-1] for task, cells in rows("comparing-layers.md", "| task |").items()} == {task: made.held_out for task, made in PROBLEMS.items()}
    shown = rows("comparing-layers.md", "| preset |")
    assert list(shown) == list(PRESETS)
    words = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "fifteen": 15}
    for preset, (_, tasks, network, training, rates, seeds) in shown.items():
        config = PRESETS[preset].config
        numbers = [words.get(word) or int(word) for word in re.findall(rf"\d+|\b(?:{'|'.join(words)})\b", f"{tasks} {network} {training} {rates} {seeds}")]
        training = [config.training.steps, *([] if preset == "smoke" else [config.training.batch_size])]
        network = [config.network.blocks, config.network.dim, config.length]
        assert numbers == [len(config.tasks), *network, *training, len(config.grid), config.pilots, PRESETS[preset].seeds]


def test_the_page_on_running_all_studies_has_the_minutes_of_the_records():
    minutes = re.search(r"The runs behind the ten records took (\d+) minutes", (ROOT / "docs" / "running.md").read_text())
    assert minutes is not None
    records = [json.loads(file.read_text()) for file in (ROOT / "results").glob("*/run.json")]
    assert len(records) == 10
    assert {record["preset"] for record in records} == {"cpu"}
    assert int(minutes[1]) == pytest.approx(sum(record["wall_seconds"] for record in records) / 60, rel=0.05)


def test_the_studies_in_which_seeds_can_be_trained_at_once_are_named():
    from dataclasses import fields

    from mesocosm.lab.catalogue import find

    section = (ROOT / "docs" / "running.md").read_text().partition("## On a GPU")[2].partition("\n## ")[0]
    having = {study for study in OURS if any(field.name == "over_seeds" for field in fields(find(study).presets["cpu"].config))}
    assert having | {"weight-decay"} == OURS & set(re.findall(r"`([a-z-]+)`", section))
