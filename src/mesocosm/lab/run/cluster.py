"""Runs the trials of a plan as tasks of a Ray cluster. The driver plans, judges and shows; `lab.run.worker` is what each task does.

Results are files, in a run directory that all machines share or in a store; Ray carries only events. A task whose process or machine is lost is started
again and resumes from its checkpoint. A driver that dies loses nothing that is finished either: the same command resumes.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mesocosm.lab.errors import UserError, error_line
from mesocosm.lab.events.event import Note, Observer, TrialFinished
from mesocosm.lab.run import worker
from mesocosm.lab.run.interrupt import Interrupt
from mesocosm.lab.run.plan import Elsewhere, Plan
from mesocosm.lab.run.runner import TrialRunner
from mesocosm.lab.store import atomic, history
from mesocosm.lab.store.configuration import plain
from mesocosm.lab.store.identity import digest
from mesocosm.lab.store.provenance import thread_count
from mesocosm.lab.store.remote import Store
from mesocosm.lab.store.run_directory import TrialStore, read_record
from mesocosm.studies.interface import Trial

RETRIES = 3
"""How often a trial is started again whose process or machine was lost."""
LOOK_SECONDS = 0.25
STOP_SECONDS = 7.0
"""How long the tasks have to save their states; `interrupt.GRACE_SECONDS` after a request, the driver ends, too."""
GIBIBYTE = 2**30
PROCESS_BYTES = GIBIBYTE
"""What a process needs beside its programs: Python, JAX, tables."""
MARGIN = 1.25
UNKNOWN_BYTES = 2 * GIBIBYTE
"""Reserved for a trial whose programs could not be rehearsed."""
FORWARDED = ("JAX_", "XLA_", "MESOCOSM_")
REHEARSAL = "rehearsal.json"


@dataclass(frozen=True)
class Cluster:
    """Where the trials of a run are computed.

    Attributes:
        address: "auto" for the cluster of this machine, or a new one on this machine if there is none; "local" for a new one; or HOST:PORT.
        cores: cores of each trial.
        memory: GiB to reserve for each trial; 0 for what a rehearsal of its programs finds.
        store: a URL that fsspec knows, for files, or None for a run directory that all machines share.
    """

    address: str = "auto"
    cores: int = 2
    memory: float = 0.0
    store: str | None = None


class Machine(NamedTuple):
    """A machine of the cluster: its CPUs, GPUs and bytes of memory, as Ray counts them."""

    cpus: float
    gpus: float
    memory: float


class Pool:
    """A connection to a cluster."""

    def __init__(self, ray: Any, cluster: Cluster):
        self.ray, self.cluster = ray, cluster
        self._tasks: dict[Callable[..., Any], Any] = {}
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore[reportMissingImports]

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.events = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(worker.Events).remote()
        machines = self.machines()
        self.cores = min(cluster.cores, int(max((machine.cpus for machine in machines), default=1)) or 1)
        self.gpus = 1 if any(machine.gpus >= 1 for machine in machines) and os.environ.get("JAX_PLATFORMS", "") != "cpu" else 0
        self.setting = worker.Setting(variables(self.gpus), self.cores)

    def machines(self) -> list[Machine]:
        """Those that are alive."""
        found = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return [Machine(float(kind.get("CPU", 0)), float(kind.get("GPU", 0)), float(kind.get("memory", 0))) for kind in found]

    def submit(self, function: Callable[..., Any], *arguments: Any, memory: int = PROCESS_BYTES, gpus: int | None = None) -> Any:
        """Start a function in a process of its own, on the cores and the memory of one trial."""
        if function not in self._tasks:
            self._tasks[function] = self.ray.remote(max_calls=1, max_retries=0)(function)
        options = {"num_cpus": self.cores, "num_gpus": self.gpus if gpus is None else gpus, "memory": memory}
        return self._tasks[function].options(**options).remote(*arguments)

    def look(self) -> Elsewhere:
        """What the cluster computes with."""
        try:
            return Elsewhere(*self.ray.get(self.submit(worker.look, self.setting)))
        except self.ray.exceptions.RayError as error:
            raise UserError(f"no process of the cluster could be started: {error_line(_cause(error))}") from None

    def runner(
        self, stack: ExitStack, plan: Plan, check: Callable[[], None], *, observer: Observer, interrupt: Interrupt, fresh: bool, **options: Any
    ) -> Callable[[Plan, Mapping[str, tuple[str, str]]], ClusterRunner]:
        """What makes the runner of a plan. With a store, its lock is held until the stack ends, and what it holds is brought here and checked first."""
        machines = self.machines()
        here = f"{len(machines)} machine{'s' * (len(machines) != 1)} with {sum(machine.cpus for machine in machines):g} cores"
        observer(Note(f"the trials are computed on {here}, {self.cores} for each trial"))
        store, token = stack.enter_context(mirrored(plan, self.cluster.store, observer, interrupt, fresh=fresh))
        if store is not None:
            check()
        return partial(ClusterRunner, self, observer=observer, interrupt=interrupt, store=store, token=token, **options)

    def drain(self) -> list[Any]:
        """What the tasks told since the last call; nothing while the actor is started again."""
        try:
            return self.ray.get(self.events.drain.remote(), timeout=10.0)
        except self.ray.exceptions.RayError:
            return []


def variables(gpus: int) -> dict[str, str | None]:
    """The settings that a local run would have, for the processes of the cluster: with as many threads, results have the same bits."""
    found: dict[str, str | None] = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
    found |= {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    if not gpus:
        found["NPROC"] = str(thread_count())
        found["JAX_PLATFORMS"] = "cpu"
    found.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "mesocosm-programs"))  # a rehearsal compiles for the run
    return found


@contextmanager
def connected(cluster: Cluster) -> Iterator[Pool]:
    """Join a cluster, or start one on this machine.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError('--ray needs Ray: pip install "mesocosm[ray]"') from None
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    own = {"include_dashboard": False, "object_store_memory": 10**8}  # results are files, and /dev/shm is small in containers
    try:
        if cluster.address == "local":
            ray.init(address="local", **quiet, **own)
        elif cluster.address != "auto":
            ray.init(address=cluster.address, **quiet)
        else:
            try:
                ray.init(address="auto", **quiet)
            except ConnectionError:
                ray.init(address="local", **quiet, **own)
    except Exception as error:  # Ray raises plain ones, too
        raise UserError(f"cannot join the Ray cluster {cluster.address!r}: {error_line(error)}") from None
    try:
        yield Pool(ray, cluster)
    finally:
        ray.shutdown()


