"""A run that is kept as a record has all its tables, fewer points of its training curves, and no heavy files."""

import importlib.util
import shutil
from pathlib import Path

import polars as pl
import pytest

from mesocosm.lab.store.history import write_history
from mesocosm.lab.store.run_directory import Run, TrialStore


@pytest.fixture
def keep():
    spec = importlib.util.spec_from_file_location("keep", Path(__file__).parents[2] / "results" / "keep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def enter(run, folder):
    """Enter the run in a study's history."""
    entry = {"date": run.record["started"], "git": None, "preset": "cpu", "seeds": [0], "fingerprint": "", "verdicts": {}}
    write_history(folder, [entry])


def test_a_record_keeps_all_but_heavy_files(keep, smoke_of, tmp_path, monkeypatch):
    smoke, target = smoke_of("weight-decay"), tmp_path / "weight-decay"
    (target / "figures").mkdir(parents=True)
    (target / "figures" / "of-before.svg").touch()
    with pytest.raises(ValueError, match="is not entered"):
        keep.keep(smoke.path, tmp_path)
    enter(smoke, target)
    monkeypatch.setattr(keep, "POINTS", 2)
    assert keep.keep(smoke.path, tmp_path) == target
    kept = Run(target)
    assert not list(target.rglob("*.png"))
    assert not (target / "figures" / "of-before.svg").exists()
    for trial in smoke.trials:
        assert TrialStore(target, trial).damage() is None
        tables, whole = TrialStore(target, trial).tables(), TrialStore(smoke.path, trial).tables()
        for name in whole.keys() - {"history"}:
            assert tables[name].equals(whole[name])
        if "history" in whole:
            assert tables["history"].join(whole["history"], on=whole["history"].columns, how="anti").is_empty()
            last = pl.col("step") == pl.col("step").max().over("fit", "seed")
            assert tables["history"].filter(last).equals(whole["history"].filter(last))
            assert tables["history"].group_by("fit", "seed").len()["len"].max() <= 2
    assert [row["verdict"] for row in kept.claims] == [row["verdict"] for row in smoke.claims]


def test_an_unfinished_run_is_refused(keep, smoke_of, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(smoke_of("weight-decay").path, copy)
    table = next(copy.glob("trials/*/tables/*.parquet"))
    table.write_bytes(table.read_bytes()[:-1])
    target = tmp_path / "results" / "weight-decay"
    target.mkdir(parents=True)
    enter(Run(copy), target)
    with pytest.raises(ValueError, match="damaged"):
        keep.keep(copy, tmp_path / "results")
    assert list(target.iterdir()) == [target / "history.json"]
