"""Where training metrics can be written besides the run's tables: TensorBoard, Weights & Biases, MLflow, each by its own library, without a network.

A sink holds what its library calls runs, by group and name: `trials/rolling` and `seed-0`; in it lie curves such as `descent/loss`.
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
    """One run of the library, open for writing."""

    def log(self, fit: str, step: int, metrics: Mapping[str, Any]) -> None:
        """The metrics of a fit at a step."""
        ...

    def conclude(self, rows: Sequence[CheckRow]) -> None:
        """The verdicts."""
        ...

    def close(self) -> None:
        """All is written."""
        ...


@runtime_checkable
class Sink(Protocol):
    """A library's files below one folder."""

    def open(self, group: str, name: str, config: Mapping[str, Any]) -> Curves:
        """Begin a run, or go on with it, and write down the config behind it."""
        ...

    def forget(self, group: str) -> None:
        """Remove the runs of a group."""
        ...


# --- TensorBoard ----------------------------------------------------------------------------------------------------


class TensorBoard:
    """Event files, a folder for each run."""

    def __init__(self, folder: Path, study: str):
        self.folder = folder
        self.writer, self.summary, self.event = (import_module(f"tensorboardX.{part}") for part in ("event_file_writer", "summary", "proto.event_pb2"))

    def open(self, group: str, name: str, config: Mapping[str, Any]) -> Curves:
        """A new event file; TensorBoard joins the files of one folder."""
        folder = self.folder / group / name
        folder.mkdir(parents=True, exist_ok=True)
        # Not SummaryWriter: its thread dies of a full disk, and whoever logs would wait for it for ever.
        curves = _EventFile(self, self.writer.EventsWriter(str(folder / "events")))
        curves.write(self.summary.text("config", f"```json\n{json.dumps(config, indent=2)}\n```"), 0)
        return curves

    def forget(self, group: str) -> None:
        """Remove their folder."""
        shutil.rmtree(self.folder / group, ignore_errors=True)


class _EventFile:
    def __init__(self, sink: TensorBoard, file: Any):
        self.sink, self.file = sink, file

    def log(self, fit: str, step: int, metrics: Mapping[str, Any]) -> None:
        for metric, value in metrics.items():
            self.write(self.sink.summary.scalar(f"{fit}/{metric}", float(value)), step)
        self.file.flush()  # for whoever watches

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
    """Offline runs; `wandb sync` uploads them, nothing else does."""

    def __init__(self, folder: Path, study: str):
        self.folder, self.study = folder, study
        self.wandb = import_module("wandb")

    def open(self, group: str, name: str, config: Mapping[str, Any]) -> Curves:
        """A new offline run: without a server an earlier one cannot be taken up again."""
        folder = self.folder / group
        folder.mkdir(parents=True, exist_ok=True)  # else the library would write elsewhere
        quiet = {"silent": True, "console": "off", "disable_git": True, "disable_code": True, "x_disable_stats": True}
        settings = self.wandb.Settings(mode="offline", **quiet)
        label = f"{group}/{name}".removeprefix("trials/")
        return _OfflineRun(
            self.wandb.init(project=self.study, dir=str(folder), group=group, name=label, config=dict(config), reinit="create_new", settings=settings)
        )

    def forget(self, group: str) -> None:
        """Remove their folder."""
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
    """One SQLite file. The study is an experiment; tags hold group and name."""

    def __init__(self, folder: Path, study: str):
        self.entities = import_module("mlflow.entities")
        folder.mkdir(parents=True, exist_ok=True)
        database = f"sqlite:///{folder.as_posix()}/mlflow.db"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of SQLAlchemy, at MLflow
            self.client = import_module("mlflow.tracking").MlflowClient(tracking_uri=database, registry_uri=database)
            known = self.client.get_experiment_by_name(study)
            self.experiment = known.experiment_id if known else self.client.create_experiment(study, artifact_location=(folder / "artifacts").as_uri())

    def open(self, group: str, name: str, config: Mapping[str, Any]) -> Curves:
        """The run of this group and name, made where there is none."""
        known = self.client.search_runs([self.experiment], f"tags.`group` = '{group}' and tags.`name` = '{name}'")
        label = f"{group}/{name}".removeprefix("trials/")
        run = known[0] if known else self.client.create_run(self.experiment, run_name=label, tags={"group": group, "name": name})
        params = [self.entities.Param(_mlflow_name(field), str(value)) for field, value in flat(config).items()]
        for first in range(0, len(params), 100):  # as many as a batch takes
            self.client.log_batch(run.info.run_id, params=params[first : first + 100])
        return _DatabaseRun(self, run.info.run_id)

    def forget(self, group: str) -> None:
        """Delete them."""
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
        """A transaction a number would be slow: they are written together, every two seconds or as soon as a batch is full."""
        now = int(1000 * time.time())
        self.waiting += [self.sink.entities.Metric(_mlflow_name(name), value, now, step) for name, value in values.items()]
        if len(self.waiting) >= 1000 or time.monotonic() - self.written > 2:
            self._write()

    def _write(self) -> None:
        for first in range(0, len(self.waiting), 1000):  # as many as a batch takes
            self.sink.client.log_batch(self.run, metrics=self.waiting[first : first + 1000])
        self.waiting, self.written = [], time.monotonic()

    def close(self) -> None:
        self._write()
        self.sink.client.set_terminated(self.run)


def _mlflow_name(name: str) -> str:
    """With the signs that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)


# --- the verdicts ---------------------------------------------------------------------------------------------------


def verdict_numbers(rows: Sequence[CheckRow]) -> dict[str, float]:
    """Estimate and interval of each check, as far as there are any."""
    ends = {f"{row.id}/{part}": getattr(row, part) for row in rows for part in ("estimate", "low", "high")}
    return {name: value for name, value in ends.items() if value is not None and math.isfinite(value)}


def verdicts_text(rows: Sequence[CheckRow]) -> str:
    """The verdicts as a Markdown table."""
    lines = ["| check | verdict | estimate [95 %] | holds if |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {row.id} | {row.verdict} | {interval_text(vars(row))} | {region_text(vars(row))} |" for row in rows])


# --- the libraries --------------------------------------------------------------------------------------------------


class Library(NamedTuple):
    """What a sink needs.

    Attributes:
        sink: makes it from a folder and the study's name.
        modules: what is imported.
        packages: what pip must install.
        environment: what keeps the library off the network, even from telling its makers that it is used.
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