@contextmanager
def mirrored(plan: Plan, url: str | None, observer: Observer, interrupt: Interrupt, *, fresh: bool) -> Iterator[tuple[Store | None, str]]:
    """Hold a store's lock, make the run directory its mirror, and bring the verdicts and the report back to it at the end.

    Gives the store and the token of its lock; None and an empty token without a URL.

    Raises:
        UserError: another process writes to the store, or it holds something else.
    """
    if url is None:
        yield None, ""
        return
    store = Store(url)
    with store.held(lambda line: observer(Note(line)), interrupt.ask) as token:
        names = [name for name in store.names() if "/checkpoints/" not in name]
        _check_store(store, plan, names)
        if fresh:
            store.remove((name for name in store.names() if name != history.NAME), first="claims.json")
        else:
            store.pull(plan.path, names)
            unknown = set(_files(plan.path, "trials", "models")) - set(names)
            store.push(plan.path, sorted(unknown, key=lambda name: (name.endswith("/status.json"), name)))
        try:
            yield store, token
        finally:
            store.check_holder(token)
            store.push(plan.path, _files(plan.path, "figures", "run.json", "code.json", "claims.json", "index.html", history.NAME))


def _check_store(store: Store, plan: Plan, names: Collection[str]) -> None:
    if names and "run.json" not in names and set(names) != {history.NAME}:
        raise UserError(f"{store.url} is not empty and does not hold a run; choose another store")
    if "run.json" in names:
        with tempfile.TemporaryDirectory() as folder:
            store.pull(Path(folder), ["run.json"])
            if (found := read_record(Path(folder))["study"]) != plan.study.name:
                raise UserError(f"{store.url} holds a run of the study {found}; choose another store")


def _files(path: Path, *parts: str) -> list[str]:
    """Names of the files of a run in these folders, and of these files, without checkpoints and locks."""
    found = [file for part in parts for file in ((path / part).rglob("*") if (path / part).is_dir() else [path / part]) if file.is_file()]
    names = (file.relative_to(path).as_posix() for file in found if not file.name.startswith("."))
    return [name for name in names if "/checkpoints/" not in name]


@dataclass
class _Attempt:
    """A trial that runs, and how often it was started."""

    trial: Trial
    index: int
    number: int = 1


@dataclass
class _Rehearsal:
    """Bytes to reserve for each trial, as far as they are known, and the task that finds the others."""

    needs: dict[str, int] = field(default_factory=dict)
    task: Any = None


