"""A process of a cluster takes its cores and settings before it imports JAX, plans the same run, and computes the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

import mesocosm
from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UserError
from mesocosm.lab.run import worker
from mesocosm.lab.run.plan import Elsewhere, Plan
from mesocosm.lab.run.runner import execute
from mesocosm.lab.run.worker import Job, Setting, check_directory, same_trial, settle, take_cores
from mesocosm.lab.store.configuration import plain
from mesocosm.lab.store.identity import machine
from mesocosm.lab.store.provenance import thread_count
from mesocosm.lab.store.run_directory import read_record
from watching import results

STUDY = find("toy-study")
PATHS = [Path(mesocosm.__file__).parents[1], Path(__file__).parents[2]]


def job_of(plan: Plan, store: str | None = None, token: str = "") -> Job:
    started = read_record(plan.path)["started"] if store is None else ""
    setting = Setting({"NPROC": str(thread_count()), "OMP_NUM_THREADS": None}, cores=1)
    return Job(setting, plan.study.name, plan.preset, plain(plan.config), plan.seeds, str(plan.path), started, store, token, 20.0, 0.0)


SCRIPT = """
import json, os, sys
from types import SimpleNamespace
from mesocosm.lab.run import worker
told = []
events = SimpleNamespace(tell=SimpleNamespace(remote=lambda event: told.append(type(event).__name__)))
job, trials = json.load(sys.stdin)
job["setting"] = worker.Setting(**job["setting"])
job["seeds"] = tuple(job["seeds"])
early = [name for name in ("jax", "numpy") if name in sys.modules]
error = None
for place, (name, identity) in enumerate(trials.items(), 1):
    worker.settle = (lambda setting: None) if place > 1 else worker.settle
    error = error or worker.run_job(worker.Job(**job), name, (place, len(trials)), identity, events)
print(json.dumps([early, error, len(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS"), told]))
"""


def compute(job: Job, identities: dict) -> list:
    """In a process of its own: what it had imported at first, the error, its cores, a setting, and the events."""
    given = json.dumps([{**vars(job), "setting": vars(job.setting)}, identities])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS)), "OMP_NUM_THREADS": "7"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=given, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.whole
@pytest.mark.parametrize("stored", [False, True], ids=["in a shared directory", "in a store"])
def test_trials_computed_elsewhere_have_the_bytes_of_a_local_run(stored, tmp_path):
    expected = results(execute(STUDY, "smoke", out=tmp_path / "local").path)
    plan = Plan.of(STUDY, "smoke", out=tmp_path / "run")
    plan.path.mkdir()
    plan.write_record("", plan.states())
    if stored:
        from mesocosm.lab.store.remote import Store

        store = Store(f"file://{tmp_path}/store")
        with store.held(lambda line: None, lambda: None) as token:
            found = compute(job_of(plan, store.url, token), plan.identities)
            assert not [name for name in store.names() if "checkpoints" in name]
            store.pull(plan.path, store.names())
    else:
        found = compute(job_of(plan), plan.identities)
    early, error, cores, threads, told = found
    assert (early, error, cores, threads) == ([], None, 1, None)
    assert told.count("TrialStarted") == told.count("TrialFinished") == len(plan.trials)
    assert "Progress" in told
    done = execute(STUDY, "smoke", out=plan.path)
    assert {status["state"] for status in done.trials.values()} == {"finished"}
    assert results(plan.path) == expected


def test_it_is_too_late_once_jax_is_imported():
    with pytest.raises(RuntimeError, match="JAX was imported before"):
        settle(Setting({}, 1))


def test_cores_are_taken_once_and_shared_where_there_are_too_few(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 8})
    held = []
    monkeypatch.setattr(worker, "_cores", held)
    monkeypatch.setattr(worker, "SECONDS_FOR_A_CORE", 0.1)
    first = take_cores(2)
    assert len(first) == 2
    assert first < {3, 5, 8}
    with pytest.raises(filelock.Timeout):
        filelock.FileLock(held[0].lock_file).acquire(timeout=0)
    assert take_cores(2) == {3, 5, 8}
    for lock in held:
        lock.release()
    assert take_cores(3) == {3, 5, 8}


def test_another_machine_says_what_differs_and_does_not_compute(tmp_path):
    plan = Plan.of(STUDY, "smoke", out=tmp_path / "run")
    assert same_trial(plan, "rolling", plan.identities["rolling"]).name == "rolling"
    with pytest.raises(UserError, match=r"would not compute the same \(threads \(999 -> \d+\)\); give all machines"):
        same_trial(plan, "rolling", plan.identities["rolling"] | {"threads": 999})


def test_the_plan_of_a_driver_takes_the_machines_that_compute(tmp_path):
    elsewhere = Elsewhere(machine() | {"devices": ["gpu:A kind"]}, {"device": {"processor": "theirs"}, "versions": {}, "git": None})
    plan = Plan.of(STUDY, "smoke", out=tmp_path / "run", elsewhere=elsewhere)
    assert {tuple(identity["devices"]) for identity in plan.identities.values()} == {("gpu:A kind",)}
    plan.path.mkdir()
    plan.write_record("", plan.states())
    assert read_record(plan.path)["device"] == {"processor": "theirs"}


def test_a_machine_that_does_not_see_the_run_directory_says_so(tmp_path):
    plan = Plan.of(STUDY, "smoke", out=tmp_path / "run")
    plan.path.mkdir()
    plan.write_record("", plan.states())
    job = job_of(plan)
    check_directory(job)
    for other in ({"path": str(tmp_path / "nowhere")}, {"started": "another time"}):
        with pytest.raises(UserError, match=r"does not see the run directory .* \(--store URL\)"):
            check_directory(Job(**{**vars(job), **other}))
