"""A run whose main thread is inside a compiled program, waiting for ever or computing for long, can be stopped, stops by itself, and resumes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mesocosm.lab.run import interrupt
from mesocosm.lab.run.interrupt import Interrupt
from mesocosm.lab.store.run_directory import Run

# The last trial's program never ends: it waits in a callback without using the processor, or it multiplies.
STUCK = """
import sys, threading
import jax, jax.numpy as jnp
import toy_study.trials
from mesocosm.cli import main
from mesocosm.lab.run import interrupt

def waiting(ball):
    print("inside", flush=True)
    return jax.pure_callback(lambda x: (threading.Event().wait(), x)[1], jax.ShapeDtypeStruct((), "float32"), ball.position[0])

def computing(ball):
    print("inside", flush=True)
    return jax.lax.fori_loop(0, 2**30, lambda i, x: jnp.tanh(x @ x), jnp.ones((64, 64)) * ball.position[0])[0, 0]

def probe(config, context):
    context.evaluate({"waiting": waiting, "computing": computing}[sys.argv[1]], context.model("rolling", "ball"))

probe.__module__, toy_study.trials.probe = "toy_study.trials", probe
interrupt.GRACE_SECONDS = 2.0
sys.exit(main(sys.argv[2:]))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu"}


@pytest.fixture
def stuck():
    """Starts the run that never ends, and sees to it that it does not outlive the test."""
    started = []

    def start(kind: str, out: Path, after: float) -> subprocess.Popen:
        words = [kind, "run", "toy-study", "--preset", "smoke", "--out", str(out), "--stalled-after", str(after)]
        command = [sys.executable, "-c", STUCK, *words]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT))
        return started[0]

    yield start
    for process in started:
        process.kill()


def mesocosm(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "mesocosm", *words], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


def resumes(out: Path) -> None:
    before = {name: (out / "trials" / name / "status.json").stat().st_mtime_ns for name in ("rolling", "frozen")}
    assert mesocosm("run", "toy-study", "--preset", "smoke", "--out", str(out)).returncode == 0
    assert {trial["state"] for trial in Run(out).trials.values()} == {"finished"}
    assert {name: (out / "trials" / name / "status.json").stat().st_mtime_ns for name in before} == before


def test_a_program_that_deadlocks_is_noticed_and_the_run_resumes(tmp_path, stuck):
    out = tmp_path / "run"
    process = stuck("waiting", out, after=3)
    _, told = process.communicate(timeout=120)
    line = told.strip().splitlines()[-1]
    assert process.returncode == 130
    assert "stalled at trial probe, an evaluation: no progress and no use of the processor for 3 s" in line
    assert f"To resume: mesocosm run toy-study --preset smoke --out {out}" in line
    shown = mesocosm("status", str(out)).stdout
    assert "interrupted" in shown
    assert "stalled at trial probe" in " ".join(shown.split())
    resumes(out)
    assert "stalled" not in mesocosm("status", str(out)).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("kind", ["waiting", "computing"])
def test_a_request_ends_the_process_within_seconds_and_the_run_resumes(tmp_path, stuck, kind, number):
    out = tmp_path / "run"
    process = stuck(kind, out, after=0)
    assert process.stdout is not None
    while "inside" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    time.sleep(1.0)  # past compilation, for good measure
    process.send_signal(number)
    began = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - began < 20  # two seconds of grace, on a busy machine
    assert process.returncode == 130
    assert "stopped while trial probe, an evaluation did not answer" in told
    assert "To resume: mesocosm run" in told
    resumes(out)


def test_a_run_that_computes_or_was_asleep_is_not_stalled(monkeypatch):
    pulse, now, used = interrupt._Pulse(), [0.0], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: used[0])
    pulse.beat("trial a")

    def pass_seconds(seconds: int, share: float) -> float:
        for _ in range(2 * seconds):
            now[0], used[0] = now[0] + 0.5, used[0] + 0.5 * share
            idle = pulse.idle()
        return idle

    assert pass_seconds(300, share=0.9) < 3
    assert pass_seconds(60, share=0.02) == pytest.approx(60, abs=3)  # only the live table is drawn
    now[0] += 3600  # the process was stopped, or the machine slept
    assert pulse.idle() < 1
    assert pass_seconds(60, share=0.0) == pytest.approx(60, abs=3)
    pulse.beat()
    assert pulse.idle() == 0
    assert pulse.where == "trial a"


def test_where_the_process_is_not_ours_to_end_the_reason_is_told(monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(interrupt, "LOOK_SECONDS", 0.01)
    with Interrupt(told.append, end=None, stalled_seconds=0.3) as stop:
        stop.at("trial a")
        began = time.monotonic()
        while not told and time.monotonic() - began < 20:
            time.sleep(0.05)
    assert [line.partition(":")[0] for line in told] == ["stalled at trial a"]
    assert not stop.asked()
