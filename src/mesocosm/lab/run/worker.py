"""What a process of a Ray cluster does for a run: it takes its cores, plans the same run, checks that it would compute the same, and runs one trial.

Nothing here imports JAX or NumPy before the process keeps to its cores and has the driver's settings, since both look at them when they are imported. Ray
starts a process for each of these tasks and ends it afterwards.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

if TYPE_CHECKING:
    from mesocosm.lab.events.event import Event
    from mesocosm.lab.run.plan import Plan
    from mesocosm.lab.store.remote import Store
    from mesocosm.studies.interface import Trial

SECONDS_FOR_A_PREDECESSOR = 60.0
"""A process whose driver died may still be ending."""

SECONDS_FOR_A_CORE = 3.0

_cores: list[filelock.FileLock] = []


@dataclass(frozen=True)
class Setting:
    """What a process takes on before it imports anything.

    Attributes:
        variables: environment variables; None removes one.
        cores: how many cores it keeps to.
    """

    variables: Mapping[str, str | None]
    cores: int


@dataclass(frozen=True)
class Job:
    """A run, and how its trials are computed elsewhere.

    Attributes:
        setting: what the process takes on first.
        study, preset, seeds: as in `lab.run.runner.execute`.
        config: as plain data.
        path: the run directory, which every machine can reach, unless there is a store.
        started: when the run started, by which its directory is known.
        store: the URL of the store, or None.
        token: the driver's, as long as it holds the store's lock.
        save_seconds, stalled_seconds: as in `lab.run.runner.execute`.
    """

    setting: Setting
    study: str
    preset: str
    config: Any
    seeds: tuple[int, ...]
    path: str
    started: str
    store: str | None
    token: str
    save_seconds: float
    stalled_seconds: float


class Events:
    """An actor that keeps what the tasks tell until the driver asks for it."""

    def __init__(self) -> None:
        self._told: list[Any] = []

    def tell(self, event: Any) -> None:
        """Keep an event."""
        self._told.append(event)

    def drain(self) -> list[Any]:
        """Everything since the last call, in order."""
        told, self._told = self._told, []
        return told


@dataclass(frozen=True)
class Rehearsed:
    """The rehearsal of a trial has found the bytes of its largest program, or None."""

    trial: str
    bytes: int | None


def settle(setting: Setting) -> None:
    """Take on the driver's settings and keep to some cores: those that no other process of a run has taken, or all, if there are too few.

    Raises:
        RuntimeError: JAX is imported already, so that it is too late.
    """
    if "jax" in sys.modules:
        raise RuntimeError("JAX was imported before the process had its cores")
    for name, value in setting.variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, take_cores(setting.cores))


def take_cores(count: int) -> set[int]:
    """Cores that this process has for itself until it ends, however it ends. One that has just ended may still hold some."""
    allowed = os.sched_getaffinity(0)
    folder = Path(tempfile.gettempdir()) / f"mesocosm-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    taken: set[int] = set()
    deadline = time.monotonic() + SECONDS_FOR_A_CORE
    while len(taken) < min(count, len(allowed)):
        for core in sorted(allowed - taken):
            lock = filelock.FileLock(folder / f"{core}.lock")
            with suppress(filelock.Timeout):
                if len(taken) < count:
                    lock.acquire(timeout=0)
                    _cores.append(lock)
                    taken.add(core)
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    return taken if len(taken) == count else allowed


def look(setting: Setting) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a process of the cluster computes with: the parts of identities, and of `run.json`, that describe a machine."""
    settle(setting)
    from mesocosm.lab.store.identity import machine
    from mesocosm.lab.store.provenance import provenance

    return machine(), provenance()


def rehearse(job: Job, trials: tuple[str, ...], events: Any) -> dict[str, int | None]:
    """Compile the programs of some trials, and tell the bytes of the largest of each as soon as they are known; None where a trial's are not found.
    Returns them all, since what is told just before a process ends may be lost.
    """
    settle(job.setting)
    from mesocosm.lab.run.dry_run import rehearsed

    with tempfile.TemporaryDirectory() as folder:
        plan = planned(job, Path(folder))
        programs, states, found = dict[str, int](), plan.states(), dict[str, int | None]()
        for trial in plan.trials:
            if trial.name in trials:
                found[trial.name] = rehearsed(plan, trial, states, programs).memory_bytes
                events.tell.remote(Rehearsed(trial.name, found[trial.name]))
    return found


