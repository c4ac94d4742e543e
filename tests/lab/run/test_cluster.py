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
SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from mesocosm.lab.catalogue import find
from mesocosm.lab.events.progress import PlainScreen
from mesocosm.lab.run.cluster import Cluster
from mesocosm.lab.run.runner import execute
from toy_study.config import Bowl, Config

out, address, store = sys.argv[1:]
config, cluster = Config(bowl=Bowl(dim=200), steps=600_000), Cluster(address, 1, 1.0, store or None) if address else None
try:
    with PlainScreen(Console(width=160)) as observer:
        execute(find("toy-study"), "smoke", config=config, out=Path(out), save_seconds=0.0, observer=observer, cluster=cluster)
except KeyboardInterrupt:
    sys.exit(130)
"""
"""Trains long, and saves after every chunk."""
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

    def start(self, out: Path, store: str = "") -> subprocess.Popen:
        """The script, on this cluster."""
        return start(out, self.address, store)


def start(out: Path, address: str = "", store: str = "") -> subprocess.Popen:
    """The script, here without an address."""
    command = [sys.executable, "-c", SCRIPT, str(out), address, store]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


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
    settings = {"PYTHONPATH": os.pathsep.join(map(str, PATHS)), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "JAX_PLATFORMS": "cpu"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ |= settings
    made = Nodes()
    yield made
    made.cluster.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, nodes) -> dict[str, bytes]:
    """What a local run of the long trials finds out."""
    out = tmp_path_factory.mktemp("local") / "run"
    code, told = finish(start(out))
    assert code == 0, told
    return results(out)


def checkpointed(out: Path, trial: str = "rolling") -> bool:
    return (out / "trials" / trial / "checkpoints" / "descent.safetensors").exists()


def workers() -> list[psutil.Process]:
    """The processes of this test's own machines that run trials; others on this computer are not ours to end."""
    return [process for process in psutil.Process().children(recursive=True) if (process.cmdline() or [""])[0].startswith("ray::run_job")]


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


@real
@needs_ray
def test_a_cluster_computes_the_bytes_of_a_local_run(nodes, expected, tmp_path):
    code, told = finish(nodes.start(tmp_path / "run"))
    assert code == 0, told
    assert results(tmp_path / "run") == expected
    for trial in TRIALS:
        assert re.search(rf"\[\d/4\] {trial} finished in", told), told
    assert re.search(r"\[\d/4\] rolling: descent \d+/600000 .* left", told), told
    # Nothing is run again, on a cluster or here.
    for again in (nodes.start(tmp_path / "run"), start(tmp_path / "run")):
        code, told = finish(again)
        assert code == 0
        assert told.count("finished earlier") == len(TRIALS)


@real
@needs_ray
def test_a_worker_that_is_killed_is_replaced_and_resumes(nodes, expected, tmp_path):
    process = nodes.start(tmp_path / "run")
    wait_for(lambda: checkpointed(tmp_path / "run") and workers(), process)
    for one in workers():
        one.kill()
    code, told = finish(process)
    assert code == 0, told
    assert re.search(r"trial rolling lost its process \(\w+\) and is started again, 1 of 3", told), told
    assert results(tmp_path / "run") == expected


@real
@needs_ray
def test_a_machine_that_disappears_is_done_without(nodes, expected, tmp_path):
    process = nodes.start(tmp_path / "run")
    wait_for(lambda: checkpointed(tmp_path / "run") and checkpointed(tmp_path / "run", "frozen"), process)  # one on each machine
    nodes.cluster.remove_node(nodes.second, allow_graceful=False)
    code, told = finish(process)
    nodes.second = nodes.add()
    assert code == 0, told
    assert "lost its process" in told
    assert results(tmp_path / "run") == expected


@real
@needs_ray
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_dies_or_is_stopped_resumes(number, nodes, expected, tmp_path):
    process = nodes.start(tmp_path / "run")
    wait_for(lambda: checkpointed(tmp_path / "run"), process)
    process.send_signal(number)
    code, told = finish(process)
    assert code == (-number if number == signal.SIGKILL else 130), told
    code, told = finish(nodes.start(tmp_path / "run"))
    assert code == 0, told
    assert "resumes where it was interrupted" in told
    assert results(tmp_path / "run") == expected


