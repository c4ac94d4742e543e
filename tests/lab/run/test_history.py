"""A record is run once: its seeds are entered in the study's history, a second record on them is refused, and its rows show the first one's verdicts."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import toy_study.claims as toy
import toy_study.trials as trials
from mesocosm.cli.entry import main
from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UserError
from mesocosm.lab.run.runner import execute, judge_run
from mesocosm.lab.store import atomic
from mesocosm.lab.store.history import is_record, read_history, reject_used_seeds, write_history
from mesocosm.lab.store.run_directory import Run
from mesocosm.studies.interface import Trial, below
from mesocosm.tasks import data_sets
from toy_study.config import PRESETS

STUDY = find("toy-study")
FIRST = {
    "date": "2026-01-01T00:00:00+00:00",
    "git": None,
    "preset": "cpu",
    "seeds": [0, 1, 2],
    "fingerprint": "",
    "verdicts": {"C2.drop": "fails", "C2.rate": "holds"},
}


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Path:
    """The folder of the study's register, in a checkout whose only record met seeds 0 to 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mesocosm.lab.run.runner.write_report", lambda run: None)
    monkeypatch.setitem(PRESETS, "cpu", replace(PRESETS["cpu"], config=replace(PRESETS["cpu"].config, steps=5)))
    folder = tmp_path / "results" / "toy-study"
    write_history(folder, [FIRST])
    return folder


def record(*seeds: int, **options) -> Run:
    return execute(STUDY, "cpu", seeds=seeds, **options)


def earlier(run: Run) -> dict[str, list[tuple[str, str]]]:
    rows = json.loads((run.path / "claims.json").read_text())
    return {row["id"].partition("/")[2]: [(one["verdict"], one["on"]) for one in row["earlier"]] for row in rows}


