"""A trial whose data set or package is not installed is skipped with the line that installs it; its rows are not judged; nothing else is touched."""

from dataclasses import replace
from pathlib import Path

import pytest

import toy_study.trials as toy
from mesocosm.cli import main
from mesocosm.lab.catalogue import find
from mesocosm.lab.run.dry_run import dry_run
from mesocosm.lab.run.plan import Plan
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store import requirements
from mesocosm.lab.store.identity import difference
from mesocosm.tasks import data_sets
from watching import Remembering

STUDY = find("toy-study")


@pytest.fixture
def pebbles(tmp_path, monkeypatch) -> Path:
    """The file of a data set that the rolling arm and so the probe need; it is not there yet."""
    file = tmp_path / "pebbles.bin"
    made = data_sets.DataSet("pebbles", "stones", "CC0", "collect-pebbles", (1, 1), lambda: [file] if file.exists() else [], lambda files: None)  # type: ignore[arg-type, return-value]
    monkeypatch.setitem(data_sets.DATA_SETS, "pebbles", made)
    original = toy.trials
    monkeypatch.setattr(toy, "trials", lambda config: [replace(t, data=("pebbles",)) if t.name == "rolling" else t for t in original(config)])
    return file


def run(path, preset="quick"):
    watching = Remembering()
    return execute(STUDY, preset, out=path, observer=watching), watching


def test_the_trial_and_its_children_are_skipped_and_the_rest_runs(pebbles, tmp_path):
    done, watching = run(tmp_path / "run")
    line = "the data set pebbles is not installed; to get it: collect-pebbles"
    assert watching.of("skipped") == [f"rolling: {line}", "probe: needs rolling"]
    assert {name: status["state"] for name, status in done.trials.items()} == {
        "identity": "finished",
        "rolling": "skipped",
        "frozen": "finished",
        "probe": "skipped",
    }
    rows = {row["id"]: row for row in done.claims}
    assert rows["toy-study/C1.identity"]["verdict"] == "holds"
    assert rows["toy-study/C2.drop"]["verdict"] == "not judged"
    assert line in rows["toy-study/C2.drop"]["reason"]


def test_nothing_has_failed(pebbles, tmp_path, capsys):
    assert main(["run", "toy-study", "--preset", "smoke", "--out", str(tmp_path / "run")]) == 0
    assert main(["status", str(tmp_path / "run")]) == 0
    assert "collect-pebbles" in " ".join(capsys.readouterr().out.split())


def test_a_dry_run_says_it_beforehand(pebbles, tmp_path):
    told = {trial.trial: trial.problem for trial in dry_run(STUDY, "smoke", out=tmp_path / "run", compile=False, strict=True)}
    assert "collect-pebbles" in (told["rolling"] or "")
    assert told["frozen"] is None


@pytest.mark.whole
def test_once_installed_the_same_command_goes_on_and_the_files_are_part_of_the_identity(pebbles, tmp_path):
    run(tmp_path / "run")
    pebbles.write_bytes(b"grey")
    done, watching = run(tmp_path / "run")
    assert {status["state"] for status in done.trials.values()} == {"finished"}
    assert {row["verdict"] for row in done.claims} == {"holds", "not judged"}
    assert done.trials["rolling"]["identity"]["data"] == {"pebbles": data_sets.find("pebbles").checksum}
    assert "data" not in done.trials["frozen"]["identity"]
    pebbles.unlink()
    assert set(Plan.of(STUDY, "quick", out=tmp_path / "run").states().values()) == {("cached", "")}  # what was measured stays, and what builds on it
    pebbles.write_bytes(b"white")
    assert Plan.of(STUDY, "quick", out=tmp_path / "run").states()["rolling"] == ("stale", "files of pebbles")
    assert watching.of("skipped") == []


@pytest.mark.whole
def test_a_package_is_like_a_data_set(monkeypatch, tmp_path):
    original, versions, packages = toy.trials, {}, {"pebble": "collect-pebble"}
    monkeypatch.setattr(toy, "trials", lambda config: [replace(t, packages=packages) if t.name == "rolling" else t for t in original(config)])
    monkeypatch.setattr(requirements, "installed_version", versions.get)
    line = "the package pebble is not installed; to get it: collect-pebble"
    assert {trial.trial: trial.problem for trial in dry_run(STUDY, "smoke", out=tmp_path / "run", compile=False, strict=True)}["rolling"] == line
    done, watching = run(tmp_path / "run")
    assert watching.of("skipped") == [f"rolling: {line}", "probe: needs rolling"]
    assert {row["id"]: row["reason"] for row in done.claims if line in (row["reason"] or "")}.keys() >= {"toy-study/C2.drop"}
    versions["pebble"] = "1.0"
    done, _ = run(tmp_path / "run")
    assert done.trials["rolling"]["identity"]["packages"] == {"pebble": "1.0"}
    versions.clear()
    assert set(Plan.of(STUDY, "quick", out=tmp_path / "run").states().values()) == {("cached", "")}
    versions["pebble"] = "2.0"
    assert Plan.of(STUDY, "quick", out=tmp_path / "run").states()["rolling"] == ("stale", "version of pebble")


def test_an_unknown_data_set_is_a_mistake_of_the_study(monkeypatch, tmp_path):
    original = toy.trials
    monkeypatch.setattr(toy, "trials", lambda config: [replace(original(config)[0], data=("imagenet",))])
    with pytest.raises(ValueError, match="no data set 'imagenet'"):
        Plan.of(STUDY, "smoke", out=tmp_path / "run")


def test_identities_differ_in_one_line():
    assert difference({"data": {"a": "1", "b": "2"}}, {"data": {"a": "1", "b": "3"}}) == "files of b"


def test_the_command_lists_what_is_there_and_how_to_get_the_rest(pebbles, capsys):
    assert main(["data"]) == 0
    told = capsys.readouterr().out
    assert "pebbles: collect-pebbles" in told
    pebbles.write_bytes(b"grey")
    assert main(["data"]) == 0
    told = capsys.readouterr().out
    assert "collect-pebbles" not in told
    assert data_sets.FOLDER_VARIABLE in told
