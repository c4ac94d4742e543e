"""What `--track` writes, read back with the libraries that wrote it; and that a sink is never more than an onlooker."""

import json
import os
import shutil
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

import mesocosm.lab.events.track as track
from mesocosm.cli import main
from mesocosm.lab.catalogue import find
from mesocosm.lab.events.event import Note, Progress, RunStarted, TrialFailed, TrialFinished, TrialStarted
from mesocosm.lab.events.sinks import LIBRARIES, MLflow
from mesocosm.lab.events.track import Tracker, tracked
from mesocosm.lab.run.plan import Plan
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store.run_directory import Run
from watching import Remembering

pytestmark = pytest.mark.whole

TESTS = Path(__file__).parents[2]
INSTALLED = [name for name, library in LIBRARIES.items() if all(find_spec(module) for module in library.modules)]
QUIET = "ignore:The ``noload`` loader strategy:DeprecationWarning"  # SQLAlchemy's, at MLflow

WATCHED = """
import atexit, os, sys
asked = []
def listen(event, arguments):
    if event == "socket.getaddrinfo" or event == "socket.connect" and not isinstance(arguments[1], str | bytes):
        asked.append((event, arguments[1:]))
def tell():
    if asked:
        print("somebody asked for the network:", asked, file=sys.stderr, flush=True)
        os._exit(3)
atexit.register(tell)  # the first one is called last, when the libraries have said their farewells
sys.addaudithook(listen)
from mesocosm.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run with every installed sink, in a process that is watched for connections."""
    path = tmp_path_factory.mktemp("tracked") / "run"
    words = ["run", "toy-study", "--preset", "smoke", "--out", str(path), *(word for name in INSTALLED for word in ("--track", name))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", WATCHED, *words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stdout
    assert done.stderr == ""
    return Run(path)


def losses(run: Run, trial: str, seed: int) -> list[tuple[int, float]]:
    """What a sink must hold, from the run's own table."""
    return run.table("history", trial).filter(pl.col("seed") == seed).select("step", "loss").rows()


def narrow(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """As float32 holds them."""
    return [(step, struct.unpack("<f", struct.pack("<f", value))[0]) for step, value in points]


# --- TensorBoard ----------------------------------------------------------------------------------------------------


def events(folder: Path) -> list:
    """The events of all files of a folder; a record is length, its checksum, data, their checksum."""
    crc32c = pytest.importorskip("tensorboardX.crc32c").crc32c
    event = pytest.importorskip("tensorboardX.proto.event_pb2").Event
    found = []
    for file in sorted(folder.glob("events*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            body, checksum = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])[0]
            crc = crc32c(body)
            assert checksum == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
            found.append(event.FromString(body))
            data = data[16 + length :]
    return found


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, value.simple_value) for event in events(folder) for value in event.summary.value if value.tag == tag]


def texts(folder: Path) -> str:
    return "\n".join(value.tensor.string_val[0].decode() for event in events(folder) for value in event.summary.value if value.tensor.string_val)


def test_tensorboard_holds_every_seed_the_mean_the_config_and_the_verdicts(run):
    pytest.importorskip("tensorboardX")
    logs = run.path / "track" / "tensorboard"
    for trial in ("rolling", "frozen"):
        for seed in run.seeds:
            assert scalars(logs / "trials" / trial / f"seed-{seed}", "descent/loss") == narrow(losses(run, trial, seed))
    mean = scalars(logs / "trials" / "rolling" / "mean", "descent/loss")
    assert mean[0][1] == pytest.approx(sum(losses(run, "rolling", seed)[0][1] for seed in run.seeds) / 2, rel=1e-5)
    assert mean[-1][0] == 5
    assert '"learning_rate": 0.1' in texts(logs / "trials" / "rolling" / "seed-1")
    assert "| toy-study/C2.drop | not judged |" in texts(logs / "verdicts" / "smoke")
    assert not (logs / "trials" / "probe").exists()


# --- Weights & Biases -----------------------------------------------------------------------------------------------


def chunks(data: bytes) -> list[bytes]:
    """The records of an offline file: a head of 7 bytes, blocks of 32 KiB, of which each holds parts (checksum, length, kind) of records."""
    found, part, place = [], b"", 7
    while place < len(data):
        left = -place % 32768
        if 0 < left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        part += data[place + 7 : place + 7 + length]
        if kind in (1, 4):  # whole, or the last part
            found.append(part)
            part = b""
        place += 7 + length
    return found


def offline_runs(folder: Path) -> dict[str, list]:
    """Name of a run -> its records."""
    record = pytest.importorskip("wandb.proto.wandb_internal_pb2").Record
    found = {}
    for file in folder.glob("wandb/offline-run-*/*.wandb"):
        records = [record.FromString(chunk) for chunk in chunks(file.read_bytes())]
        found[next(part.run.display_name for part in records if part.WhichOneof("record_type") == "run")] = records
    return found


def history(records: list) -> list[dict]:
    items = [part.history.item for part in records if part.WhichOneof("record_type") == "history"]
    return [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in line} for line in items]


def test_wandb_holds_every_seed_the_config_and_the_verdicts(run):
    pytest.importorskip("wandb")
    logs = run.path / "track" / "wandb"
    runs = offline_runs(logs / "trials" / "rolling")
    assert set(runs) == {"rolling/mean", "rolling/seed-0", "rolling/seed-1"}
    for seed in run.seeds:
        lines = history(runs[f"rolling/seed-{seed}"])
        assert [(line["descent/step"], line["descent/loss"]) for line in lines] == losses(run, "rolling", seed)
    (setting,) = [part.run for part in runs["rolling/seed-0"] if part.WhichOneof("record_type") == "run"]
    assert {"learning_rate": "0.1", "steps": "5"}.items() <= {part.key: part.value_json for part in setting.config.update}.items()
    ((name, records),) = offline_runs(logs / "verdicts").items()
    assert name == "verdicts/smoke"
    told = {item.key or "/".join(item.nested_key): item.value_json for part in records for item in part.summary.update}
    assert told["toy-study/C2.drop/verdict"] == '"not judged"'


# --- MLflow ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings(QUIET)
def test_mlflow_holds_every_seed_the_config_and_the_verdicts(run):
    pytest.importorskip("sqlalchemy")
    client = pytest.importorskip("mlflow.tracking").MlflowClient(f"sqlite:///{run.path}/track/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("toy-study").experiment_id
    runs = {found.info.run_name: found for found in client.search_runs([experiment])}
    assert set(runs) == {f"{trial}/{name}" for trial in ("rolling", "frozen") for name in ("mean", "seed-0", "seed-1")} | {"verdicts/smoke"}
    for seed in run.seeds:
        points = client.get_metric_history(runs[f"rolling/seed-{seed}"].info.run_id, "descent/loss")
        assert sorted((point.step, point.value) for point in points) == losses(run, "rolling", seed)
    assert runs["rolling/mean"].data.params["bowl.dim"] == "4"
    verdicts = runs["verdicts/smoke"].data
    assert verdicts.tags["toy-study/C2.drop"] == "not judged"
    assert verdicts.metrics["toy-study/C2.drop/estimate"] == pytest.approx(next(row["estimate"] for row in run.claims if row["id"] == "toy-study/C2.drop"))


# --- when, and when again -------------------------------------------------------------------------------------------


class Notebook:
    """A sink that remembers; it may be told to fail."""

    def __init__(self, fail_at: int | None = None):
        self.lines: list[tuple] = []
        self.fail_at = fail_at

    def __call__(self, folder: Path, study: str) -> "Notebook":
        folder.mkdir(parents=True, exist_ok=True)
        return self

    def open(self, group, name, config) -> "Page":
        self.write("open", group, name)
        return Page(self, f"{group}/{name}")

    def forget(self, group) -> None:
        self.write("forget", group)

    def write(self, *words) -> None:
        if self.fail_at is not None and len(self.lines) >= self.fail_at:
            raise OSError("no space left on device")
        self.lines.append(words)


class Page:
    def __init__(self, notebook: Notebook, place: str):
        self.notebook, self.place = notebook, place

    def log(self, fit, step, metrics) -> None:
        self.notebook.write("log", self.place, step)

    def conclude(self, rows) -> None:
        self.notebook.write("conclude", len(rows))

    def close(self) -> None:
        self.notebook.write("close", self.place)


@pytest.fixture
def plan(tmp_path):
    return Plan.of(find("toy-study"), "smoke", out=tmp_path / "run")


def tracker(plan: Plan) -> tuple[Tracker, Notebook]:
    notebook = Notebook()
    made = Tracker("tensorboard", notebook, pytest.fail)
    made(RunStarted(plan))
    return made, notebook


def test_an_interrupted_trial_goes_on_with_its_curve(plan):
    first, _ = tracker(plan)
    first(TrialStarted("rolling", 1, 4))
    first(Progress("rolling", "descent", 2, 5, {"loss": 1.0}))
    first.close()
    second, notebook = tracker(plan)
    second(TrialStarted("rolling", 1, 4))
    second(Progress("rolling", "descent", 5, 5, {"loss": 0.5}))
    assert notebook.lines == [("open", "trials/rolling", "mean"), ("log", "trials/rolling/mean", 5)]


def test_a_trial_that_failed_or_has_changed_begins_anew(plan):
    first, _ = tracker(plan)
    for trial in ("rolling", "frozen"):
        first(TrialStarted(trial, 1, 4))
    first(TrialFailed("rolling", "the loss is NaN"))
    plan.identities["frozen"]["jax"] = "0.0.1"
    second, notebook = tracker(plan)
    for trial in ("rolling", "frozen"):
        second(TrialStarted(trial, 1, 4))
    assert notebook.lines == [("forget", "trials/rolling"), ("forget", "trials/frozen")]


def test_trials_finished_before_are_written_once(run, tmp_path):
    """First nobody tracks, then somebody does, twice."""
    shutil.copytree(run.path / "trials", tmp_path / "run" / "trials")
    plan = Plan.of(find("toy-study"), "smoke", out=tmp_path / "run")
    first, notebook = tracker(plan)
    first(TrialFinished("rolling", 1.0, cached=True))
    assert [line[2] for line in notebook.lines if line[:2] == ("log", "trials/rolling/seed-1")] == [1, 2, 3, 4, 5]
    second, notebook = tracker(plan)
    second(TrialFinished("rolling", 1.0, cached=True))
    assert notebook.lines == []
    plan.forget()
    assert not (plan.path / "track").exists()


# --- nothing but an onlooker ----------------------------------------------------------------------------------------

LEFT_OUT = "--track {} failed and is turned off; training continues (OSError: no space left on device)"


def test_a_sink_that_fails_is_told_once_and_changes_no_bit(tmp_path, monkeypatch, run):
    broken, sound = Notebook(fail_at=5), Notebook()
    monkeypatch.setattr(track, "load", {"wandb": broken, "mlflow": sound}.__getitem__)
    watching = Remembering()
    with tracked(["wandb", "mlflow"], watching) as observer:
        done = execute(find("toy-study"), "smoke", out=tmp_path / "run", observer=observer)
    assert watching.of("note") == [LEFT_OUT.format("wandb")]
    assert watching.of("finished") == ["identity", "rolling", "frozen", "probe"]
    assert sound.lines[-1] == ("close", "verdicts/smoke")
    assert {trial: status["tables"] for trial, status in done.trials.items()} == {trial: status["tables"] for trial, status in run.trials.items()}


def test_a_full_disk_is_told_and_not_waited_for(plan, monkeypatch):
    files = pytest.importorskip("tensorboardX.record_writer")
    sound, written = files.RecordWriter.write, []

    def write(self, data):
        if len(written) == 5:
            raise OSError("no space left on device")
        written.append(data)
        sound(self, data)

    monkeypatch.setattr(files.RecordWriter, "write", write)
    watching = Remembering()
    made = Tracker("tensorboard", LIBRARIES["tensorboard"].sink, lambda message: watching(Note(message)))
    made(RunStarted(plan))
    made(TrialStarted("rolling", 1, 4))
    for step in range(100):
        made(Progress("rolling", "descent", step, 100, {"loss": 1.0}))
    assert watching.of("note") == [LEFT_OUT.format("tensorboard")]


@pytest.mark.parametrize(("name", "packages"), [(name, library.packages) for name, library in LIBRARIES.items()])
def test_a_missing_library_is_one_line_before_anything_is_trained(name, packages, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, LIBRARIES[name].modules[0], None)
    for variable in LIBRARIES[name].environment:
        monkeypatch.setenv(variable, "")
    assert main(["run", "toy-study", "--track", name]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"mesocosm: --track {name} needs ")
    assert told.err.endswith(f"install it: pip install {packages}\n")
    assert told.err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["lr?x=1", "50%41"])
def test_mlflow_refuses_a_folder_that_it_would_mistake_for_another(name, tmp_path):
    pytest.importorskip("mlflow")
    with pytest.raises(ValueError, match=r"MLflow cannot write below a folder with [?%] in its name"):
        MLflow(tmp_path / name / "track", "study")
    assert not list(tmp_path.iterdir())


def test_no_library_is_imported_unless_it_is_asked_for():
    code = """
import sys
from mesocosm.lab.events.event import ignore
from mesocosm.lab.events.track import tracked

with tracked((), ignore):
    sys.exit(len({"tensorboardX", "wandb", "mlflow", "sqlalchemy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
