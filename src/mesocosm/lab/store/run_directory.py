"""The run directory: writes a run's files while a study runs; `Run` reads them afterwards.

run.json                     config, versions, device, command, claims' fingerprints
code.json                    the definitions behind each trial's identity, with their hashes
trials/NAME/status.json      state, identity, times, checksums
trials/NAME/tables/*.parquet tables, among them `history`: training metrics by step
trials/NAME/checkpoints/     states of fits, while the trial runs
models/NAME/*.safetensors    final parameters of every seed
claims.json figures/ index.html
history.json                 the study's records up to this one (`history`); only large presets write it
track/NAME/                  files written by `--track NAME`; never read here
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import polars as pl

from mesocosm.claims.judge import CheckRow
from mesocosm.claims.replicates import NotJudged
from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UnknownFormat, UserError
from mesocosm.lab.formatting import from_here
from mesocosm.lab.store import atomic
from mesocosm.lab.store.configuration import from_plain
from mesocosm.lab.store.formats import FORMAT, Finished, Record, Status, defect
from mesocosm.studies.interface import Study, Trial, View

OPTIONAL = {field.name: field.default for field in fields(CheckRow) if field.default is not MISSING} | {"earlier": []}
"""Default values of fields that earlier versions did not write to `claims.json`."""
SECONDS_FOR_A_LOOK = 0.2  # a process that only checks whether the run is in use holds its lock for an instant
REMEDIES = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "use a writable directory (run: --out)"),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR, errno.ENOTDIR), "another file is in its place; move it"),
}


class TrialStore:
    """One trial's files."""

    def __init__(self, run: Path, name: str):
        self.name = name
        self.folder = run / "trials" / name
        self.models = run / "models" / name

    @property
    def status(self) -> dict[str, Any]:
        """The status file; {"state": "waiting"} if it is missing or damaged."""
        try:
            status = atomic.read_json(self.folder / "status.json")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {"state": "waiting"}
        finished = isinstance(status, dict) and status.get("state") == "finished"
        return {"state": "waiting"} if defect(status, Finished if finished else Status) else status

    def write_status(self, **status: Any) -> None:
        """Replace the status file."""
        atomic.write_json(self.folder / "status.json", status)

    def write_table(self, name: str, table: pl.DataFrame) -> str:
        """Write one table; returns its checksum."""
        path = self.folder / "tables" / f"{name}.parquet"
        atomic.write(path, lambda temporary: table.write_parquet(temporary, compression="zstd"))
        return atomic.checksum(path)

    def damage(self, *, models: bool = True) -> str | None:
        """Why a finished trial's files cannot be used, or None. A committed record may lack its large models; its tables are still judged."""
        status = self.status
        sums = {self.folder / "tables" / f"{name}.parquet": checksum for name, checksum in status.get("tables", {}).items()}
        if models:
            sums |= {self.models / f"{name}.safetensors": checksum for name, checksum in status.get("models", {}).items()}
        for path, checksum in sums.items():
            if not path.exists():
                return f"{path.name} is missing"
            if atomic.checksum(path) != checksum:
                return f"{path.name} is damaged (wrong checksum)"
        return None

    def tables(self) -> dict[str, pl.DataFrame]:
        """A finished trial's tables.

        Raises:
            UserError: a table is missing or damaged.
        """
        status = self.status
        if status["state"] != "finished":
            return {}
        if (damage := self.damage(models=False)) is not None:
            raise UserError(f"trial {self.name}: {damage}; run the study again to repair it")
        return {name: self._table(name) for name in status["tables"]}

    def _table(self, name: str) -> pl.DataFrame:
        try:
            return pl.read_parquet(self.folder / "tables" / f"{name}.parquet", glob=False)  # the run's path is the user's: [, ] and * are literal
        except pl.exceptions.PolarsError:  # the checksum matches, so running again would keep it
            raise UserError(f"trial {self.name}: {name}.parquet is not a Parquet file; run the study with --fresh to recreate it") from None

    def clear(self) -> None:
        """Remove everything except checkpoints, which record their trial's identity."""
        for folder in (self.folder / "tables", self.models):
            shutil.rmtree(folder, ignore_errors=True)
        (self.folder / "status.json").unlink(missing_ok=True)

    def clear_checkpoints(self) -> None:
        """Remove the checkpoints of a finished trial."""
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the run directory against a second writer.

    Raises:
        UserError: another process holds the lock, or the directory is not writable.
    """
    lock = filelock.FileLock(path / ".lock")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=SECONDS_FOR_A_LOOK)
    except filelock.Timeout:
        raise UserError(f"{path} is being written by another process; wait for it, or choose another directory with --out") from None
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror or error}; use a writable directory (run: --out)") from None
    try:
        with run_file_errors(path):
            atomic.sweep(path)
            yield
    finally:
        lock.release()


def in_use(path: Path) -> bool:
    """Whether another process is writing to the run directory; True if the lock cannot be tested."""
    if not (path / ".lock").exists():
        return False
    lock = filelock.FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError as error:
        return error.errno != errno.EROFS
    lock.release()
    return False


@contextmanager
def run_file_errors(path: Path) -> Iterator[None]:
    """Converts OSErrors on run files into user errors.

    Raises:
        UserError: a file could not be read or written.
    """
    try:
        yield
    except OSError as error:
        if not is_run_file_error(path, error):
            raise
        remedy = f"; {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
        deed = "write" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS) else "read or write"
        file = os.fsdecode(error.filename or path)
        raise UserError(f"cannot {deed} {file}: {error.strerror}{remedy}; finished trials are kept, the same command resumes") from error


def is_run_file_error(path: Path, error: OSError) -> bool:
    """Whether the error concerns the run's own files, not a file that a study reads."""
    inside = error.filename is not None and Path(os.fsdecode(error.filename)).is_relative_to(path)
    return inside or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def read_record(path: Path) -> dict[str, Any]:
    """Read run.json.

    Raises:
        UserError: the path is not a run directory, or run.json cannot be read.
        UnknownFormat: another version wrote it in a different format.
    """
    try:
        record = atomic.read_json(path / "run.json")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is not a run directory (it has no run.json)") from None
    except (ValueError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path / 'run.json'} cannot be read: {why}; move it away, or choose another directory") from None
    if not isinstance(record, dict) or "format" not in record:
        raise UnknownFormat(f"{path / 'run.json'} was not written by mesocosm: it has no format field; choose another directory")
    if record["format"] != FORMAT:
        told = f"{path} was written in run format {json.dumps(record['format'])[:20]}; this version reads format {FORMAT}"
        raise UnknownFormat(f"{told}: use the version that wrote it, or another directory")
    if (wrong := defect(record, Record)) is not None:
        raise UnknownFormat(f"{path / 'run.json'} is damaged or not mesocosm's: {wrong}; move it away, or choose another directory")
    return record


