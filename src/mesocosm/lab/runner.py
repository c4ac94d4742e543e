"""Running a study: trials in topological order, each at most once, then the verdicts, the figures and the report."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from mesocosm.lab import atomic
from mesocosm.lab.context import TrialContext
from mesocosm.lab.errors import UserError
from mesocosm.lab.identity import digest
from mesocosm.lab.interrupt import Interrupt
from mesocosm.lab.judge import Circumstances, Unfinished, judge, to_json
from mesocosm.lab.observer import Observer
from mesocosm.lab.plan import Plan
from mesocosm.lab.progress import Silent
from mesocosm.lab.report import write_report
from mesocosm.lab.store import Run, TrialStore, locked, read_record
from mesocosm.studies.interface import Study, Trial


def execute(
    study: Study,
    preset: str = "quick",
    *,
    config: Any = None,
    seeds: tuple[int, ...] | None = None,
    out: Path | None = None,
    fresh: bool = False,
    fail_fast: bool = False,
    observer: Observer | None = None,
    command: str = "",
) -> Run:
    """Run what is not finished yet, judge, draw and report.

    Args:
        study: what to run.
        preset: a name in `study.presets`.
        config: instead of the preset's; must be of the same type.
        seeds: instead of 0 .. n-1 of the preset.
        out: the run directory; by default under `runs/`.
        fresh: forget an earlier run in this directory.
        fail_fast: stop at the first failed trial.
        observer: told of every event.
        command: the command line, for the record.

    Raises:
        UserError: unknown preset, directory in use, not writable or of another study.
        KeyboardInterrupt: asked to stop; the same call resumes.
    """
    plan = Plan.of(study, preset, config, seeds, out)
    observer = observer or Silent()
    with locked(plan.path), Interrupt() as interrupt:
        if fresh:
            plan.forget()
        plan.check_directory()
        began = time.perf_counter()
        states = plan.states()
        plan.write_record(command, keep_fingerprints=any(state == "cached" for state, _ in states.values()))
        _run_trials(plan, states, observer, interrupt.asked, fail_fast)
        record = read_record(plan.path)
        atomic.write_json(plan.path / "run.json", record | {"wall_seconds": record["wall_seconds"] + time.perf_counter() - began})
        return _judge(plan.path, observer)


def judge_run(path: Path, observer: Observer | None = None) -> Run:
    """Judge again from the tables, without training; rewrites the claims, the figures and the report."""
    read_record(path)
    with locked(path):
        return _judge(path, observer or Silent())


def _judge(path: Path, observer: Observer) -> Run:
    run = Run(path)
    unfinished = [
        Unfinished(name, f"{status['state']}: {status['error']}" if status.get("error") else "not run")
        for name, status in run.trials.items()
        if status["state"] != "finished"
    ]
    circumstances = Circumstances(
        command=run.record["command"], changed=run.record["changes"], unfinished=unfinished, fingerprints=run.record["claims"]["checks"]
    )
    rows = judge(run.study.name, run.study.claims, run.view(), circumstances)
    atomic.write_bytes(path / "claims.json", to_json(rows).encode())
    write_report(run)
    observer.judged(rows)
    return run


def _run_trials(plan: Plan, states: Mapping[str, tuple[str, str]], observer: Observer, stopping: Callable[[], bool], fail_fast: bool) -> None:
    broken: dict[str, str] = {}
    by_name = {trial.name: trial for trial in plan.trials}
    for index, trial in enumerate(plan.trials, start=1):
        store = TrialStore(plan.path, trial.name)
        state, why = states[trial.name]
        if state == "cached":
            observer.trial_finished(trial.name, store.status["seconds"], cached=True)
            continue
        if parents := [name for name in trial.after if name in broken]:
            reason = f"needs {', '.join(parents)}"
            broken[trial.name] = reason
            store.clear()
            store.write_status(state="skipped", error=reason, identity=plan.identities[trial.name])
            observer.trial_skipped(trial.name, reason)
            continue
        if stopping():
            raise KeyboardInterrupt
        if state == "stale":
            observer.note(f"trial {trial.name} is run again: {why}")
        observer.trial_started(trial.name, index, len(plan.trials))
        if (error := _run_trial(plan, trial, {name: by_name[name] for name in trial.after}, observer, stopping)) is not None:
            broken[trial.name] = error
            observer.trial_failed(trial.name, error)
            if fail_fast:
                raise UserError(f"trial {trial.name} failed: {error} (its traceback is in {store.folder / 'error.txt'})")


def _run_trial(plan: Plan, trial: Trial, parents: Mapping[str, Trial], observer: Observer, stopping: Callable[[], bool]) -> str | None:
    """Run one trial to its status file; returns the error's line, or None."""
    store, parts = TrialStore(plan.path, trial.name), plan.identities[trial.name]
    store.clear()
    store.write_status(state="running", identity=parts)
    context = TrialContext(plan.path, trial, plan.seeds_of(trial), digest(parts), parents, observer, stopping)
    began = time.perf_counter()
    try:
        with jax.enable_x64(trial.precision == "float64"):
            tables = dict(trial.run(trial.config, context))
        if context.histories:
            tables["history"] = context.history()
        sums = {name: store.write_table(name, table) for name, table in tables.items()}
    except Exception as error:
        if isinstance(error, OSError):
            raise UserError(
                f"cannot write {error.filename or plan.path}: {error.strerror or error}; nothing finished is lost, the same command resumes"
            ) from error
        message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
        atomic.write_bytes(store.folder / "error.txt", traceback.format_exc().encode())
        store.write_status(state="failed", identity=parts, error=message, seconds=time.perf_counter() - began)
        return message
    seconds = time.perf_counter() - began
    (store.folder / "error.txt").unlink(missing_ok=True)
    compile_seconds = sum(fit["compile_seconds"] for fit in context.fits.values())
    store.write_status(
        state="finished", identity=parts, seconds=seconds, compile_seconds=compile_seconds, fits=context.fits, tables=sums, models=context.models
    )
    store.clear_checkpoints()
    observer.trial_finished(trial.name, seconds, cached=False)
    return None
