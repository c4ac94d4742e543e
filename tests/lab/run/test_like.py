"""`run --like RUN`: the same again in a folder of its own, and an honest comparison."""

import json
import shutil
from pathlib import Path

import pytest

import mesocosm.lab.run.runner as runner
from mesocosm.cli import main
from mesocosm.lab.run.replication import environment_changes, lost_fields, pairs
from mesocosm.lab.store.run_directory import Run


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("earlier") / "record"
    assert main(["run", "toy-study", "--out", str(path), "--config.steps", "40"]) == 0
    return path


@pytest.fixture
def record(earlier, tmp_path, monkeypatch) -> Path:
    """A copy of the earlier run that a test may change, in the folder where the test is."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(earlier, tmp_path / "record")
    return Path("record")


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


# --- the same again -------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_the_same_again_is_trained_in_a_folder_of_its_own_and_compared(record, capsys):
    before = {file: file.read_bytes() for file in record.rglob("*") if file.is_file()}
    edit(record / "run.json", lambda content: content["versions"].update(jax="0.0.1"))
    edit(record / "claims.json", lambda rows: rows[0].update(verdict="fails", estimate=2.0))
    assert main(["run", "--like", "record"]) == 0
    text = capsys.readouterr().out
    assert "like record: the same config and seeds" in text
    assert "rolling finished in" in text
    assert 'versions.jax: "0.0.1" -> ' in text
    (line,) = [line for line in text.splitlines() if "≠" in line]
    assert line.split()[:5] == ["toy-study/C1.identity", "✕", "fails", "2", "–"]
    assert line.rstrip().endswith("≠ judged in some runs only")
    assert "4 checks: 3 unchanged, 1 with a different verdict" in text

    ours = next(Path("runs").iterdir())
    assert ours.name.endswith("-again")
    old, new = Run(record), Run(ours)
    assert (new.preset, new.config, new.seeds) == (old.preset, old.config, old.seeds)
    assert {name: status["tables"] for name, status in new.trials.items()} == {name: status["tables"] for name, status in old.trials.items()}
    assert {file for file in record.rglob("*") if file.is_file()} == set(before)
    edited = [record / "run.json", record / "claims.json"]
    assert all(file.read_bytes() == content for file, content in before.items() if file not in edited)


def asked(monkeypatch, *words: str) -> dict:
    """What the runner is asked for."""
    seen = {}

    def execute(study, preset, **options):
        seen.update(options, study=study.name, preset=preset)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "execute", execute)
    assert main(["run", *words]) == 130
    return seen


@pytest.mark.whole
def test_what_is_given_overrides_and_is_shown(record, monkeypatch, capsys):
    seen = asked(monkeypatch, "toy-study", "--like=record", "--config.bowl.dim", "3", "--seeds", "2")
    assert (seen["preset"], seen["seeds"], seen["config"].steps, seen["config"].bowl.dim) == ("quick", (0, 1), 40, 3)
    text = capsys.readouterr().out
    assert "config.bowl.dim: 4 -> 3" in text
    assert "seeds: [0, 1, 2, 3, 4, 5, 6, 7] -> [0, 1]" in text
    assert "config.steps" not in text


@pytest.mark.whole
def test_seeds_need_not_follow_each_other(record, monkeypatch):
    edit(record / "run.json", lambda content: content.update(seeds=[3, 11]))
    assert asked(monkeypatch, "--like", "record")["seeds"] == (3, 11)


def test_a_field_that_the_study_has_now_takes_its_default_and_is_shown(record, monkeypatch, capsys):
    edit(record / "run.json", lambda content: content["config"].pop("label"))
    assert asked(monkeypatch, "--like", "record")["config"].label == "toy"
    assert 'config.label: null -> "toy"' in capsys.readouterr().out


@pytest.mark.whole
def test_the_earlier_run_is_never_the_new_ones_folder(record, monkeypatch):
    first = asked(monkeypatch, "--like", "record")["out"]
    shutil.copytree(record, first)
    second = asked(monkeypatch, "--like", str(first))["out"]
    assert second.resolve() != first.resolve()
    assert asked(monkeypatch, "--like", "record")["out"] == first


def test_dry_run_shows_the_difference_and_trains_nothing(record, capsys):
    assert main(["run", "--like", "record", "--config.steps", "41", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "config.steps: 40 -> 41" in text
    assert not Path("runs").exists()


# --- what cannot be done --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "change", "told"),
    [
        ("--like nowhere", None, "nowhere is not a run directory"),
        ("toy-study --like", None, "--like"),
        ("one-head --like record", None, "there is no study 'one-head'"),
        ("mesa --like record", None, "record is a run of study toy-study, not of mesa"),
        ("--like record --preset smoke", None, "uses the preset quick of record"),
        ("--like record --out record", None, "is the run to compare with"),
        ("--like record --config.stepz 3", None, "--config.stepz"),
        ("--like record", ("run.json", lambda content: content["config"]["bowl"].update(height=1.0)), "the study toy-study no longer has bowl.height"),
        ("--like record", ("run.json", lambda content: content["config"].update(steps="many")), "does not fit the study toy-study"),
        ("--like record", ("run.json", lambda content: content.update(preset="huge")), "huge"),
        ("--like record", ("run.json", lambda content: content.update(study="gone")), "there is no study 'gone'"),
        ("--like record", ("claims.json", lambda rows: rows.clear()), "has no verdicts"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(words, change, told, record, capsys):
    if change:
        edit(record / change[0], change[1])
    assert main(["run", *words.split()]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()


# --- the comparison -------------------------------------------------------------------------------------------------


def row(name: str, verdict: str = "holds", low: float | None = 0.0, high: float | None = 1.0, threshold: float | list[float] = 2.0) -> dict:
    return {"id": name, "verdict": verdict, "low": low, "high": high, "threshold": threshold, "direction": "<"}


@pytest.mark.parametrize(
    ("before", "now", "differs"),
    [
        (row("a"), row("a", low=0.9, high=1.9), []),
        (row("a"), row("a", "inconclusive"), ["judged differently"]),
        (row("a"), row("a", low=1.1, high=1.9), ["with disjoint intervals"]),
        (row("a", low=1.1, high=1.9), row("a", threshold=3.0), ["judged against different regions", "with disjoint intervals"]),
        (row("a", low=None, high=None), row("a", "fails", low=None, high=None), ["judged differently"]),
        (row("a", "not judged"), row("a", "not judged", low=1.1, high=1.9, threshold=3.0), []),
        (None, row("a"), ["judged in some runs only"]),
        (row("a"), None, ["judged in some runs only"]),
    ],
)
def test_checks_differ_in_verdict_region_or_intervals_that_do_not_meet(before, now, differs):
    (pair,) = pairs([before] if before else [], [now] if now else [])
    assert pair.differs == differs


def test_the_new_runs_order_comes_first():
    assert [pair.id for pair in pairs([row("gone"), row("a"), row("b")], [row("b"), row("a")])] == ["b", "a", "gone"]


def test_only_what_is_gone_is_lost():
    assert lost_fields({"a": 1, "b": {"c": 1, "d": 2}, "e": {"f": 1}}, {"b": {"d": 3, "g": 1}, "e": 4}) == ["a", "b.c"]


def test_versions_revision_and_device_are_compared():
    old = {"versions": {"jax": "0.9"}, "git": "abc", "device": {"threads": 2}, "started": "then"}
    new = {"versions": {"jax": "0.9"}, "git": "abd", "device": {"threads": 4}, "started": "now"}
    assert environment_changes(old, new) == ['git: "abc" -> "abd"', "device.threads: 2 -> 4"]
