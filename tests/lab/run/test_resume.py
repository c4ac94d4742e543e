"""A run that is killed at any moment and started again ends with the very bytes of one that was never disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

import mesocosm
from mesocosm.lab.store.run_directory import TrialStore
from watching import results

STEPS = 60_000
DONE, STOPPED = 0, 130
SCRIPT = """
import sys
from pathlib import Path
from mesocosm.lab.catalogue import find
from mesocosm.lab.run.runner import execute
from toy_study.config import Bowl, Config


out, steps = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
try:
    execute(find("toy-study"), "smoke", config=Config(bowl=Bowl(dim=200), steps=steps), out=out, save_seconds=0.0)
except KeyboardInterrupt:
    sys.exit(130)
"""


def start(out: Path, steps: int) -> subprocess.Popen:
    """A fresh interpreter that runs the toy study and saves after every chunk; returns once everything is imported."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(mesocosm.__file__).parents[1]), str(Path(__file__).parents[2])]),
        "JAX_PLATFORMS": "cpu",
    }
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out), str(steps)], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen) -> int:
    process.communicate()
    return process.returncode


def progress(out: Path) -> tuple[int, int]:
    """(finished trials, steps saved of the running one)."""
    finished = sum(TrialStore(out, name).status["state"] == "finished" for name in ("identity", "rolling", "frozen", "probe"))
    saved = [int(load_file(file)["progress"][0]) for file in out.glob("trials/*/checkpoints/descent.safetensors")]
    return finished, max(saved, default=0)


def disturb(out: Path, steps: int, numbers: list[signal.Signals], delays: list[float]) -> list[tuple[int, int]]:
    """Start, disturb after a delay, start again; returns how far each attempt had come."""
    found = []
    for number, delay in zip(numbers, delays, strict=True):
        process = start(out, steps)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        code = finish(process)
        found.append(progress(out))
        if code == DONE:
            break
        # A request that comes before the run holds its directory, or after it has given it back, ends the process the system's way.
        assert code in ((-number,) if number == signal.SIGKILL else (STOPPED, -number))
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[dict[str, bytes], float]:
    """(results, seconds from the last import to the end)."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(out, STEPS)
    began = time.monotonic()
    assert finish(process) == DONE
    return results(out), time.monotonic() - began


def until_done(out: Path, steps: int) -> dict[str, bytes]:
    assert finish(start(out, steps)) == DONE
    assert not list(out.rglob("*.part"))
    assert not list(out.rglob("checkpoints"))
    return results(out)


@pytest.mark.slow
def test_killed_at_random_moments_ends_with_the_same_bytes(tmp_path, undisturbed):
    expected, seconds = undisturbed
    assert len(expected) == 9
    moments = random.Random()
    delays = [moments.uniform(0.3, 0.7) * seconds for _ in range(3)]
    found = disturb(tmp_path / "run", STEPS, [signal.SIGKILL] * 3, delays)
    assert found == sorted(found), delays  # nothing that was saved is lost
    assert until_done(tmp_path / "run", STEPS) == expected, delays


@pytest.mark.whole
def test_asked_to_stop_it_saves_and_goes_on_with_the_same_bytes(tmp_path, undisturbed):
    expected, _ = undisturbed
    reached = (1, 1024)
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start(tmp_path / "run", STEPS)
        while process.poll() is None and progress(tmp_path / "run") < reached:
            time.sleep(0.01)
        process.send_signal(number)
        assert finish(process) == STOPPED
        finished, saved = progress(tmp_path / "run")
        assert (finished, saved) >= reached
        assert finished < 4
        reached = (finished, saved + 1)
    assert until_done(tmp_path / "run", STEPS) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_disturbed_very_often_ends_with_the_same_bytes(tmp_path, undisturbed, seed):
    expected, seconds = undisturbed
    moments = random.Random(seed)
    numbers = [moments.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM]) for _ in range(12)]
    disturb(tmp_path / "run", STEPS, numbers, [moments.uniform(0.0, 0.5) * seconds for _ in numbers])
    assert until_done(tmp_path / "run", STEPS) == expected
