"""Keep a finished run as the record of its study: `python results/keep.py RUN`, in the checkout in which the run was started.

The run directory becomes `results/STUDY`, without checkpoints and PNG pictures, and without its largest models if it would have more than 7 MB. Training curves
are thinned to 50 points per seed, or to half as many until the record is no larger; the status files then hold their checksums. All other tables stay as they
are. The history stays.
"""

import argparse
import json
import shutil
from pathlib import Path

import polars as pl

from mesocosm.lab.store.history import is_entered
from mesocosm.lab.store.run_directory import Run, TrialStore

RESULTS = Path(__file__).parent
LARGEST_RECORD = 7_000_000
POINTS = 50
HISTORY = "history.json"


def keep(source: Path, results: Path = RESULTS) -> Path:
    """Copy a finished run to `results/STUDY`; returns that folder.

    Raises:
        ValueError: the study's history has no such record, a trial has not finished, or its files are damaged.
    """
    run = Run(source)
    target = results / run.study.name
    if not is_entered(target, run.record["started"]):
        raise ValueError(f"{source} is not entered in {target / 'history.json'}, so it is no record of {run.study.name} that was started here")
    kept_record = target / "run.json"  # not opened as a run: an older config may not fit the study of today
    grown = kept_record.exists() and json.loads(kept_record.read_text())["started"] == run.record["started"]
    kept = Run(target).trials if grown else {}  # without their largest models, perhaps
    for name, status in run.trials.items():
        if status["state"] != "finished" or (damage := TrialStore(source, name).damage(models=name not in kept)):
            raise ValueError(f"{source}: trial {name} is {status['state'] if status['state'] != 'finished' else damage}")
    for old in target.iterdir() if target.exists() else ():
        if old.name != HISTORY:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(source, target, ignore=_left_out, dirs_exist_ok=True)
    for name in run.trials:
        _thin_history(TrialStore(target, name), POINTS)
    models = sorted(target.glob("models/*/*.safetensors"), key=_size)
    while models and _total(target) > LARGEST_RECORD:
        models.pop().unlink()
    points = POINTS
    while _total(target) > LARGEST_RECORD and (points := points // 2):
        for name in run.trials:
            _thin_history(TrialStore(target, name), points)
    return target


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in (HISTORY, "checkpoints", ".lock") or name.endswith(".png")}


def _size(file: Path) -> int:
    return file.stat().st_size


def _total(folder: Path) -> int:
    return sum(map(_size, filter(Path.is_file, folder.rglob("*"))))


def _thin_history(store: TrialStore, points: int) -> None:
    """Keep evenly spaced windows of each curve, the last one among them."""
    if "history" not in store.status["tables"]:
        return
    history = store.tables()["history"]
    windows, place = pl.len().over("fit", "seed"), pl.int_range(pl.len()).over("fit", "seed")
    stride = ((windows + points - 1) // points).clip(1)
    checksum = store.write_table("history", history.filter((windows - 1 - place) % stride == 0))
    status = store.status
    store.write_status(**{**status, "tables": {**status["tables"], "history": checksum}})


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, help="a finished run directory")
    print(keep(arguments.parse_args().run))