def run_job(job: Job, name: str, place: tuple[int, int], identity: Mapping[str, Any], events: Any) -> str | None:
    """Run one trial to its status file, in the run directory or in the store.

    Args:
        job: the run.
        name: the trial.
        place: its number in the plan, from 1, and the number of trials.
        identity: the parts of its identity, as the driver planned them.
        events: a handle of `Events`, which is told what happens.

    Returns:
        The error's line, or None.

    Raises:
        UserError: this machine would compute something else, or does not see the run directory, or another driver has taken over.
        KeyboardInterrupt: the driver asked to stop; the state is saved.
    """
    settle(job.setting)
    from mesocosm.lab.events.event import Note, TrialStarted
    from mesocosm.lab.run.devices import watches_for_stalls
    from mesocosm.lab.run.interrupt import Interrupt
    from mesocosm.lab.run.runner import run_trial
    from mesocosm.lab.store.remote import Store
    from mesocosm.lab.store.run_directory import run_file_errors

    def tell(event: Event) -> None:
        events.tell.remote(event)

    tell(TrialStarted(name, *place))
    stalled = job.stalled_seconds if watches_for_stalls() else 0.0
    with Interrupt(lambda message: None, lambda why: _end(tell, Note(f"trial {name}: {why}")), stalled) as interrupt:
        if job.store is None:
            plan = planned(job, Path(job.path))
            trial = same_trial(plan, name, identity)
            check_directory(job)
            with run_file_errors(plan.path), only_writer(plan, name):
                return run_trial(plan, trial, tell, interrupt, job.save_seconds)
        with tempfile.TemporaryDirectory(prefix="mesocosm-") as folder:
            plan, store = planned(job, Path(folder)), Store(job.store)
            trial = same_trial(plan, name, identity)
            fetch(store, plan, trial)

            def saved(file: Path) -> None:
                store.check_holder(job.token)
                store.push(plan.path, [file.relative_to(plan.path).as_posix(), f"trials/{name}/status.json"])

            error = run_trial(plan, trial, tell, interrupt, job.save_seconds, saved)
            deliver(store, plan, trial, job.token)
            return error


def planned(job: Job, path: Path) -> Plan:
    """The driver's plan, made anew here."""
    from mesocosm.lab.catalogue import find
    from mesocosm.lab.run.plan import Plan
    from mesocosm.lab.store.configuration import from_plain

    study = find(job.study)
    return Plan.of(study, job.preset, from_plain(job.config, type(study.presets[job.preset].config)), job.seeds, path)


def same_trial(plan: Plan, name: str, identity: Mapping[str, Any]) -> Trial:
    """The trial of this name.

    Raises:
        UserError: its identity here is not the driver's: other code, data, versions or devices.
    """
    from mesocosm.lab.errors import UserError
    from mesocosm.lab.store.identity import difference

    mine = plan.identities[name]
    if mine != identity:
        changed = difference(identity, mine, plan.codes)
        raise UserError(f"{socket.gethostname()} would not compute the same ({changed}); give all machines the same code, data, packages and devices")
    return next(trial for trial in plan.trials if trial.name == name)


def check_directory(job: Job) -> None:
    """Check that this is the directory that the driver writes to.

    Raises:
        UserError: it is not visible here, or it holds another run.
    """
    from mesocosm.lab.errors import UserError
    from mesocosm.lab.store.run_directory import read_record

    try:
        found = read_record(Path(job.path))["started"]
    except UserError:
        found = None
    if found != job.started:
        raise UserError(f"{socket.gethostname()} does not see the run directory {job.path}: choose one that all machines share, or a store (--store URL)")


def only_writer(plan: Plan, name: str) -> filelock.FileLock:
    """The lock of a trial's folder. A process whose driver died holds it until it has ended."""
    folder = plan.path / "trials" / name
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / ".lock", timeout=SECONDS_FOR_A_PREDECESSOR)


# --- with a store -----------------------------------------------------------------------------------------------------


def fetch(store: Store, plan: Plan, trial: Trial) -> None:
    """Bring what the trial reads: its own checkpoints, and the models of its parents; and forget its earlier results, status first."""
    own = store.names(f"trials/{trial.name}", f"models/{trial.name}")
    store.remove(sorted(name for name in own if "/checkpoints/" not in name and not name.endswith("rehearsal.json")), first=f"trials/{trial.name}/status.json")
    store.pull(plan.path, [name for name in own if "/checkpoints/" in name])
    for parent in trial.after:
        store.pull(plan.path, [f"trials/{parent}/status.json", *store.names(f"models/{parent}")])


def deliver(store: Store, plan: Plan, trial: Trial, token: str) -> None:
    """Bring back what the trial wrote, its status last, which alone makes it finished.

    Raises:
        UserError: another driver has taken over.
    """
    status = f"trials/{trial.name}/status.json"
    folders = (plan.path / part / trial.name for part in ("trials", "models"))
    written = [file.relative_to(plan.path).as_posix() for folder in folders for file in folder.rglob("*") if file.is_file()]
    store.check_holder(token)
    store.push(plan.path, [*sorted(name for name in written if name != status), status])
    store.remove(store.names(f"trials/{trial.name}/checkpoints"))


def _end(tell: Callable[[Any], None], note: Any) -> None:
    """End a process that does not respond; the driver has the trial resumed elsewhere."""
    with suppress(Exception):
        tell(note)
    os._exit(1)