def longest_first(plan: Plan) -> dict[str, tuple[int, Trial]]:
    """Name -> place in the plan and trial, by the minutes of the preset, so that no long trial is left when the others have ended; otherwise in order."""
    places = list(enumerate(plan.trials, start=1))
    return {trial.name: (place, trial) for place, trial in sorted(places, key=lambda each: -plan.minutes.get(each[1].name, 0.0))}


class ClusterRunner(TrialRunner):
    """Runs the trials of a plan on a cluster, several at a time where they do not need each other."""

    def __init__(
        self,
        pool: Pool,
        plan: Plan,
        states: Mapping[str, tuple[str, str]],
        *,
        observer: Observer,
        interrupt: Interrupt,
        fail_fast: bool,
        save_seconds: float,
        stalled_seconds: float,
        store: Store | None,
        token: str,
    ):
        super().__init__(plan, states, observer, interrupt, fail_fast, save_seconds)
        self.pool, self.store = pool, store
        started, config = read_record(plan.path)["started"], plain(plan.config)
        url = store.url if store else None
        where = (str(plan.path), started, url, token)
        self.job = worker.Job(pool.setting, plan.study.name, plan.preset, config, plan.seeds, *where, save_seconds, stalled_seconds)
        self.running: dict[Any, _Attempt] = {}
        self.rehearsal = _Rehearsal()

    def run(self) -> None:
        """Start each trial as soon as those that it needs are finished and its memory is known, and wait for all."""
        waiting = longest_first(self.plan)
        if self.store is not None:
            self.store.push(self.plan.path, ["run.json", "code.json"])
        self._rehearse([trial for _, trial in waiting.values() if self.states[trial.name][0] != "cached"])
        try:
            while waiting or self.running:
                if self.interrupt.asked():
                    raise KeyboardInterrupt
                self.interrupt.at("the cluster")
                for name, (index, trial) in list(waiting.items()):
                    if any(parent in waiting or parent in self._names() for parent in trial.after):
                        continue
                    if self.settled(trial):
                        self._push_status(trial)
                        del waiting[name]
                    elif name in self.rehearsal.needs:
                        del waiting[name]
                        self.announce(trial)
                        self._start(_Attempt(trial, index))
                self._wait()
        finally:
            self._stop()

    def _names(self) -> set[str]:
        return {attempt.trial.name for attempt in self.running.values()}

    # --- one trial

    def _start(self, attempt: _Attempt) -> None:
        trial, need = attempt.trial, self.rehearsal.needs[attempt.trial.name]
        machines = self.pool.machines()
        most = max((machine.memory for machine in machines if machine.cpus >= self.pool.cores), default=0.0)
        if need > most:
            told = (
                f"needs {need / GIBIBYTE:.1f} GiB of memory and {self.pool.cores} cores, and the largest machine that has these cores {most / GIBIBYTE:.1f} GiB"
            )
            self._fail(trial, told)
            return
        place = attempt.index, len(self.plan.trials)
        task = self.pool.submit(worker.run_job, self.job, trial.name, place, self.plan.identities[trial.name], self.pool.events, memory=need)
        self.running[task] = attempt

    def _wait(self) -> None:
        tasks = [*self.running, *([self.rehearsal.task] if self.rehearsal.task is not None else [])]
        done = self.pool.ray.wait(tasks, num_returns=len(tasks), timeout=LOOK_SECONDS)[0] if tasks else []
        self._listen()
        for task in done:
            if task == self.rehearsal.task:
                self._rehearsed()
                continue
            attempt = self.running.pop(task)
            try:
                error = self.pool.ray.get(task)
            except self.pool.ray.exceptions.RayTaskError as failure:
                self._fail(attempt.trial, error_line(_cause(failure)).removeprefix("UserError: "))
            except self.pool.ray.exceptions.RayError as loss:
                self._lost(attempt, loss)
            else:
                self._finished(attempt.trial, error)

    def _listen(self) -> None:
        for event in self.pool.drain():
            match event:
                case worker.Rehearsed(trial, found):
                    self._note_need(trial, found)
                case Note():
                    self.observer(event)
                case TrialFinished():
                    pass  # the task's end says so, once the results are here
                case _ if event.trial in self._names():  # what comes after a trial has ended would show it again
                    self.observer(event)

    def _finished(self, trial: Trial, error: str | None) -> None:
        if self.store is not None:
            self._mirror(self.store, trial)
        if error is None:
            self.observer(TrialFinished(trial.name, TrialStore(self.plan.path, trial.name).status["seconds"]))
        self.ended(trial, error)

    def _lost(self, attempt: _Attempt, loss: Exception) -> None:
        """Start a trial again whose process or machine was lost, unless it had finished by then."""
        if self.store is not None:
            self._mirror(self.store, attempt.trial)
        status = TrialStore(self.plan.path, attempt.trial.name).status
        if status["state"] == "finished" and status["identity"] == self.plan.identities[attempt.trial.name]:
            self._finished(attempt.trial, None)
        elif attempt.number > RETRIES:
            self._fail(attempt.trial, f"its process was lost {attempt.number} times, at last: {error_line(loss)}")
        else:
            if isinstance(loss, self.pool.ray.exceptions.OutOfMemoryError):
                self.rehearsal.needs[attempt.trial.name] *= 2
            self.observer(Note(f"trial {attempt.trial.name} lost its process ({type(loss).__name__}) and is started again, {attempt.number} of {RETRIES}"))
            self._start(_Attempt(attempt.trial, attempt.index, attempt.number + 1))

    def _fail(self, trial: Trial, told: str) -> None:
        """Record a failure that the trial itself could not record."""
        store = TrialStore(self.plan.path, trial.name)
        store.clear()
        store.write_status(state="failed", identity=self.plan.identities[trial.name], error=told, seconds=0.0)
        atomic.write_bytes(store.folder / "error.txt", f"{told}\n".encode())
        self._push_status(trial)
        self.ended(trial, told)

    # --- memory

    def _rehearse(self, trials: list[Trial]) -> None:
        if self.pool.cluster.memory:
            self.rehearsal.needs = dict.fromkeys((trial.name for trial in trials), int(self.pool.cluster.memory * GIBIBYTE))
            return
        for trial in trials:
            with suppress(OSError, ValueError, KeyError, TypeError):
                known = atomic.read_json(self._rehearsal_file(trial.name))
                if known["identity"] == digest(self.plan.identities[trial.name]):
                    self.rehearsal.needs[trial.name] = int(known["bytes"])
        if unknown := tuple(trial.name for trial in trials if trial.name not in self.rehearsal.needs):
            self.rehearsal.task = self.pool.submit(worker.rehearse, self.job, unknown, self.pool.events, gpus=0)

    def _note_need(self, trial: str, found: int | None) -> None:
        need = UNKNOWN_BYTES if found is None else int(PROCESS_BYTES + MARGIN * found)
        self.rehearsal.needs[trial] = need
        atomic.write_json(self._rehearsal_file(trial), {"identity": digest(self.plan.identities[trial]), "bytes": need})
        if self.store is not None:
            self.store.push(self.plan.path, [f"trials/{trial}/{REHEARSAL}"])

    def _rehearsed(self) -> None:
        """The rehearsal has ended: what it did not find is not known."""
        task, self.rehearsal.task = self.rehearsal.task, None
        try:
            self.pool.ray.get(task)
        except self.pool.ray.exceptions.RayError as error:
            self.observer(
                Note(f"the rehearsal of memory ended early ({error_line(_cause(error))}); {UNKNOWN_BYTES / GIBIBYTE:g} GiB for each trial that is left")
            )
        for trial in self.plan.trials:
            self.rehearsal.needs.setdefault(trial.name, UNKNOWN_BYTES)

    def _rehearsal_file(self, trial: str) -> Path:
        return TrialStore(self.plan.path, trial).folder / REHEARSAL

    # --- the store

    def _mirror(self, store: Store, trial: Trial) -> None:
        """Bring a trial's results here, its status last."""
        TrialStore(self.plan.path, trial.name).clear()
        status = f"trials/{trial.name}/status.json"
        names = [name for name in store.names(f"trials/{trial.name}", f"models/{trial.name}") if "/checkpoints/" not in name]
        store.pull(self.plan.path, [*(name for name in names if name != status), *([status] if status in names else [])])

    def _push_status(self, trial: Trial) -> None:
        if self.store is not None:
            files = [f"trials/{trial.name}/{name}" for name in ("error.txt", "status.json")]
            self.store.push(self.plan.path, [name for name in files if (self.plan.path / name).exists()])

    # --- the end

    def _stop(self) -> None:
        """Ask what still runs to save its state and end; end it after a while if it does not."""
        tasks = [*self.running, *([self.rehearsal.task] if self.rehearsal.task is not None else [])]
        if not tasks:
            return
        for task in tasks:
            self.pool.ray.cancel(task, force=False)
        _, left = self.pool.ray.wait(tasks, num_returns=len(tasks), timeout=STOP_SECONDS)
        for task in left:
            self.pool.ray.cancel(task, force=True)
        self.running.clear()


def _cause(error: Exception) -> BaseException:
    """What a task raised, rather than how Ray says it."""
    return getattr(error, "cause", None) or error
