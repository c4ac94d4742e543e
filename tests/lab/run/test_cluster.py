"""A real cluster of two machines, both on this one: results have the bytes of a local run, whatever is lost on the way (`make cluster`)."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import mesocosm
from mesocosm.cli import main
from mesocosm.cli.parse import parse_command
from mesocosm.lab.store.run_directory import TrialStore
from watching import results

TESTS = Path(__file__).parents[2]
PATHS = [Path(mesocosm.__file__).parents[1], TESTS]
TRIALS = ("identity", "rolling", "frozen", "probe")
LONG = ("--config.steps", "60000", "--config.bowl.dim", "200")
DEADLINE = 600.0
RAY = importlib.util.find_spec("ray") is not None
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
real = pytest.mark.slow
needs_ray = pytest.mark.skipif(not RAY, reason="ray is not installed: make cluster")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "mesocosm", "run", "toy-study", "--preset", "smoke", *words]


def finish(process: subprocess.Popen) -> tuple[int, str]:
    told = process.communicate(timeout=DEADLINE)[0]
    return process.returncode, told


class Nodes:
    """Two machines with one CPU each."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 2**33, "object_store_memory": 10**8})
        self.second = self.add()
        self.address = self.cluster.address

    def add(self):
        return self.cluster.add_node(num_cpus=1, memory=2**33, object_store_memory=10**8)

    def start(self, out: Path, *words: str) -> subprocess.Popen:
        given = ["--ray", self.address, "--ray-cores", "1", "--ray-memory", "1", "--out", str(out), *words]
        return subprocess.Popen(command(*given), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def bucket():
    """The URL of a bucket, or None without a server; started before the machines, which know it from their environment."""
    if any(importlib.util.find_spec(name) is None for name in ("flask", "moto", "s3fs")):
        yield None
        return
    from s3_server import bucket

    with bucket() as url:
        yield url


@pytest.fixture(scope="module")
def nodes(bucket):
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "RAY_USAGE_STATS_ENABLED", "JAX_PLATFORMS")}
    os.environ |= {"PYTHONPATH": os.pathsep.join(map(str, PATHS)), "RAY_USAGE_STATS_ENABLED": "0", "JAX_PLATFORMS": "cpu"}
    made = Nodes()
    yield made
    made.cluster.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, nodes) -> dict[str, bytes]:
    """What a local run of the long trials finds out."""
    out = tmp_path_factory.mktemp("local") / "run"
    code, told = finish(subprocess.Popen(command(*LONG, "--out", str(out)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    assert code == 0, told
    return without_command(results(out))


def without_command(found: dict[str, bytes]) -> dict[str, bytes]:
    """The verdicts name the command, which differs."""
    return {name: re.sub(rb'"command": "[^\n]*"', b"", content) for name, content in found.items()}


def checkpointed(out: Path, trial: str = "rolling") -> bool:
    return (out / "trials" / trial / "checkpoints" / "descent.safetensors").exists()


def workers() -> list[psutil.Process]:
    """The processes that run trials."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith("ray::run_job"):
            found.append(process)
    return found


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


@real
@needs_ray
def test_a_cluster_computes_the_bytes_of_a_local_run(nodes, expected, tmp_path):
    code, told = finish(nodes.start(tmp_path / "run", *LONG))
    assert code == 0, told
    assert without_command(results(tmp_path / "run")) == expected
    for trial in TRIALS:
        assert re.search(rf"\[\d/4\] {trial} finished in", told), told
    assert re.search(r"\[\d/4\] rolling: descent \d+/60000 .* left", told), told
    # Nothing is run again, on a cluster or here.
    for again in (nodes.start(tmp_path / "run", *LONG), subprocess.Popen(command(*LONG, "--out", str(tmp_path / "run")), stdout=subprocess.PIPE, text=True)):
        code, told = finish(again)
        assert code == 0
        assert told.count("finished earlier") == len(TRIALS)


@real
@needs_ray
def test_a_worker_that_is_killed_is_replaced_and_resumes(nodes, expected, tmp_path):
    process = nodes.start(tmp_path / "run", *LONG)
    wait_for(lambda: checkpointed(tmp_path / "run") and workers(), process)
    for one in workers():
        one.kill()
    code, told = finish(process)
    assert code == 0, told
    assert re.search(r"trial rolling lost its process \(\w+\) and is started again, 1 of 3", told), told
    assert without_command(results(tmp_path / "run")) == expected


@real
@needs_ray
def test_a_machine_that_disappears_is_done_without(nodes, expected, tmp_path):
    process = nodes.start(tmp_path / "run", *LONG)
    wait_for(lambda: checkpointed(tmp_path / "run") and checkpointed(tmp_path / "run", "frozen"), process)  # one on each machine
    nodes.cluster.remove_node(nodes.second, allow_graceful=False)
    code, told = finish(process)
    nodes.second = nodes.add()
    assert code == 0, told
    assert "lost its process" in told
    assert without_command(results(tmp_path / "run")) == expected


@real
@needs_ray
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_dies_or_is_stopped_resumes(number, nodes, expected, tmp_path):
    process = nodes.start(tmp_path / "run", *LONG)
    wait_for(lambda: checkpointed(tmp_path / "run"), process)
    process.send_signal(number)
    code, told = finish(process)
    assert code == (-number if number == signal.SIGKILL else 130), told
    if number == signal.SIGINT:
        assert "nothing finished is lost. To resume: mesocosm run toy-study" in told
    code, told = finish(nodes.start(tmp_path / "run", *LONG))
    assert code == 0, told
    assert "resumes where it was interrupted" in told
    assert without_command(results(tmp_path / "run")) == expected


@real
@needs_ray
def test_a_run_in_a_bucket_resumes_with_another_driver(bucket, nodes, expected, tmp_path):
    if bucket is None:
        pytest.skip("an S3 server is not installed: make cluster")
    from mesocosm.lab.store.remote import Store

    store = Store(f"{bucket}/run")
    process = nodes.start(tmp_path / "one", *LONG, "--store", store.url)
    wait_for(lambda: any("checkpoints" in name for name in store.names()), process)
    process.kill()
    finish(process)
    code, told = finish(nodes.start(tmp_path / "two", *LONG, "--store", store.url))
    assert code == 0, told
    assert without_command(results(tmp_path / "two")) == expected
    names = store.names()
    assert not [name for name in names if "checkpoints" in name]
    store.pull(tmp_path / "three", names)
    assert without_command(results(tmp_path / "three")) == expected
    assert (tmp_path / "three" / "index.html").exists()


@real
@needs_ray
def test_memory_is_rehearsed_and_what_fits_nowhere_fails_in_one_line(nodes, tmp_path):
    words = ["--ray", nodes.address, "--ray-cores", "1", "--out", str(tmp_path / "run")]
    code, told = finish(subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    assert code == 0, told
    assert len(list((tmp_path / "run").glob("trials/*/rehearsal.json"))) == len(TRIALS)
    words[-1:] = [str(tmp_path / "large"), "--ray-memory", "4000"]
    code, told = finish(subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    assert code == 1, told
    assert "rolling FAILED: needs 4000.0 GiB of memory and 1 cores, and the largest machine that has these cores 8.0 GiB" in told
    assert "probe skipped: needs rolling" in told
    assert TrialStore(tmp_path / "large", "rolling").status["state"] == "failed"


@real
@needs_ray
def test_the_script_for_slurm_runs_under_a_scheduler_of_one_machine(tmp_path):
    """Its own words, with `srun` that runs its arguments and `scontrol` that names this machine."""
    page = (TESTS.parent / "docs" / "clusters.md").read_text()
    script = re.search(r'```bash title="mesocosm.sbatch"\n(.*?)```', page, re.DOTALL)
    assert script
    tools = {
        "mesocosm.sbatch": script[1],
        "srun": '#!/bin/sh\nexec "$@"\n',
        "scontrol": "#!/bin/sh\necho 127.0.0.1\n",
        "mesocosm": f'#!/bin/sh\nexec {sys.executable} -m mesocosm "$@"\n',
        "ray": f'#!/bin/sh\nexec {sys.executable} -m ray.scripts.scripts "$@"\n',
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, PATHS)), "RAY_USAGE_STATS_ENABLED": "0", "JAX_PLATFORMS": "cpu"}
    words = ["toy-study", "--preset", "smoke", "--ray-memory", "1", "--out", str(tmp_path / "run")]
    done = subprocess.run([tmp_path / "mesocosm.sbatch", *words], env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (tmp_path / "run" / "index.html").exists(), done.stdout + done.stderr
    assert len(list((tmp_path / "run").glob("trials/*/status.json"))) == len(TRIALS)


# --- without a cluster


@pytest.mark.parametrize("option", [("--ray-cores", "4"), ("--ray-memory", "3"), ("--store", "s3://bucket/run")])
def test_what_belongs_to_a_cluster_is_refused_without_one(option, capsys, tmp_path):
    assert main(["run", "toy-study", *option, "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"{option[0]} belongs to --ray" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("option", [("--ray-cores", "0"), ("--ray-memory", "-1"), ("--ray-memory", "inf")])
def test_numbers_out_of_range_are_refused(option, capsys, tmp_path):
    assert main(["run", "toy-study", "--ray", "auto", *option, "--out", str(tmp_path)]) == 2
    assert "--ray-cores must be 1 or more and --ray-memory 0 or more" in capsys.readouterr().err


def test_without_ray_one_line_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", "toy-study", "--ray", "auto", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == 'mesocosm: --ray needs Ray: pip install "mesocosm[ray]"\n'


def test_a_tour_gives_every_study_a_store_of_its_own():
    asked = parse_command(["run", "all", "--ray", "auto", "--ray-cores", "4", "--store", "s3://bucket/runs"])
    assert asked.words == ("--ray", "auto", "--ray-cores", "4")
    assert asked.command.store == "s3://bucket/runs"
