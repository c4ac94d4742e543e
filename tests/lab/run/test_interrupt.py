"""A run whose main thread is inside a compiled program, waiting for ever or computing for long, can be stopped, stops by itself, and resumes."""

import bdb
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mesocosm
from mesocosm.lab.run import interrupt
from mesocosm.lab.run.interrupt import Interrupt
from mesocosm.lab.run.runner import _keep_reason
from mesocosm.lab.store.run_directory import Run, TrialStore

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
PATHS = [Path(mesocosm.__file__).parents[1], Path(__file__).parents[2]]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS)), "JAX_PLATFORMS": "cpu"}


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


@pytest.mark.whole
def test_a_program_that_deadlocks_is_noticed_and_the_run_resumes(tmp_path, stuck):
    out = tmp_path / "run"
    process = stuck("waiting", out, after=3)
    _, told = process.communicate(timeout=120)
    line = told.strip().splitlines()[-1]
    assert process.returncode == 130
    assert "stalled at trial probe, an evaluation: no progress and no processor use for 3 s" in line
    assert f"To resume: mesocosm run toy-study --preset smoke --out {out}" in line
    shown = mesocosm("status", str(out)).stdout
    assert "interrupted" in shown
    assert "stalled at trial probe" in " ".join(shown.split())
    resumes(out)
    assert "stalled" not in mesocosm("status", str(out)).stdout


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param("waiting", signal.SIGTERM, marks=pytest.mark.whole, id="SIGTERM while it waits"),
        pytest.param("computing", signal.SIGINT, marks=pytest.mark.whole, id="Ctrl-C while it computes"),
        pytest.param("waiting", signal.SIGINT, marks=pytest.mark.slow, id="Ctrl-C while it waits"),
        pytest.param("computing", signal.SIGTERM, marks=pytest.mark.slow, id="SIGTERM while it computes"),
    ],
)
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
    assert "stopped while trial probe, an evaluation did not respond" in told
    assert "To resume: mesocosm run" in told
    resumes(out)


def test_a_run_that_computes_or_was_asleep_is_not_stalled(monkeypatch):
    pulse, now, used = interrupt._Pulse(), [0.0], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(interrupt, "used_seconds", lambda: used[0])
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


def test_a_child_that_computes_is_work():
    before = interrupt.used_seconds()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        began = time.monotonic()
        while interrupt.used_seconds() < before + 0.3 and time.monotonic() < began + 60:
            time.sleep(0.05)
        assert interrupt.used_seconds() >= before + 0.3
        assert time.process_time() < before + 60
    finally:
        child.kill()
        child.wait()


def test_a_prompt_of_the_debugger_is_no_stall():
    found = []

    class Asking(bdb.Bdb):
        def user_line(self, frame):
            found.append(interrupt.in_a_debugger())

    Asking().run("x = 1")
    assert found == [True] * len(found) != []
    assert not interrupt.in_a_debugger()


@pytest.mark.whole
def test_an_ignored_signal_stays_ignored_and_a_broken_terminal_stops_nothing():
    """In a process of its own: telling fails, so does keeping the reason, and the process is ended all the same."""
    script = """
import signal, sys, threading, os
from mesocosm.lab.run import interrupt
interrupt.GRACE_SECONDS = 0.5
def fails(*_): raise BrokenPipeError
signal.signal(signal.SIGINT, signal.SIG_IGN)
with interrupt.Interrupt(fails, lambda why: os._exit(7)) as stop:
    stop.keeping(fails)
    os.kill(os.getpid(), signal.SIGINT)
    assert not threading.Event().wait(1.5) and not stop.asked()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(60)
"""
    assert subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, timeout=60, check=False).returncode == 7


def test_a_finished_trial_is_not_marked_by_a_later_stall(tmp_path):
    store = TrialStore(tmp_path, "a")
    for state, error in (("running", "stalled"), ("failed", None)):
        store.write_status(state=state, identity={})
        _keep_reason(store, {}, "stalled")
        assert (store.status["state"], store.status.get("error")) == (state, error)


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
