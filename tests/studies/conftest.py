"""Runs of the studies at their smallest size, each made once for all tests and all workers that ask for it."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

from made_up_data import write_fashion, write_mnist
from mesocosm.lab.store.run_directory import Run

LEFT_OUT = {"coala": ("--config.clean-up.iterations", "0")}
"""Trials whose programs take as long to compile as all others of the study: slow tests trace and run them."""

CALLS = Path(__file__).parents[1] / "lab" / "store" / "calls.py"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What needs a study's run or all of its programs is marked as such."""
    for item in items:
        if {"smoke_of", "lowered"} & set(item.fixturenames):
            item.add_marker(pytest.mark.whole)


@pytest.fixture(scope="session")
def smoke_of(tmp_path_factory, worker_id):
    """The smoke preset of a study by the words that a user types, in a process of its own; pictures are made up. What its trials called is noted beside it."""
    own = tmp_path_factory.getbasetemp()
    folder = own if worker_id == "master" else own.parent

    @cache
    def made(study):
        with FileLock(folder / f"{study}.lock"):
            if not (folder / study / "run.json").exists():
                run_smoke(study, folder)
        return Run(folder / study)

    return made


def run_smoke(study, folder):
    """Make the run; a process that fails is the failure of every test that asked for it."""
    data = folder / f"data-{study}"
    if study == "ensembles":
        data.mkdir()
        write_fashion(data)
        write_mnist(data)
    words = ["run", study, "--preset", "smoke", *LEFT_OUT.get(study, ()), "--out", str(folder / study)]
    finished = subprocess.run(
        [sys.executable, str(CALLS), str(folder / f"{study}-calls.json"), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MESOCOSM_DATA": str(data)},
    )
    assert finished.returncode == 0, finished.stderr


@pytest.fixture(scope="session")
def lowered():
    """Names of the trials of a preset, after each one's programs were traced and lowered at full size in a process of its own; nothing is run."""

    def names(study, preset):
        told = subprocess.run([sys.executable, "-c", LOWER, study, preset], capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        return told.stdout.split()

    return names


LOWER = """
import sys
from mesocosm.lab.catalogue import find
from mesocosm.lab.run.dry_run import dry_run
for trial in dry_run(find(sys.argv[1]), sys.argv[2], compile=False, strict=True):
    assert trial.problem is None or "not installed" in trial.problem, trial
    print(trial.trial)
"""
