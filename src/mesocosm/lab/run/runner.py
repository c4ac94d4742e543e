"""Runs a study: trials in topological order, each at most once, then verdicts, figures and the report."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import polars as pl

from mesocosm.claims.circumstances import Circumstances, Unfinished
from mesocosm.claims.judge import judge, to_json
from mesocosm.claims.tables import Table
from mesocosm.lab.errors import TrialError, error_line
from mesocosm.lab.events.event import Judged, Note, Observer, RunStarted, TrialFailed, TrialFinished, TrialSkipped, TrialStarted, ignore
from mesocosm.lab.report.run_page import write_report
from mesocosm.lab.run.context import TrialContext
from mesocosm.lab.run.devices import watches_for_stalls
from mesocosm.lab.run.interrupt import STALLED_SECONDS, Interrupt
from mesocosm.lab.run.plan import Plan
from mesocosm.lab.store import atomic, history
from mesocosm.lab.store.checkpoint import SECONDS_BETWEEN_SAVES
from mesocosm.lab.store.identity import digest
from mesocosm.lab.store.measurement_code import current_fingerprints
from mesocosm.lab.store.requirements import missing
from mesocosm.lab.store.run_directory import Run, TrialStore, is_run_file_error, locked, read_record
from mesocosm.studies.interface import Study, Trial, check_name

if TYPE_CHECKING:
    from mesocosm.lab.run.cluster import Cluster, Pool


def execute(
    study: Study,
    preset: str = "quick",
    *,
    config: Any = None,
    seeds: tuple[int, ...] | None = None,
    out: Path | None = None,
    fresh: bool = False,
    fail_fast: bool = False,
    again: bool = False,
    repeats: bool = False,
    judged: bool = True,
    observer: Observer = ignore,
    command: str = "",
    save_seconds: float = SECONDS_BETWEEN_SAVES,
    end: Callable[[str], None] | None = None,
    stalled_seconds: float = STALLED_SECONDS,
    cluster: Cluster | None = None,
) -> Run:
    """Run unfinished trials, judge the claims, draw the figures and write the report.

    Args:
        study: the study to run.
        preset: a name in `study.presets`.
        config: instead of the preset's; must be of the same type.
        seeds: instead of 0 .. n-1 of the preset.
        out: the run directory; by default under `runs/`.
        fresh: first delete an earlier run in this directory.
        fail_fast: stop at the first failed trial.
        again: make a record even on seeds that an earlier record of the study has met (`lab.store.history`).
        repeats: the run repeats another one to compare it, and makes no record.
        judged: also judge the claims, draw the figures and write the report.
        observer: called with every event (`lab.events.event`).
        command: the command line, for the record.
        save_seconds: the shortest time between two saves of a running fit.
        end: ends the process, given the reason, when the main thread no longer responds; None if we must not end the process.
        stalled_seconds: end the run after this long without progress and processor use; 0 for never. Not used on accelerators.
        cluster: compute the trials on a Ray cluster instead of in this process.

    Raises:
        UserError: unknown preset, directory in use, not writable or of another study.
        TrialError: a trial failed, with `fail_fast`.
        KeyboardInterrupt: the run was asked to stop; the same call resumes it.
    """
    with nullcontext() if cluster is None else _connected(cluster) as pool:
        plan = Plan.of(study, preset, config, seeds, out, pool and pool.look())

        def check() -> None:
            plan.check_directory()
            plan.check_record(fresh=fresh, again=again or repeats)

        check()
        watched = stalled_seconds if pool is None and watches_for_stalls() else 0.0
        with locked(plan.path), Interrupt(lambda message: observer(Note(message)), end, watched) as interrupt, ExitStack() as stack:
            runner = partial(TrialRunner, observer=observer, interrupt=interrupt, fail_fast=fail_fast, save_seconds=save_seconds)
            if pool is not None:
                runner = pool.runner(stack, plan, check, fresh=fresh, stalled_seconds=stalled_seconds, **runner.keywords)
            if fresh:
                plan.forget()
            began = time.perf_counter()
            states = plan.states()
            plan.write_record(command, states)
            if any(state != "cached" for state, _ in states.values()):
                plan.forget_verdicts()
            observer(RunStarted(plan))
            try:
                runner(plan, states).run()
            finally:
                record = read_record(plan.path)
                atomic.write_json(plan.path / "run.json", record | {"wall_seconds": record["wall_seconds"] + time.perf_counter() - began})
            if not judged:
                return Run(plan.path, study)
            interrupt.at("the verdicts and the report")
            return _judge(Run(plan.path, study), observer, registered=not repeats)


def _connected(cluster: Cluster) -> AbstractContextManager[Pool]:
    from mesocosm.lab.run.cluster import connected  # which builds on this module

    return connected(cluster)


def judge_run(path: Path, observer: Observer = ignore) -> Run:
    """Judge again from the tables, without training; rewrites the claims, the figures and the report."""
    read_record(path)
    with locked(path):
        return _judge(Run(path), observer)


def report_run(path: Path) -> Path:
    """Write the figures and the page again; returns the page's path."""
    read_record(path)
    with locked(path):
        return write_report(Run(path))