def read_code(path: Path) -> dict[str, Mapping[str, str]]:
    """Read code.json: name of a trial's code -> definition -> hash. Empty if missing or damaged, since it only explains what has changed."""
    try:
        known = atomic.read_json(path / "code.json")
    except (OSError, ValueError):
        return {}
    return {} if defect(known, dict[str, dict[str, str]]) else known


def write_code(path: Path, codes: Mapping[str, Mapping[str, str]]) -> None:
    """Replace code.json; keeps earlier entries that trials still cite."""
    cited = [TrialStore(path, file.parent.name).status.get("identity", {}).get("code") for file in path.glob("trials/*/status.json")]
    atomic.write_json(path / "code.json", {name: known for name, known in read_code(path).items() if name in cited} | dict(codes))


def config_from_record(study: Study, record: Mapping[str, Any]) -> Any:
    """The config of a recorded run.

    Raises:
        UserError: the fields of the study's config have changed since.
    """
    preset = study.presets.get(record["preset"])
    if preset is None:
        raise UserError(f"study {study.name} no longer has this run's preset {record['preset']!r}; it has {', '.join(study.presets)}")
    try:
        config = from_plain(record["config"], type(preset.config))
        study.trials(config)
    except Exception as error:
        raise UserError(f"this run's config does not fit the study {study.name} of this version: {error}") from None
    return config