@real
@needs_ray
def test_a_head_that_dies_ends_the_run_which_resumes_on_another_cluster(nodes, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # for which Ray waits for the head to come back
    mortal = Nodes()
    try:
        process = mortal.start(tmp_path / "run")
        wait_for(lambda: checkpointed(tmp_path / "run"), process)
        mortal.cluster.head_node.kill_gcs_server()
        code, told = finish(process)
        assert code == 1, told
        assert "Failed to connect to GCS within 5 seconds" in told, told
    finally:
        mortal.cluster.shutdown()
    code, told = finish(nodes.start(tmp_path / "run"))
    assert code == 0, told
    assert "resumes where it was interrupted" in told
    assert results(tmp_path / "run") == expected


@real
@needs_ray
def test_a_run_in_a_bucket_resumes_with_another_driver(bucket, nodes, expected, tmp_path):
    if bucket is None:
        pytest.skip("an S3 server is not installed: make cluster")
    from mesocosm.lab.store.remote import Store

    store = Store(f"{bucket}/run")
    process = nodes.start(tmp_path / "one", store.url)
    wait_for(lambda: any("checkpoints" in name for name in store.names()), process)
    process.kill()
    finish(process)
    code, told = finish(nodes.start(tmp_path / "two", store.url))
    assert code == 0, told
    assert results(tmp_path / "two") == expected
    names = store.names()
    assert not [name for name in names if "checkpoints" in name]
    store.pull(tmp_path / "three", names)
    assert results(tmp_path / "three") == expected
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
def test_a_comparison_on_a_cluster_has_the_numbers_of_one_here(nodes, tmp_path):
    words = [str(Path(sys.executable).with_name("mesocosm")), "compare", "--preset", "smoke", "--out"]
    tables = []
    for name, where in (("cluster", ["--ray", nodes.address, "--ray-cores", "1", "--ray-memory", "1"]), ("here", [])):
        code, told = finish(subprocess.Popen([*words, str(tmp_path / name), *where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        assert code == 0, told
        tables.append([(tmp_path / name / table).read_text() for table in ("search.csv", "comparison.csv")])
    assert tables[0] == tables[1]


@real
@needs_ray
def test_a_search_on_a_cluster_has_the_table_of_one_here(nodes, tmp_path):
    words = [sys.executable, "-m", "mesocosm", "search", "toy-study", "--preset", "smoke", "--by", "heights.end", "--on", "rolling"]
    words += ["--over", "config.learning_rate=0.1,0.2", "--out"]
    tables = []
    for name, where in (("cluster", ["--ray", nodes.address, "--ray-cores", "1", "--ray-memory", "1"]), ("here", [])):
        code, told = finish(subprocess.Popen([*words, str(tmp_path / name), *where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        assert code == 0, told
        tables.append((tmp_path / name / "search.csv").read_text())
    assert tables[0] == tables[1]
    assert tables[0].count("\n") == 1 + 2 * 2  # two learning rates, two pilot seeds


# --- without a cluster


def test_the_script_for_slurm_gives_every_machine_its_part(tmp_path):
    """The page's own script under a scheduler of two machines that only note what they are told."""
    page = (TESTS.parent / "docs" / "clusters.md").read_text()
    script = re.search(r'```bash title="mesocosm.sbatch"\n(.*?)```', page, re.DOTALL)
    assert script
    tools = {
        "mesocosm.sbatch": script[1],
        "srun": '#!/bin/sh\n"$@"; "$@"\n',
        "scontrol": '#!/bin/sh\n[ "$*" = "show hostnames here[1-2]" ] && printf "here1\\nhere2\\n"\n',
        "ray": '#!/bin/sh\nprintf "%s\\n" "$@" "" >> "$NOTED"\n',
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "here[1-2]", "SLURM_JOB_NUM_NODES": "2", "NOTED": str(tmp_path / "noted")}
    words = ["toy-study", "--preset", "smoke", "--config.label", "two words"]
    subprocess.run([tmp_path / "mesocosm.sbatch", *words], env=environment, check=True)
    first, second, end = (tmp_path / "noted").read_text().split("\n\n")
    assert first == second
    assert end == ""
    told = first.split("\n")
    assert told[:6] == ["symmetric-run", "--address", "here1:6379", "--min-nodes", "2", "--"]
    assert told[6:8] == ["mesocosm", "run"]
    asked = parse_command(told[7:]).command
    assert (asked.study, asked.preset, asked.config.label, asked.where.ray) == ("toy-study", "smoke", "two words", "here1:6379")
    assert {"--nodes", "--ntasks-per-node", "--exclusive"} <= {
        line.split()[1].partition("=")[0] for line in script[1].splitlines() if line.startswith("#SBATCH")
    }


@needs_ray
@real
def test_ray_has_the_launcher_that_the_script_uses():
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    assert not curate_and_validate_ray_start_args(["--address", "here1:6379", "--min-nodes", "2"])


@pytest.mark.parametrize("option", [("--ray-cores", "4"), ("--ray-memory", "3"), ("--store", "s3://bucket/run")])
def test_what_belongs_to_a_cluster_is_refused_without_one(option, capsys, tmp_path):
    for words in (["run", "toy-study"], ["compare"]) if option[0] != "--store" else (["run", "toy-study"],):
        assert main([*words, *option, "--out", str(tmp_path)]) == 2
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