def _judge(run: Run, observer: Observer, *, registered: bool = False) -> Run:
    filled = run.study.user_parts(run.config)
    now = current_fingerprints(run.study)
    circumstances = Circumstances(
        command=run.record["command"],
        changed=[change for change in run.record["changes"] if change.partition(":")[0] not in filled],
        user_parts=[f"{slot} = {part}" for slot, part in filled.items()],
        unfinished=unfinished(run),
        fingerprints=run.record["claims"]["checks"],
        page=run.study.page,
        code={name: fingerprint.partition("-")[2] for name, fingerprint in now.items()},
        earlier_records=history.earlier_records(run),
    )
    rows = judge(run.study.name, run.study.claims, run.view(), circumstances)
    rows = history.with_earlier(rows, history.known_entries(run.study.name, run.path), run.record["started"], history.seeds_met(run))
    if (folder := history.enter(run, rows, now, registered=registered)) is not None:
        observer(Note(f"the verdicts are entered in {folder / history.NAME}"))
    atomic.write_bytes(run.path / "claims.json", to_json(rows).encode())
    write_report(run)
    observer(Judged(rows))
    return run


def unfinished(run: Run) -> list[Unfinished]:
    """The trials without tables, each with the tables that finished trials of the same function wrote."""
    statuses, trials = run.trials, run.study.trials(run.config)
    wrote: dict[Any, set[str]] = {}
    for trial in trials:
        wrote.setdefault(trial.run, set()).update(statuses[trial.name].get("tables", {}) if statuses[trial.name]["state"] == "finished" else ())
    found = []
    for trial in trials:
        status = statuses[trial.name]
        if status["state"] != "finished":
            reason = f"{status['state']}: {status['error']}" if status.get("error") else "not run"
            found.append(Unfinished(trial.name, reason, frozenset(wrote[trial.run])))
    return found


class TrialRunner:
    """Runs the trials of a plan, here and in order; `lab.run.cluster` runs them elsewhere.

    Attributes:
        broken: trial -> why it, or a trial that it needs, has no results.
    """

    def __init__(self, plan: Plan, states: Mapping[str, tuple[str, str]], observer: Observer, interrupt: Interrupt, fail_fast: bool, save_seconds: float):
        self.plan, self.states, self.observer, self.interrupt = plan, states, observer, interrupt
        self.fail_fast, self.save_seconds = fail_fast, save_seconds
        self.broken: dict[str, str] = {}

    def run(self) -> None:
        """Run each unfinished trial, unless one of its parents failed or its data or packages are not installed."""
        for index, trial in enumerate(self.plan.trials, start=1):
            if self.settled(trial):
                continue
            if self.interrupt.asked():
                raise KeyboardInterrupt
            self.announce(trial)
            self.observer(TrialStarted(trial.name, index, len(self.plan.trials)))
            self.ended(trial, run_trial(self.plan, trial, self.observer, self.interrupt, self.save_seconds))

    def settled(self, trial: Trial) -> bool:
        """Whether there is nothing to run: the trial has finished earlier, or cannot be run and is skipped."""
        store = TrialStore(self.plan.path, trial.name)
        if self.states[trial.name][0] == "cached":
            store.clear_checkpoints()
            self.observer(TrialFinished(trial.name, store.status["seconds"], cached=True))
            return True
        parents = [name for name in trial.after if name in self.broken]
        reason = f"needs {', '.join(parents)}" if parents else missing(trial)
        if reason is not None:
            self.broken[trial.name] = reason
            store.clear()
            store.write_status(state="skipped", error=reason, identity=self.plan.identities[trial.name])
            self.observer(TrialSkipped(trial.name, reason))
        return reason is not None

    def announce(self, trial: Trial) -> None:
        """Say why a trial is run again, or that it resumes."""
        state, why = self.states[trial.name]
        if state == "stale":
            self.observer(Note(f"trial {trial.name} is run again: {why}"))
        elif state == "resumable":
            self.observer(Note(f"trial {trial.name} resumes where it was interrupted"))

    def ended(self, trial: Trial, error: str | None) -> None:
        """Remember a failure.

        Raises:
            TrialError: the trial failed, with `fail_fast`.
        """
        if error is None:
            return
        self.broken[trial.name] = error
        self.observer(TrialFailed(trial.name, error))
        if self.fail_fast:
            folder = TrialStore(self.plan.path, trial.name).folder
            raise TrialError(f"trial {trial.name} failed: {error} (its traceback is in {folder / 'error.txt'})")


