"""What is read from a run directory, and what is said of one that cannot be read."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UnknownFormat, UserError
from mesocosm.lab.report.run_page import render
from mesocosm.lab.run.plan import Plan
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store import code
from mesocosm.lab.store.run_directory import Run, TrialStore, read_code, read_record, write_code

STUDY = find("toy-study")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return execute(STUDY, "smoke", seeds=(5, 6), out=tmp_path_factory.mktemp("store") / "run")


@pytest.mark.whole
def test_a_run_is_read_without_the_runner(run):
    found = Run(str(run.path))
    assert (found.study.name, found.preset, found.seeds) == ("toy-study", "smoke", (5, 6))
    assert found.config == STUDY.presets["smoke"].config
    assert found.record["git"] is None or isinstance(found.record["git"], str)
    assert found.record["versions"]["jax"]
    assert set(found.figures) == {"heights"}
    assert found.table("heights", "rolling").columns == ["seed", "start", "end"]
    assert found.table("heights").columns == ["trial", "seed", "start", "end"]
    with pytest.raises(KeyError, match="no finished trial wrote the table 'depths'"):
        found.table("depths")


def test_tables_need_nothing_of_ours_to_be_read(run):
    table = pl.read_parquet(run.path / "trials" / "rolling" / "tables" / "heights.parquet")
    assert table.equals(run.table("heights", "rolling"))


@pytest.mark.parametrize(("mine", "sibling"), [("abl[12]", "abl1"), ("lr=[0.1]", "lr=0"), ("a*", "ab"), ("a?", "ab"), ("{a,b}", "a"), ("50%41", "50A")])
def test_a_name_with_wildcards_is_the_runs_own(tmp_path, mine, sibling):
    for name, value in ((mine, 1), (sibling, 2)):
        (tmp_path / name / "trials" / "rolling" / "tables").mkdir(parents=True)
        TrialStore(tmp_path / name, "rolling").write_table("heights", pl.DataFrame({"seed": [value]}))
    for name, value in ((mine, 1), (sibling, 2)):
        assert TrialStore(tmp_path / name, "rolling")._table("heights")["seed"].to_list() == [value]


def test_models_are_asked_for_by_trial_name_and_seed(run):
    assert run.model("rolling", seed=6).position.shape == (4,)
    assert run.model("rolling", "ball", seed=None).position.shape == (2, 4)
    for ask, told in [
        (lambda: run.model("rolling", "marble"), "publishes ball; asked for 'marble'"),
        (lambda: run.model("identity"), "publishes no models'$"),
        (lambda: run.model("walking"), "no trial 'walking'"),
    ]:
        with pytest.raises(KeyError, match=told):
            ask()
    with pytest.raises(ValueError, match=r"seed 0 was not trained; .* holds seeds 5, 6"):
        run.model("rolling")


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', '{"tables": {}}', '{"state": "finished"}', '{"state": 3, "identity": {}}'])
def test_a_damaged_status_is_a_trial_that_has_not_run(tmp_path, content):
    store = TrialStore(tmp_path, "rolling")
    store.folder.mkdir(parents=True)
    (store.folder / "status.json").write_text(content)
    assert store.status == {"state": "waiting"}
    assert store.tables() == {}


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (None, UserError, "is not a run directory"),
        ("{", UserError, "cannot be read"),
        ("[" * 100_000, UserError, "cannot be read: it is nested too deeply"),
        ("[]", UnknownFormat, "was not written by mesocosm"),
        ('{"runs": 3}', UnknownFormat, "was not written by mesocosm"),
        ('{"format": 2}', UnknownFormat, "run format 2; this version reads format 1"),
        ('{"format": "parquet"}', UnknownFormat, 'run format "parquet"; this version reads format 1'),
        ('{"format": 1}', UnknownFormat, "is damaged or not mesocosm's: Object missing required field `[a-z_]+`"),
    ],
)
def test_what_is_no_run_of_ours_is_said_so(tmp_path, content, error, told):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(error, match=told):
        read_record(tmp_path)


def test_a_run_without_verdicts_says_how_to_get_them(run, tmp_path):
    (tmp_path / "run.json").write_text((run.path / "run.json").read_text())
    with pytest.raises(UserError, match="has not been judged yet"):
        _ = Run(tmp_path).claims
    assert {status["state"] for status in Run(tmp_path).trials.values()} == {"waiting"}


@pytest.mark.parametrize("content", ["", "{", "{}", '[{"id": "toy-study/C1"}]', "[3]"])
def test_damaged_verdicts_are_said_so(run, tmp_path, content):
    (tmp_path / "run.json").write_text((run.path / "run.json").read_text())
    (tmp_path / "claims.json").write_text(content)
    with pytest.raises(UserError, match=r"claims\.json is damaged \(.*\); `mesocosm judge .*` rewrites it"):
        _ = Run(tmp_path).claims


def test_a_preset_that_the_study_has_lost_is_said_so(run, tmp_path):
    (tmp_path / "run.json").write_text((run.path / "run.json").read_text().replace('"smoke"', '"smock"'))
    with pytest.raises(UserError, match="study toy-study no longer has this run's preset 'smock'; it has smoke, quick, cpu"):
        Run(tmp_path)


def test_a_config_that_no_longer_fits_is_one_line(run, tmp_path):
    record = json.loads(Path(run.path / "run.json").read_text())
    record["config"]["steps"] = "many"
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"does not fit the study toy-study of this version: .*steps"):
        Run(tmp_path)


def test_a_record_made_with_older_code_is_known(run, monkeypatch):
    assert run.outdated == {}
    assert "made with older code" not in render(run, [])
    now = code.trial_code
    monkeypatch.setattr(code, "trial_code", lambda trial: code.Code("roll 0", {**now(trial).definitions, "Loop": "0" * 8}))
    assert run.outdated == {trial: ["Loop"] for trial in run.trials}
    assert "4 trials; changed since: Loop" in render(run, [])


def test_a_record_that_was_identified_by_whole_modules_is_old(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "old")
    for file in tmp_path.glob("old/trials/*/status.json"):
        status = json.loads(file.read_text())
        status["identity"]["code"] = {"mesocosm.learning.fit": "0" * 16}
        file.write_text(json.dumps(status))
    (tmp_path / "old" / "code.json").unlink()
    old = Run(tmp_path / "old")
    why = "something in their modules (the record lists no definitions)"
    assert old.outdated == {trial: [why] for trial in run.trials}
    assert "4 trials; changed since: something in their modules" in render(old, [])
    states = Plan.of(run.study, "smoke", seeds=run.seeds, out=tmp_path / "old").states()
    assert states["rolling"] == ("stale", f"code of {why}")


def test_the_definitions_behind_each_trials_identity_are_kept_once(run, tmp_path):
    known = read_code(run.path)
    cited = {status["identity"]["code"] for status in run.trials.values()}
    assert known.keys() == cited
    assert len(known) == 3  # two arms share a function
    assert all("fit" in definitions for definitions in known.values())
    shutil.copytree(run.path, tmp_path / "again")
    write_code(tmp_path / "again", {"roll 0": {"Ball": "0"}})
    assert read_code(tmp_path / "again") == known | {"roll 0": {"Ball": "0"}}
    write_code(tmp_path / "again", {"roll 1": {"Ball": "1"}})
    assert "roll 0" not in read_code(tmp_path / "again")  # no trial was made with it
    for damage in ("", "[]", '{"a": 3}'):
        (tmp_path / "again" / "code.json").write_text(damage)
        assert read_code(tmp_path / "again") == {}