class Run:
    """Reads a run directory. Tables and claims are read once, on first use; create a new `Run` to read them again.

    Attributes:
        path: the directory.
        record: run.json.
        study: the study in this version.
        preset: name of the preset it started from.
        config: the config it was made with.
        seeds: the replicates.
    """

    def __init__(self, path: str | Path, study: Study | None = None):
        self.path = Path(path)
        self.record = read_record(self.path)
        self.study = study or find(self.record["study"])
        self.preset: str = self.record["preset"]
        self.config = config_from_record(self.study, self.record)
        self.seeds = tuple(self.record["seeds"])

    def __repr__(self) -> str:
        return f"Run({from_here(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: verdicts and figures."""
        from mesocosm.lab.report.notebook import run_display

        return run_display(self)

    @cached_property
    def claims(self) -> list[dict[str, Any]]:
        """The judged checks, rows of claims.json.

        Raises:
            UserError: the run has not been judged, or the file is damaged.
        """
        try:
            rows = atomic.read_json(self.path / "claims.json")
        except FileNotFoundError:
            raise UserError(f"{self.path} has not been judged yet; finish the run, or judge it with `mesocosm judge {self.path}`") from None
        except ValueError as error:
            raise self._damaged_claims(error) from None
        if (wrong := defect(rows, list[CheckRow])) is not None:
            raise self._damaged_claims(wrong)
        return [OPTIONAL | row for row in rows]

    def _damaged_claims(self, why: object) -> UserError:
        return UserError(f"{self.path / 'claims.json'} is damaged ({why}); `mesocosm judge {self.path}` rewrites it")

    @property
    def trials(self) -> dict[str, dict[str, Any]]:
        """Trial -> status file, in the study's order."""
        return {trial.name: TrialStore(self.path, trial.name).status for trial in self.study.trials(self.config)}

    @property
    def outdated(self) -> dict[str, list[str]]:
        """Finished trial -> definitions that have changed since; empty for a record made with the current code."""
        from mesocosm.lab.store.code import changed_code, trial_code

        found, known = {}, read_code(self.path)
        for trial in self.study.trials(self.config):
            status = TrialStore(self.path, trial.name).status
            if status["state"] == "finished" and (changed := changed_code(status["identity"].get("code"), trial_code(trial), known)):
                found[trial.name] = changed
        return found

    def table(self, name: str, trial: str | None = None) -> pl.DataFrame:
        """One trial's table, or all trials' tables of this name concatenated, with the column `trial`.

        Raises:
            KeyError: there is no such table.
        """
        if trial is not None:
            return TrialStore(self.path, trial).tables()[name]
        try:
            return self.view().table(name)
        except NotJudged as error:
            raise KeyError(str(error)) from None

    @cached_property
    def tables(self) -> dict[str, pl.DataFrame]:
        """Every table by name, over all finished trials."""
        parts: dict[str, list[pl.DataFrame]] = {}
        for trial in self.trials:
            for name, table in TrialStore(self.path, trial).tables().items():
                parts.setdefault(name, []).append(table.select(pl.lit(trial).alias("trial"), pl.all()))
        return {name: pl.concat(tables, how="diagonal_relaxed") for name, tables in parts.items()}

    def view(self) -> View:
        """The view that measurements and figures read."""
        return View(self.config, self.preset, self.tables)

    @property
    def figures(self) -> dict[str, Any]:
        """Name -> Altair chart, for every figure whose tables exist."""
        charts, view = {}, self.view()
        for figure in self.study.figures:
            try:
                charts[figure.name] = figure.draw(view)
            except NotJudged:
                continue
        return charts

    def model(self, trial: str, name: str | None = None, seed: int | None = 0) -> Any:
        """Rebuild a published module with the parameters of one seed (None: all seeds, stacked).

        Raises:
            KeyError: the trial publishes no such model.
        """
        return published_model(self.path, self._trial(trial), name, seed)

    def _trial(self, name: str) -> Trial:
        for trial in self.study.trials(self.config):
            if trial.name == name:
                return trial
        raise KeyError(f"study {self.study.name} has no trial {name!r} in this config")


def model_name(trial: Trial, name: str | None) -> str:
    """The name of a published model; it can be omitted if the trial publishes only one.

    Raises:
        KeyError: there is no such model, or there are several.
    """
    if name is None and len(trial.models) == 1:
        return next(iter(trial.models))
    if name is None or name not in trial.models:
        asked = "" if not trial.models else "; name one of them" if name is None else f"; asked for {name!r}"
        raise KeyError(f"trial {trial.name} publishes {', '.join(trial.models) or 'no models'}{asked}")
    return name


def published_model(run: Path, trial: Trial, name: str | None, seed: int | list[int] | None) -> Any:
    """Load `models/TRIAL/NAME.safetensors`."""
    from mesocosm.lab.store.parameters import load_model

    name = model_name(trial, name)
    store = TrialStore(run, trial.name)
    path = store.models / f"{name}.safetensors"
    if not path.exists():
        raise KeyError(f"trial {trial.name} has not published {name!r} in {run}")
    if atomic.checksum(path) != store.status.get("models", {}).get(name):
        raise UserError(f"trial {trial.name}: {path.name} is damaged (wrong checksum); run the study again to repair it")
    return load_model(path, trial.models[name], trial.config, seed, trial.precision)
