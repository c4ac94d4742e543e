"""What the driver of a cluster does, with a stand-in for Ray that runs each task at once in this process, and loses those that a test tells it to."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import TrialError, UserError
from mesocosm.lab.run import worker
from mesocosm.lab.run.cluster import RETRIES, Cluster, longest_first
from mesocosm.lab.run.plan import Plan
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store import remote
from mesocosm.lab.store.remote import Store
from mesocosm.lab.store.run_directory import Run, TrialStore
from mesocosm.studies.interface import Trial
from toy_study.config import Config
from watching import Remembering, results

STUDY = find("toy-study")
TRIALS = ("identity", "rolling", "frozen", "probe")


def nothing(config, context):
    return {}


def test_the_longest_trial_starts_first_and_others_in_order():
    trials = [Trial(name, nothing, None) for name in "abcde"]
    plan = Mock(Plan, trials=trials, minutes={"b": 1.0, "d": 7.0})
    assert list(longest_first(plan)) == ["d", "b", "a", "c", "e"]
    assert longest_first(plan)["d"] == (4, trials[3])
    plan.minutes = {}
    assert list(longest_first(plan)) == list("abcde")


class RayError(Exception):
    pass


class WorkerCrashedError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: BaseException):
        super().__init__("a traceback of many lines")
        self.cause = cause


@dataclass(eq=False)
class Task:
    """A task that has ended, or that never ends."""

    value: Any = None
    error: Exception | None = None
    endless: bool = False


class Ray(ModuleType):
    """The part of Ray that the driver uses.

    Attributes:
        losses: trial -> what happens to its next tasks, in order.
        asked: memory of each task of a trial, and of rehearsals.
        stopped: tasks that were cancelled.
    """

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, OutOfMemoryError=OutOfMemoryError)
        self.losses: dict[str, list[Exception]] = {}
        self.asked: list[tuple[str, int]] = []
        self.stopped: list[Any] = []
        self.memory = 4 * 2**30

    def init(self, address: str, **_: Any) -> None:
        if address == "auto":
            raise ConnectionError("no cluster")
        if address != "local":
            raise Exception(f"nobody answers at {address}")

    def shutdown(self) -> None:
        pass

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: "a node")

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0, "memory": float(self.memory)}}, {"Alive": False, "Resources": {"CPU": 64.0, "memory": 1e15}}]

    def remote(self, **options: Any):
        if "max_calls" not in options:  # an actor
            return lambda kind: SimpleNamespace(remote=lambda: Actor(kind()))
        assert options == {"max_calls": 1, "max_retries": 0}
        return lambda function: SimpleNamespace(options=lambda **wanted: SimpleNamespace(remote=lambda *given: self.run(function, wanted, given)))

    def run(self, function: Any, wanted: dict[str, Any], given: tuple[Any, ...]):
        assert (wanted["num_cpus"], wanted["num_gpus"]) == (1, 0)
        name = given[1] if function is worker.run_job else function.__name__
        self.asked.append((name, wanted["memory"]))
        try:
            if self.losses.get(name):
                raise self.losses[name].pop(0)
            return Task(function(*given))
        except RayError as error:
            return Task(error=error)
        except Exception as error:
            return Task(error=RayTaskError(error))

    def wait(self, tasks: list[Any], num_returns: int, timeout: float):
        return [task for task in tasks if not task.endless], [task for task in tasks if task.endless]

    def get(self, task: Any, timeout: float = 0.0):
        if isinstance(task, list):
            return task
        if task.error is not None:
            raise task.error
        return task.value

    def cancel(self, task: Any, force: bool) -> None:
        self.stopped.append(task)


class Actor:
    """An actor whose calls run at once."""

    def __init__(self, kept: Any):
        self.kept = kept

    def __getattr__(self, name: str):
        return SimpleNamespace(remote=getattr(self.kept, name))


@pytest.fixture
def ray(monkeypatch) -> Ray:
    made, strategies = Ray(), ModuleType("ray.util.scheduling_strategies")
    strategies.__dict__["NodeAffinitySchedulingStrategy"] = lambda node, soft: None
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setitem(sys.modules, "ray.util", ModuleType("ray.util"))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    monkeypatch.setattr(worker, "settle", lambda setting: None)
    return made


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, bytes]:
    return results(execute(STUDY, "smoke", out=tmp_path_factory.mktemp("local") / "run").path)


def run(out: Path, observer: Remembering | None = None, *, memory: float = 1.0, store: str | None = None, **options: Any) -> Run:
    return execute(STUDY, "smoke", out=out, cluster=Cluster("auto", 2, memory, store), observer=observer or Remembering(), **options)


@pytest.mark.whole
def test_results_are_those_of_a_local_run_and_either_can_finish_the_other(ray, expected, tmp_path):
    watching = Remembering()
    done = run(tmp_path / "run", watching)
    assert results(done.path) == expected
    assert sorted(watching.of("finished")) == sorted(watching.of("started")) == sorted(TRIALS)
    assert watching.of("note")[0] == "the trials are computed on 1 machine with 1 cores, 1 for each trial"
    assert ray.asked == [("look", 2**30), *((trial, 2**30) for trial in TRIALS)]
    watching = Remembering()
    execute(STUDY, "smoke", out=done.path, observer=watching)
    assert watching.of("cached") == list(TRIALS)
    shutil.rmtree(done.path / "trials" / "probe")
    watching = Remembering()
    assert results(run(done.path, watching).path) == expected
    assert (watching.of("cached"), watching.of("finished")) == (list(TRIALS[:3]), ["probe"])


def test_a_lost_trial_is_started_again_with_more_memory_if_that_was_why(ray, expected, tmp_path):
    watching = Remembering()
    ray.losses = {"rolling": [WorkerCrashedError("gone\nand more"), OutOfMemoryError("full")]}
    assert results(run(tmp_path / "run", watching).path) == expected
    told = [note for note in watching.of("note") if "lost its process" in note]
    assert told == [
        "trial rolling lost its process (WorkerCrashedError) and is started again, 1 of 3",
        "trial rolling lost its process (OutOfMemoryError) and is started again, 2 of 3",
    ]
    assert [memory for name, memory in ray.asked if name == "rolling"] == [2**30, 2**30, 2**31]


@pytest.mark.whole
def test_a_trial_that_is_lost_again_and_again_fails_and_the_others_go_on(ray, tmp_path):
    watching = Remembering()
    ray.losses = {"rolling": [WorkerCrashedError("gone")] * (RETRIES + 1)}
    done = run(tmp_path / "run", watching)
    assert watching.of("failed") == ["rolling: its process was lost 4 times, at last: WorkerCrashedError: gone"]
    assert watching.of("skipped") == ["probe: needs rolling"]
    assert {name: status["state"] for name, status in done.trials.items()} == dict(zip(TRIALS, ("finished", "failed", "finished", "skipped"), strict=True))
    assert "lost 4 times" in (done.path / "trials" / "rolling" / "error.txt").read_text()
    watching = Remembering()
    run(tmp_path / "run", watching)
    assert watching.of("finished") == ["rolling", "probe"]


def test_a_process_that_is_lost_after_its_trial_has_finished_is_not_missed(ray, expected, tmp_path, monkeypatch):
    whole = worker.run_job

    def run_job(job: Any, name: str, *given: Any):
        whole(job, name, *given)
        raise WorkerCrashedError("gone")

    monkeypatch.setattr(worker, "run_job", run_job)
    watching = Remembering()
    assert results(run(tmp_path / "run", watching).path) == expected
    assert sorted(watching.of("finished")) == sorted(TRIALS)
    assert len(watching.of("note")) == 1


def test_a_trial_that_raises_is_recorded_where_it_ran(ray, tmp_path):
    watching = Remembering()
    done = run(tmp_path / "run", watching, config=Config(steps=5, learning_rate=1e38))
    assert watching.of("failed")[0].startswith("rolling: NonFinite")
    assert "Traceback" in (done.path / "trials" / "rolling" / "error.txt").read_text()
    with pytest.raises(TrialError, match="rolling failed: NonFinite"):
        run(tmp_path / "again", config=Config(steps=5, learning_rate=1e38), fail_fast=True)


def test_a_machine_that_would_compute_something_else_fails_the_trial(ray, tmp_path, monkeypatch):
    whole = worker.look

    def look(setting: Any):
        machine, provenance = whole(setting)
        return machine | {"jax": "0.0.1"}, provenance

    monkeypatch.setattr(worker, "look", look)
    watching = Remembering()
    done = run(tmp_path / "run", watching)
    assert "would not compute the same (jax (0.0.1 -> " in watching.of("failed")[0]
    assert TrialStore(done.path, "rolling").status["state"] == "failed"


@pytest.mark.whole
def test_memory_is_rehearsed_once_and_what_fits_nowhere_fails(ray, expected, tmp_path, monkeypatch):
    done = run(tmp_path / "run", memory=0.0)
    assert results(done.path) == expected
    assert [name for name, _ in ray.asked] == ["look", "rehearse", *TRIALS]
    needs = dict(ray.asked[2:])
    assert needs["identity"] == 2**31  # it has no program that a rehearsal finds
    assert 2**30 < needs["rolling"] == needs["frozen"] < 2**30 + 2**24
    shutil.rmtree(done.path / "trials" / "frozen" / "tables")
    ray.asked.clear()
    run(tmp_path / "run", memory=0.0)
    assert ray.asked == [("look", 2**30), ("frozen", needs["frozen"])]
    watching = Remembering()
    ray.memory = 2**29
    run(tmp_path / "small", watching)
    assert watching.of("failed")[0] == "identity: needs 1.0 GiB of memory and 1 cores, and the largest machine that has these cores 0.5 GiB"


def test_a_rehearsal_that_is_lost_is_told(ray, expected, tmp_path):
    ray.losses = {"rehearse": [WorkerCrashedError("gone")]}
    watching = Remembering()
    assert results(run(tmp_path / "run", watching, memory=0.0).path) == expected
    assert any("the rehearsal of memory ended early (WorkerCrashedError: gone); 2 GiB for each trial" in note for note in watching.of("note"))
    assert {memory for name, memory in ray.asked if name in TRIALS} == {2**31}


def test_a_run_that_is_asked_to_stop_asks_its_tasks(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "run_job", lambda *_: None)
    monkeypatch.setattr(Ray, "run", lambda self, function, wanted, given: Task(worker.look(given[0]) if len(given) == 1 else None, endless=len(given) > 1))
    monkeypatch.setattr("mesocosm.lab.run.interrupt.Interrupt.asked", lambda self: bool(self.__dict__.setdefault("calls", []).append(1)) or len(self.calls) > 3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    assert len(ray.stopped) == 2 * 3  # asked, then ended: the three trials that wait for no other


@pytest.fixture
def quick_lock(monkeypatch):
    for name, seconds in (("BEAT_SECONDS", 0.05), ("PATIENCE_SECONDS", 1.5), ("SETTLE_SECONDS", 0.1)):
        monkeypatch.setattr(remote, name, seconds)


@pytest.mark.whole
def test_with_a_store_another_driver_in_another_directory_goes_on(ray, expected, quick_lock, tmp_path):
    store = Store(f"file://{tmp_path}/store")
    ray.losses = {"rolling": [WorkerCrashedError("gone")] * (RETRIES + 1)}
    run(tmp_path / "one", store=store.url)
    watching = Remembering()
    done = run(tmp_path / "two", watching, store=store.url)
    assert (watching.of("cached"), watching.of("finished")) == (["identity", "frozen"], ["rolling", "probe"])
    assert results(done.path) == expected
    assert results(tmp_path / "store") == expected
    assert not [name for name in store.names() if "checkpoints" in name]
    assert {"run.json", "code.json", "claims.json", "index.html"} <= set(store.names())
    with pytest.raises(UserError, match="holds a run of the study toy-study"):
        execute(find("modular"), "smoke", out=tmp_path / "three", cluster=Cluster(memory=1.0, store=store.url))
    watching = Remembering()
    run(tmp_path / "two", watching, store=store.url, fresh=True)
    assert watching.of("cached") == []


@pytest.mark.whole
def test_what_a_local_run_has_finished_is_brought_to_a_store(ray, expected, quick_lock, tmp_path):
    shutil.copytree(execute(STUDY, "smoke", out=tmp_path / "local").path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "trials" / "probe")
    watching = Remembering()
    assert results(run(tmp_path / "run", watching, store=f"file://{tmp_path}/store").path) == expected
    assert (watching.of("cached"), watching.of("finished")) == (list(TRIALS[:3]), ["probe"])
    assert results(tmp_path / "store") == expected


def test_a_store_with_other_files_is_refused(ray, quick_lock, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").touch()
    with pytest.raises(UserError, match="is not empty and does not hold a run"):
        run(tmp_path / "run", store=f"file://{tmp_path}/store")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["thesis.tex"]


def test_a_cluster_that_is_not_there_is_one_line(ray, tmp_path):
    with pytest.raises(UserError, match=r"cannot join the Ray cluster '10\.0\.0\.1:1': Exception: nobody answers at 10\.0\.0\.1:1"):
        execute(STUDY, "smoke", out=tmp_path, cluster=Cluster("10.0.0.1:1"))