def test_a_record_on_met_seeds_is_refused_and_told_so_in_its_rows_if_made_again(registry, tmp_path, capsys):
    with pytest.raises(UserError, match=r"the record of 2026-01-01 has met seeds 0 to 2 of the study toy-study: .*--first-seed.*--like.*--again"):
        record(2, 3)
    assert not (tmp_path / "runs").exists()
    assert main(["run", "toy-study", "--preset", "cpu", "--seeds", "3"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert read_history(registry) == [FIRST]
    again = record(2, 3, again=True)
    assert earlier(again) == {"C1.identity": [], "C2.drop": [("fails", "these seeds")], "C2.rate": [("holds", "these seeds")], "C3": []}
    first, second = read_history(registry)
    assert (first, second["seeds"], second["date"]) == (FIRST, [2, 3], again.record["started"])
    assert second["verdicts"] == {row["id"].partition("/")[2]: row["verdict"] for row in again.claims if row["kind"]}
    assert read_history(again.path) == [first, second]


def test_a_record_on_unused_seeds_is_made_and_shows_the_earlier_ones(registry):
    run = record(10, 11)
    assert earlier(run)["C2.drop"] == [("fails", "other seeds")]
    assert {row["id"].partition("/")[2]: row["records"] for row in run.claims} == {"C1.identity": 1, "C2.drop": 2, "C2.rate": 2, "C3": 1}
    assert {row["records"] for row in judge_run(run.path).claims} == {1, 2}
    with pytest.raises(UserError, match="seeds 10, 11"):
        record(11, 12)


def test_a_record_goes_on_when_the_data_that_it_lacked_are_installed(registry, tmp_path, monkeypatch):
    file, original = tmp_path / "pebbles.bin", trials.trials
    made = data_sets.DataSet("pebbles", "stones", "CC0", "collect-pebbles", (1, 1), lambda: [file] if file.exists() else [], lambda files: None)  # type: ignore[arg-type, return-value]
    monkeypatch.setitem(data_sets.DATA_SETS, "pebbles", made)
    monkeypatch.setattr(trials, "trials", lambda config: [replace(t, data=("pebbles",)) if t.name == "rolling" else t for t in original(config)])
    lacking = record(10, 11)
    assert lacking.trials["rolling"]["state"] == "skipped"
    started = lacking.record["started"]
    file.write_bytes(b"grey")
    whole = record(10, 11)
    assert {status["state"] for status in whole.trials.values()} == {"finished"}
    assert whole.record["started"] == started
    assert [(entry["date"], "judged" in entry) for entry in read_history(registry)[1:]] == [(started, False), (started, True)]


def test_a_record_grows_by_trials_that_never_ran(registry, monkeypatch):
    """It keeps its start and its trials, though its models were left out; a check of a new trial was declared in time, one of old tables was not."""
    whole, claims = trials.trials, toy.CLAIMS
    monkeypatch.setattr(trials, "trials", lambda config: [trial for trial in whole(config) if trial.name in ("identity", "rolling")])
    monkeypatch.setattr(toy, "CLAIMS", [claims[0]])
    started = (small := record(10, 11)).record["started"]
    (small.path / "models" / "rolling" / "ball.safetensors").unlink()
    rolled = small.trials["rolling"]["seconds"]
    monkeypatch.setattr(trials, "trials", lambda config: [trial for trial in whole(config) if trial.name != "probe"])
    late = replace(claims[0].checks[0], name="late")
    monkeypatch.setattr(toy, "CLAIMS", [replace(claims[0], checks=[*claims[0].checks, late]), claims[1]])
    grown = record(10, 11)
    assert (grown.record["started"], grown.trials["rolling"]["seconds"]) == (started, rolled)
    reasons = {row["id"].partition("/")[2]: row["reason"] for row in grown.claims}
    assert {name for name, reason in reasons.items() if "declared after the run started" in (reason or "")} == {"C1.late"}
    first, second = read_history(registry)[1:]
    assert (first["date"], second["date"], set(second["verdicts"]) - set(first["verdicts"])) == (started, started, {"C1.late", "C2.drop", "C2.rate"})
    monkeypatch.setattr(trials, "trials", whole)  # the probe reads the models that were left out, so the record would be run a second time
    with pytest.raises(UserError, match="seeds 10, 11"):
        record(10, 11)


def test_a_finished_record_is_judged_again_and_not_entered_twice(registry):
    run = record(10, 11)
    entries, started = read_history(registry), run.record["started"]
    assert record(10, 11).record["started"] == started
    judge_run(run.path)
    assert read_history(registry) == read_history(run.path) == entries


def test_a_finished_record_is_not_run_a_second_time(registry):
    record(10, 11)
    with pytest.raises(UserError, match="seeds 10, 11"):
        record(10, 11, fresh=True)
    run = record(10, 11, fresh=True, again=True)
    assert len(read_history(run.path)) == 3
    assert earlier(run)["C2.rate"][-1][1] == "these seeds"
    file = run.path / "trials" / "rolling" / "status.json"
    status = atomic.read_json(file)
    atomic.write_json(file, status | {"identity": status["identity"] | {"code": "roll of old"}})
    with pytest.raises(UserError, match="seeds 10, 11"):
        record(10, 11)


def test_another_verdict_on_the_same_tables_is_entered_and_shown(registry, monkeypatch):
    run = record(10, 11)
    claim = toy.CLAIMS[1]
    before = {row["id"]: row for row in run.claims}["toy-study/C2.drop"]
    opposite = below(before["estimate"] - 100) if before["verdict"] == "holds" else below(100.0)
    monkeypatch.setattr(toy, "CLAIMS", [replace(claim, checks=[replace(claim.checks[0], inside=opposite)])])
    again = judge_run(run.path)
    row = again.claims[0]
    assert row["verdict"] != before["verdict"]
    assert (before["verdict"], "these tables") in earlier(again)["C2.drop"]
    assert "the check was changed after the run started" in row["reason"]
    first, second = read_history(registry)[1:]
    assert (first["date"], first["verdicts"]["C2.drop"]) == (second["date"], before["verdict"])
    assert second["judged"]
    assert first["fingerprint"] != second["fingerprint"]


def test_a_record_that_was_judged_twice_alike_is_told_once(registry):
    """As when a check was added to it later."""
    write_history(registry, [FIRST, {**FIRST, "judged": "2026-01-02T00:00:00+00:00", "fingerprint": "another"}])
    assert earlier(record(10, 11))["C2.drop"] == [("fails", "other seeds")]


@pytest.mark.whole
def test_nobody_else_is_refused(registry, monkeypatch, tmp_path):
    """Small presets, changed configs, pilots, repetitions, and runs that are not beside results."""
    execute(STUDY, "smoke", seeds=(0, 1))
    execute(STUDY, "cpu", seeds=(0, 1), config=replace(PRESETS["cpu"].config, instances=101))
    record(1000, 1001)
    assert read_history(registry) == [FIRST]
    repeated = record(0, 1, repeats=True)
    assert read_history(registry) == [FIRST]
    assert earlier(repeated)["C2.drop"] == [("fails", "these seeds")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    record(0, 1)
    assert [entry["seeds"] for entry in read_history(record(0, 1, fresh=True).path)] == [[0, 1], [0, 1]]


def test_a_pilot_is_not_made_where_the_record_is(registry):
    with pytest.raises(UserError, match="holds records, and seeds from 1000 upward make pilots"):
        record(1000, 1001, out=registry)


def test_a_run_in_the_records_place_is_a_record(registry, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path / "results")
    with pytest.raises(UserError, match="has met seeds 0 to 2"):
        record(0, 1, out=Path("toy-study"))
    run = record(4, 5, out=Path("toy-study"))
    assert [entry["seeds"] for entry in read_history(run.path)] == [[0, 1, 2], [4, 5]]


def test_what_a_pilot_met_is_met(registry):
    write_history(registry, [FIRST, FIRST | {"date": "2026-01-02T00:00:00+00:00", "pilot": True, "seeds": [7]}])
    with pytest.raises(UserError, match="the pilot of 2026-01-02 has met seeds 7"):
        reject_used_seeds("toy-study", registry, [6, 7])


def test_a_damaged_history_is_an_error(registry):
    for text, why in (("{", "is damaged"), ('[{"date": 3}]', "date")):
        (registry / "history.json").write_text(text)
        with pytest.raises(UserError, match=why):
            read_history(registry)


def draw(config, context):
    """What every seed of a trial is evaluated on."""
    numbers = np.asarray(jax.random.normal(context.evaluation_key, (3,)))
    return {"drawn": context.rows({"number": range(3)}, value=np.tile(numbers, (len(context.seeds), 1)))}


def test_pilots_never_see_the_test_set_of_a_record(registry, monkeypatch):
    monkeypatch.setattr(trials, "trials", lambda config: [Trial("drawing", draw, config)])
    drawn = [set(execute(STUDY, "smoke", seeds=seeds).table("drawn")["value"]) for seeds in ((0, 1), (998, 999), (1000, 1001), (2000,))]
    assert drawn[0] == drawn[1]
    assert drawn[2] == drawn[3]
    assert not drawn[0] & drawn[2]


def test_which_runs_are_records():
    assert is_record("cpu", [], (0, 999))
    assert is_record("paper", [], (0,))
    assert not any((is_record("quick", [], (0,)), is_record("cpu", ["steps: 1 (2 in the preset)"], (0,)), is_record("cpu", [], (1000,))))
