"""Runs of the studies at their smallest size, each made once for all tests and all workers that ask for it."""

import os
import subprocess
import sys
from functools import cache

import pytest
from filelock import FileLock
from smoke_runs import LEFT_OUT, run_smoke

from mesocosm.lab.catalogue import find, packages
from mesocosm.lab.store.run_directory import Run


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what needs a study's run or all of its programs. Each worker starts with the runs of other studies, so that none waits for another's."""
    for item in items:
        if {"smoke_of", "lowered"} & set(item.fixturenames):
            item.add_marker(pytest.mark.whole)
    yield
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = heads([item for item in items if "smoke_of" in item.fixturenames], workers)
    rest = [item for item in items if "smoke_of" not in item.fixturenames]
    share, ordered = len(items) // workers, []  # pytest-xdist deals out contiguous parts
    for head in first:
        ordered += [*head, *rest[: max(share - len(head), 0)]]
        rest = rest[max(share - len(head), 0) :]
    items[:] = [*ordered, *rest]


def heads(items, workers):
    """Tests by study, and the studies over the workers, the one with most trials first."""
    of_study = {}
    for item in items:
        of_study.setdefault(study_of(item), []).append(item)
    found, load = [[] for _ in range(workers)], [0] * workers
    trials = {study: len(find(study).trials(find(study).presets["smoke"].config)) for study in of_study}
    for study in sorted(of_study, key=lambda study: -trials[study]):
        least = load.index(min(load))
        found[least] += of_study[study]
        load[least] += trials[study]
    return found


def study_of(item):
    """The study whose run a test reads, by its parameter or its module's name."""
    if hasattr(item, "callspec") and "study" in item.callspec.params:
        return item.callspec.params["study"]
    module = item.path.stem.removeprefix("test_").replace("_", "-")
    return max((study for study in packages() if module.startswith(study)), key=len, default="weight-decay")


@pytest.fixture(scope="session")
def smoke_of(tmp_path_factory, worker_id):
    """The smoke preset of a study by the command that a user types, in a process of its own; pictures are made up."""
    own = tmp_path_factory.getbasetemp()
    folder = own if worker_id == "master" else own.parent

    @cache
    def made(study, complete=False):
        path = folder / (f"{study}-complete" if complete else study)
        with FileLock(f"{path}.lock"):
            if not (path / "run.json").exists():
                run_smoke(study, path, () if complete else LEFT_OUT.get(study, ()))
        return Run(path)

    return made


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