def run_trial(
    plan: Plan,
    trial: Trial,
    observer: Observer,
    interrupt: Interrupt,
    save_seconds: float = SECONDS_BETWEEN_SAVES,
    saved: Callable[[Path], None] = lambda file: None,
) -> str | None:
    """Run one trial to its status file.

    Args:
        plan, trial: the trial and the run to which it belongs.
        observer, interrupt, save_seconds: as in `execute`.
        saved: called with a checkpoint's path after each save.

    Returns:
        The error's line, or None.

    Raises:
        OSError: a file of the run cannot be written.
        KeyboardInterrupt: the run was asked to stop.
    """
    parts, store = plan.identities[trial.name], TrialStore(plan.path, trial.name)
    parents = {parent.name: parent for parent in plan.trials if parent.name in trial.after}
    store.clear()
    store.write_status(state="running", identity=parts)
    interrupt.keeping(partial(_keep_reason, store, parts))
    interrupt.at(f"trial {trial.name}")
    context = TrialContext(plan.path, trial, plan.seeds_of(trial), digest(parts), parents, observer, interrupt, save_seconds, saved)
    began = time.perf_counter()
    try:
        with jax.enable_x64(trial.precision == "float64"):
            tables = checked(trial.run(trial.config, context), trial, context.models, plan.study.tables)
        if context.histories:
            tables["history"] = context.history()
        sums = {name: store.write_table(name, table) for name, table in tables.items()}
    except Exception as error:
        if isinstance(error, OSError) and is_run_file_error(plan.path, error):
            raise
        if interrupt.asked():  # a second request inside an XLA callback is raised as an XLA error
            raise KeyboardInterrupt from error
        message = error_line(error)
        atomic.write_bytes(store.folder / "error.txt", traceback.format_exc().encode())
        store.write_status(state="failed", identity=parts, error=message, seconds=time.perf_counter() - began)
        return message
    interrupt.at(f"the end of trial {trial.name}")
    seconds = time.perf_counter() - began
    (store.folder / "error.txt").unlink(missing_ok=True)
    compile_seconds = sum((fit["compile_seconds"] for fit in context.fits.values()), start=0.0)
    store.write_status(
        state="finished", identity=parts, seconds=seconds, compile_seconds=compile_seconds, fits=context.fits, tables=sums, models=context.models
    )
    store.clear_checkpoints()
    observer(TrialFinished(trial.name, seconds))
    return None


def _keep_reason(store: TrialStore, identity: Mapping[str, Any], why: str) -> None:
    """Record why a trial was interrupted, unless it has ended by itself since."""
    if store.status["state"] == "running":
        store.write_status(state="running", identity=identity, error=why)


def checked(tables: Any, trial: Trial, published: Iterable[str], declared: Mapping[str, type[Table]]) -> dict[str, pl.DataFrame]:
    """Check a trial's tables and published models against its declarations, and return the tables.

    Raises:
        TypeError, ValueError: the function returned no tables, a table named `history` or one without a declared column, or it did not publish a declared
            model.
    """
    if not isinstance(tables, Mapping):
        raise TypeError(f"the trial's function returned a {type(tables).__name__}, not tables by name")
    for name, table in tables.items():
        check_name("table", name)
        if not isinstance(table, pl.DataFrame):
            raise TypeError(f"the table {name!r} is a {type(table).__name__}; make it with context.rows")
        if name in declared and (lacking := declared[name].lacking(table.columns)):
            raise ValueError(f"the table {name!r} lacks {', '.join(lacking)}, which the study declares")
    if missing := sorted(set(trial.models) - set(published)):
        raise ValueError(f"declares the model {missing[0]!r} but did not publish it")
    if "history" in tables:
        raise ValueError("a trial's table cannot be called 'history', which is reserved for training metrics")
    return dict(tables)
