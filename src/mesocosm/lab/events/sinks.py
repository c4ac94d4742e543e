"""Writes training metrics for TensorBoard, Weights & Biases and MLflow with their own libraries, without network access.

A sink holds the library's runs by group and name, such as `trials/rolling` and `seed-0`. Each contains curves such as `descent/loss`.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from mesocosm.claims.judge import CheckRow
from mesocosm.lab.errors import UserError
from mesocosm.lab.formatting import interval_text, region_text
from mesocosm.lab.store.configuration import flat


@runtime_checkable
class Curves(Protocol):
    """An open run of the library."""

    def log(self, fit: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Write a fit's metrics at a step."""
        ...

    def conclude(self, rows: Sequence[CheckRow]) -> None:
        """Write the verdicts."""
        ...

    def close(self) -> None:
        """Finish the run."""
        ...


@runtime_checkable
class Sink(Protocol):
    """A library's files in one folder."""

    def open(self, group: str, name: str, config: Mapping[str, Any]) -> Curves:
        """Start or continue a run, and record its config."""
        ...

    def forget(self, group: str) -> None:
        """Remove the runs of a group."""
        ...


# --- TensorBoard ----------------------------------------------------------------------------------------------------


class TensorBoard:
    """Writes event files, one folder per run."""

    def __init__(self, folder: Path, study: str):
        self.folder = folder
        self.writer, self.summary, self.event = (import_module(f"tensorboardX.{part}") for part in ("event_file_writer", "summary", "proto.event_pb2"))

    def open(self, group: str, name: str, config: Mapping[str, Any]) -> Curves:
        """A new event file; TensorBoard joins the files of one folder."""
        folder = self.folder / group / name
        folder.mkdir(parents=True, exist_ok=True)
        # Not SummaryWriter: a full disk kills its thread, and logging would then block forever.
        curves = _EventFile(self, self.writer.EventsWriter(str(folder / "events")))
        curves.write(self.summary.text("config", f"```json\n{json.dumps(config, indent=2)}\n```"), 0)
        return curves

    def forget(self, group: str) -> None:
        """Remove the group's folder."""
        shutil.rmtree(self.folder / group, ignore_errors=True)


class _EventFile:
    def __init__(self, sink: TensorBoard, file: Any):
        self.sink, self.file = sink, file

    def log(self, fit: str, step: int, metrics: Mapping[str, Any]) -> None:
        for metric, value in metrics.items():
            self.write(self.sink.summary.scalar(f"{fit}/{metric}", float(value)), step)
        self.file.flush()  # so that TensorBoard shows it at once

    def conclude(self, rows: Sequence[CheckRow]) -> None:
        self.write(self.sink.summary.text("verdicts", verdicts_text(rows)), 0)
        for metric, value in verdict_numbers(rows).items():
            self.write(self.sink.summary.scalar(metric, value), 0)

    def write(self, summary: Any, step: int) -> None:
        self.file.write_event(self.sink.event.Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        self.file.close()


# --- Weights & Biases -----------------------------------------------------------------------------------------------


class WeightsAndBiases:
    """Writes offline runs; only `wandb sync` uploads them."""

    def __init__(self, folder: Path, study: str):
        self.folder, self.study = folder, study
        self.wandb = import_module("wandb")

    def open(self, group: str, name: str, config: Mapping[str, Any]) -> Curves:
        """Start a new offline run; an earlier one cannot be resumed without a server."""
        folder = self.folder / group
        folder.mkdir(parents=True, exist_ok=True)  # else the library would write elsewhere
        quiet = {"silent": True, "console": "off", "disable_git": True, "disable_code": True, "x_disable_stats": True}
        settings = self.wandb.Settings(mode="offline", **quiet)
        label = f"{group}/{name}".removeprefix("trials/")
        return _OfflineRun(
            self.wandb.init(project=self.study, dir=str(folder), group=group, name=label, config=dict(config), reinit="create_new", settings=settings)
        )

    def forget(self, group: str) -> None:
        """Remove the group's folder."""
        shutil.rmtree(self.folder / group, ignore_errors=True)


class _OfflineRun:
    def __init__(self, run: Any):
        self.run = run
        self.fits: set[str] = set()

    def log(self, fit: str, step: int, metrics: Mapping[str, Any]) -> None:
        if fit not in self.fits:  # each fit counts its own steps
            self.run.define_metric(f"{fit}/step", hidden=True)
            self.run.define_metric(f"{fit}/*", step_metric=f"{fit}/step")
            self.fits.add(fit)
        self.run.log({f"{fit}/step": step, **{f"{fit}/{metric}": float(value) for metric, value in metrics.items()}})

    def conclude(self, rows: Sequence[CheckRow]) -> None:
        self.run.summary.update({f"{row.id}/verdict": row.verdict for row in rows} | verdict_numbers(rows))

    def close(self) -> None:
        self.run.finish()


# --- MLflow ---------------------------------------------------------------------------------------------------------


class MLflow:
    """Writes one SQLite file. The study is an experiment; tags hold group and name."""

    def __init__(self, folder: Path, study: str):
        self.entities = import_module("mlflow.entities")
        if strange := {"?", "%"} & set(folder.as_posix()):  # MLflow parses its database's path as a URL, and would write elsewhere
            raise ValueError(f"MLflow cannot write below a folder with {' or '.join(sorted(strange))} in its name")
        folder.mkdir(parents=True, exist_ok=True)
        database = f"sqlite:///{folder.as_posix()}/mlflow.db"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SQLAlchemy's, about MLflow
            self.client = import_module("mlflow.tracking").MlflowClient(tracking_uri=database, registry_uri=database)
            known = self.client.get_experiment_by_name(study)
            self.experiment = known.experiment_id if known else self.client.create_experiment(study, artifact_location=(folder / "artifacts").as_uri())

    def open(self, group: str, name: str, config: Mapping[str, Any]) -> Curves:
        """The run of this group and name, created if missing."""
        known = self.client.search_runs([self.experiment], f"tags.`group` = '{group}' and tags.`name` = '{name}'")
        label = f"{group}/{name}".removeprefix("trials/")
        run = known[0] if known else self.client.create_run(self.experiment, run_name=label, tags={"group": group, "name": name})
        params = [self.entities.Param(_mlflow_name(field), str(value)) for field, value in flat(config).items()]
        for first in range(0, len(params), 100):  # the largest batch
            self.client.log_batch(run.info.run_id, params=params[first : first + 100])
        return _DatabaseRun(self, run.info.run_id)

    def forget(self, group: str) -> None:
        """Delete the group's runs."""
        while found := self.client.search_runs([self.experiment], f"tags.`group` = '{group}'"):
            for run in found:
                self.client.delete_run(run.info.run_id)


class _DatabaseRun:
    def __init__(self, sink: MLflow, run: str):
        self.sink, self.run = sink, run
        self.waiting: list[Any] = []
        self.written = 0.0

    def log(self, fit: str, step: int, metrics: Mapping[str, Any]) -> None:
        self._keep({f"{fit}/{metric}": float(value) for metric, value in metrics.items()}, step)

    def conclude(self, rows: Sequence[CheckRow]) -> None:
        for row in rows:
            self.sink.client.set_tag(self.run, _mlflow_name(row.id), row.verdict)
        self._keep(verdict_numbers(rows), 0)

    def _keep(self, values: Mapping[str, float], step: int) -> None:
        """Buffers the values, since one transaction per value is slow. Writes every two seconds or when a batch is full."""
        now = int(1000 * time.time())
        self.waiting += [self.sink.entities.Metric(_mlflow_name(name), value, now, step) for name, value in values.items()]
        if len(self.waiting) >= 1000 or time.monotonic() - self.written > 2:
            self._write()

    def _write(self) -> None:
        for first in range(0, len(self.waiting), 1000):  # the largest batch
            self.sink.client.log_batch(self.run, metrics=self.waiting[first : first + 1000])
        self.waiting, self.written = [], time.monotonic()

    def close(self) -> None:
        self._write()
        self.sink.client.set_terminated(self.run)


def _mlflow_name(name: str) -> str:
    """Replaces characters that MLflow does not allow."""
    return re.sub(r"[^\w\-. :/]", "_", name)


# --- the verdicts ---------------------------------------------------------------------------------------------------


def verdict_numbers(rows: Sequence[CheckRow]) -> dict[str, float]:
    """Each check's estimate and interval, where finite."""
    ends = {f"{row.id}/{part}": getattr(row, part) for row in rows for part in ("estimate", "low", "high")}
    return {name: value for name, value in ends.items() if value is not None and math.isfinite(value)}


def verdicts_text(rows: Sequence[CheckRow]) -> str:
    """The verdicts as a Markdown table."""
    lines = ["| check | verdict | estimate [95 %] | holds if |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {row.id} | {row.verdict} | {interval_text(vars(row))} | {region_text(vars(row))} |" for row in rows])


# --- the libraries --------------------------------------------------------------------------------------------------


class Library(NamedTuple):
    """A tracking library.

    Attributes:
        sink: creates a sink from a folder and the study's name.
        modules: modules to import.
        packages: packages to install with pip.
        environment: variables that turn off telemetry and log messages.
    """

    sink: Callable[[Path, str], Sink]
    modules: tuple[str, ...]
    packages: str
    environment: Mapping[str, str]


LIBRARIES = {
    "tensorboard": Library(TensorBoard, ("tensorboardX",), "tensorboardX", {}),
    "wandb": Library(WeightsAndBiases, ("wandb",), "wandb", {"WANDB_ERROR_REPORTING": "false"}),
    "mlflow": Library(
        MLflow,
        ("mlflow", "sqlalchemy", "alembic"),
        "mlflow-skinny sqlalchemy alembic",
        {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"},
    ),
}


def load(name: str) -> Callable[[Path, str], Sink]:
    """Import a sink's library.

    Raises:
        UserError: it is not installed, or cannot be imported.
    """
    library = LIBRARIES[name]
    os.environ.update(library.environment)
    for module in library.modules:
        try:
            import_module(module)
        except ImportError as error:
            raise UserError(f"--track {name} needs {module}, which cannot be imported ({error}); install it: pip install {library.packages}") from error
    return library.sink
