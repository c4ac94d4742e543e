"""What a machine does to a run, done to one: each fault is met by one line, loses nothing that was finished, and leaves a run that ends with the same bytes."""

import datetime
import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import mesocosm.lab.run.runner as runner
import toy_study.trials as toy
from mesocosm.cli import main
from mesocosm.lab.catalogue import find
from mesocosm.lab.errors import UserError
from mesocosm.lab.events.event import Compiling, Progress, tee
from mesocosm.lab.events.progress import PlainScreen
from mesocosm.lab.run.interrupt import HEARD
from mesocosm.lab.run.plan import Plan
from mesocosm.lab.run.runner import execute
from mesocosm.lab.store.run_directory import Run, TrialStore, locked
from mesocosm.studies.interface import Trial
from toy_study.config import Config
from watching import Remembering, results

pytestmark = pytest.mark.whole

STUDY = find("toy-study")
TRIALS = ("identity", "rolling", "frozen", "probe")
run = partial(execute, STUDY, "smoke", save_seconds=0.0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, bytes]:
    """What an undisturbed run finds out."""
    return results(run(out=tmp_path_factory.mktemp("undisturbed") / "run").path)


def finished(out: Path) -> set[str]:
    return {name for name in TRIALS if TrialStore(out, name).status["state"] == "finished"}


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    told = str(error.value)
    assert "\n" not in told
    return told


# --- the disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """(folder, function that remounts it with options): a file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk; the limit on the size of files is tried instead")
    yield folder, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing(small_disk, expected):
    folder, remount = small_disk
    out, before = folder / "run", set()
    for size in ("16k", "40k", "60k", "500k"):  # the first is full before a trial is finished, the last while the report is written
        remount(f"size={size}")
        with pytest.raises(UserError) as refused:
            run(out=out)
        assert re.fullmatch(
            rf"cannot write {out}/.*: No space left on device; free some disk space; finished trials are kept, the same command resumes", one_line(refused)
        )
        assert before <= finished(out)
        before = finished(out)
    assert before == set(TRIALS)
    remount("size=16m")
    watching = Remembering()
    run(out=out, observer=watching)
    assert watching.of("cached") == list(TRIALS)
    assert results(out) == expected


def test_a_disk_that_became_read_only(small_disk, expected, capsys):
    folder, remount = small_disk
    remount("size=16m")
    out = run(out=folder / "run").path
    remount("ro")
    for words in (["run", "toy-study", "--preset", "smoke", "--out", str(out)], ["judge", str(out)], ["report", str(out)]):
        assert main(words) == 2
        told = capsys.readouterr().err
        assert told == f"mesocosm: cannot write to {out}: Read-only file system; use a writable directory (run: --out)\n"
    assert main(["status", str(out)]) == 0
    assert results(out) == expected
    remount("rw")


@contextmanager
def file_size(limit: int):
    """No file grows beyond this; Python ignores the signal that comes with it, so that writes fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_on_the_size_of_files_loses_nothing(tmp_path, expected):
    out, reached = tmp_path / "run", []
    for limit in (100, 1_000, 1_900, 100_000):
        with file_size(limit), pytest.raises(UserError, match=rf"cannot write {out}/.*: File too large; raise the file size limit .*the same command resumes"):
            run(out=out)
        reached.append(len(finished(out)))
    assert reached[0] == 0
    assert reached == sorted(reached)
    assert reached[-1] == 4  # the page alone is larger
    run(out=out)
    assert results(out) == expected


@contextmanager
def ordinary_user():
    """Root may write everywhere; nobody may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_directory_of_somebody_else(tmp_path):
    plan = Plan.of(STUDY, "smoke", out=tmp_path / "run")
    tmp_path.chmod(0o000)
    try:
        with ordinary_user(), pytest.raises(UserError, match=r"cannot read or write .*: Permission denied; use a writable directory"):
            plan.check_directory()
        with (
            ordinary_user(),
            pytest.raises(UserError, match=r"cannot write to .*run: Permission denied; use a writable directory"),
            locked(plan.path),
        ):
            raise AssertionError("it is not locked")
    finally:
        tmp_path.chmod(0o700)


# --- damage ---------------------------------------------------------------------------------------------------------


class Signalling(Remembering):
    """Sends its process a signal at a moment ("compiling", or a trial and its step), as often as `times` says."""

    def __init__(self, number: int, moment: str, times: int = 1):
        super().__init__()
        self.number, self.moment, self.times = number, moment, times

    def __call__(self, event):
        super().__call__(event)
        now = "compiling" if isinstance(event, Compiling) else f"{event.trial} {event.step}" if isinstance(event, Progress) else None
        if now == self.moment and self.times:
            self.times -= 1
            signal.raise_signal(self.number)


@pytest.mark.parametrize("harm", ["truncated", "empty", "of zeros"])
def test_a_damaged_checkpoint_costs_time_and_no_result(tmp_path, expected, harm):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(out=out, observer=Signalling(signal.SIGINT, "rolling 1"))
    (checkpoint,) = out.rglob("checkpoints/*")
    content = checkpoint.read_bytes()
    checkpoint.write_bytes({"truncated": content[: len(content) * 2 // 3], "empty": b"", "of zeros": bytes(len(content))}[harm])
    watching = Remembering()
    run(out=out, observer=watching)
    assert watching.of("note")[0] == "trial rolling resumes where it was interrupted"
    assert re.fullmatch(r"checkpoint descent\.safetensors is damaged \(.*\); the fit starts over", watching.of("note")[1])
    assert results(out) == expected


# --- being stopped --------------------------------------------------------------------------------------------------


def raise_in(monkeypatch, owner, name: str, number: int, when) -> None:
    """Let a function be interrupted by a signal before its first call that `when` tells of."""
    original, waiting = getattr(owner, name), [True]

    def interrupted(*arguments, **options):
        if waiting and when(*arguments):
            waiting.clear()
            signal.raise_signal(number)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, interrupted)


MOMENTS = ("compiling", "rolling 1", "checkpoint", "table", "status")


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        *((moment, signal.SIGINT) for moment in MOMENTS),
        *(pytest.param(moment, signal.SIGTERM, marks=[pytest.mark.slow] if moment != "rolling 1" else []) for moment in MOMENTS),
    ],
)
def test_asked_to_stop_at_a_moment_it_resumes_to_the_same_bytes(tmp_path, expected, monkeypatch, number, moment):
    out, watching = tmp_path / "run", Signalling(number, moment)
    written = {"checkpoint": "descent.safetensors", "table": "heights.parquet", "status": "status.json"}
    if moment in written:
        raise_in(monkeypatch, os, "replace", number, lambda source, target: Path(target).name == written[moment])
    with pytest.raises(KeyboardInterrupt):
        run(out=out, observer=watching)
    assert watching.of("note") == [HEARD]
    assert finished(out) < set(TRIALS)
    assert not list(out.rglob("*.part"))
    run(out=out)
    assert results(out) == expected


def test_asked_to_stop_while_it_judges_it_ends_whole(tmp_path, expected, monkeypatch):
    raise_in(monkeypatch, runner, "judge", signal.SIGINT, lambda *_: True)
    assert results(run(out=tmp_path / "run").path) == expected


@pytest.mark.parametrize("moment", ["descent.safetensors", "heights.parquet", "claims.json"])
def test_asked_twice_it_stops_at_once_and_leaves_no_halves(tmp_path, expected, monkeypatch, moment):
    out = tmp_path / "run"
    for _ in range(2):  # the first is heard, the second ends the write
        raise_in(monkeypatch, os, "replace", signal.SIGINT, lambda source, target: Path(target).name == moment)
    with pytest.raises(KeyboardInterrupt):
        run(out=out)
    assert not list(out.rglob(f".{moment}*"))
    assert not list(out.rglob(moment))
    run(out=out)
    assert results(out) == expected


CHILD = """
import os, signal, sys
from mesocosm.cli import main
from mesocosm.lab.store import atomic, checkpoint

if sys.argv[1] == "kill":
    checkpoint.SECONDS_BETWEEN_SAVES = 0.0
    from mesocosm.lab.run import runner
    runner.execute.__kwdefaults__["save_seconds"] = 0.0
    replace = os.replace
    def killed(source, target, saves=[]):
        saves += [target] if str(target).endswith("descent.safetensors") else []
        if len(saves) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
    os.replace = killed
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def child(tmp_path):
    """(process, run directory): starts the command line in an interpreter of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])}
    out = tmp_path / "run"
    words = ["run", "toy-study", "--preset", "smoke", "--out", str(out)]

    def start(how: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-u", "-c", CHILD, how, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    return start, out


def test_killed_between_writing_and_moving_a_checkpoint(child, expected):
    start, out = child
    with start("kill") as process:
        _, told = process.communicate()
    assert process.returncode == -signal.SIGKILL, told
    assert {file.suffix for file in out.rglob("checkpoints/*")} == {".safetensors", ".part"}  # a whole one, and one that was on its way
    watching = Remembering()
    run(out=out, observer=watching)
    assert watching.of("note") == ["trial rolling resumes where it was interrupted"]
    assert not list(out.rglob("*.part"))
    assert results(out) == expected


def test_terminated_while_compiling_the_command_says_how_to_go_on(child, expected, capsys):
    start, out = child
    with start("usual") as process:
        for line in process.stdout:
            if "compiling" in line:
                break
        process.terminate()
        said, told = process.communicate()
    assert process.returncode == 130, told
    assert HEARD in said
    again = f"mesocosm run toy-study --preset smoke --out {out}"
    assert told == f"mesocosm: stopped; nothing finished is lost. To resume: {again}\n"
    assert main(["status", str(out)]) == 0
    shown = capsys.readouterr().out
    assert re.search("rolling +interrupted", shown)
    assert f"To resume: {again}\n" in shown
    with locked(out):
        assert main(["status", str(out)]) == 0
        shown = capsys.readouterr().out
    assert re.search("rolling +running", shown)
    assert "A process is writing to this run now.\n" in shown
    run(out=out)
    assert results(out) == expected


# --- a seed that diverges -------------------------------------------------------------------------------------------


def roll_unevenly(config: Config, context) -> dict:
    """Seed 1 rolls uphill, further at every step."""
    rates = jnp.array([0.1, 1e18])
    learner = toy.NoisyDescent(rates, jnp.full(2, config.bowl.noise), config.bowl.dim)
    fitted = context.fit("descent", learner, config.steps, per_seed=True, nonfinite="freeze")
    return {"ends": context.rows(end=context.evaluate(toy.height, fitted.model), diverged=fitted.diverged.astype(float), steps=fitted.steps)}


def test_a_frozen_seed_is_marked_and_takes_nobody_along(tmp_path, monkeypatch, capsys):
    usual = toy.trials
    monkeypatch.setattr(toy, "trials", lambda config: [Trial("uneven", roll_unevenly, config), *usual(config)])
    watching = Remembering()
    done = run(out=tmp_path / "run", observer=watching)
    assert watching.of("finished") == ["uneven", *TRIALS]
    ends = done.table("ends")
    steps = ends["steps"].to_list()
    assert ends["diverged"].to_list() == [0.0, 1.0]
    assert steps[0] == 5
    assert 0 < steps[1] < 5
    assert np.isfinite(ends["end"].to_numpy()).all()
    assert watching.of("note") == [f"trial uneven, descent: no longer finite, frozen at its last finite state: seed 1 after {steps[1]} steps"]
    assert done.trials["uneven"]["fits"]["descent"]["diverged"] == [1]
    history = done.table("history", "uneven")
    assert [history.filter(history["seed"] == seed).height for seed in (0, 1)] == steps
    assert main(["status", str(done.path)]) == 0
    assert "descent: seed 1 diverged" in capsys.readouterr().out


def test_a_trial_that_raises_several_lines_is_told_in_one(tmp_path, monkeypatch, capsys):
    def explode(config, context):
        raise RuntimeError("\n\n  the fuse:\nit was lit\nby somebody")

    usual = toy.trials
    grandchild = Trial("grandchild", toy.probe, Config(), after=("probe",))
    monkeypatch.setattr(
        toy, "trials", lambda config: [*(replace(trial, run=explode) if trial.name == "rolling" else trial for trial in usual(config)), grandchild]
    )
    words = ["run", "toy-study", "--preset", "smoke", "--out", str(tmp_path / "run")]
    assert main(words) == 1
    shown = capsys.readouterr().out
    for line in ("rolling FAILED: RuntimeError: the fuse: it was lit\n", "probe skipped: needs rolling\n", "grandchild skipped: needs probe\n"):
        assert line in shown
    assert f"Failed: rolling. The traceback is in {tmp_path}/run/trials/rolling/error.txt. Run the same command to retry.\n" in shown
    assert "Traceback" not in shown
    assert main([*words, "--fail-fast"]) == 1
    told = capsys.readouterr()
    assert told.err == f"mesocosm: trial rolling failed: RuntimeError: the fuse: it was lit (its traceback is in {tmp_path}/run/trials/rolling/error.txt)\n"
    assert main(["status", str(tmp_path / "run")]) == 1


# --- the clock ------------------------------------------------------------------------------------------------------


class Jumping:
    """A wall clock that is a year ahead or behind, by turns."""

    def __init__(self):
        self.calls = 0

    def now(self, zone=None) -> datetime.datetime:
        self.calls += 1
        return datetime.datetime.now(zone) + datetime.timedelta(days=365 if self.calls % 2 else -365)


def test_a_clock_that_jumps_changes_no_duration_and_no_result(tmp_path, expected, monkeypatch):
    clock, text = Jumping(), StringIO()
    monkeypatch.setattr("mesocosm.lab.run.plan.datetime", clock)
    monkeypatch.setattr("mesocosm.lab.events.progress.PLAIN_SECONDS", 0.0)
    monkeypatch.setattr(time, "time", lambda: clock.now().timestamp())
    began = time.monotonic()
    out, started = tmp_path / "run", []
    for moment in ("rolling 1", "frozen 1", "never"):
        with nullcontext() if moment == "never" else pytest.raises(KeyboardInterrupt):
            run(out=out, observer=tee(PlainScreen(Console(file=text, width=200)), Signalling(signal.SIGTERM, moment)))
        started.append(datetime.datetime.fromisoformat(Run(out).record["started"]))
        for file in out.rglob("*"):
            os.utime(file, (time.time(), time.time()))
    passed = time.monotonic() - began
    assert abs(started[1] - started[0]).days > 300  # it did jump
    assert "-" not in re.sub(r"\S*e-\d+", "", text.getvalue())
    assert "finished in " in text.getvalue()
    assert 0 < Run(out).record["wall_seconds"] <= passed
    assert all(0 <= status["seconds"] <= passed for status in Run(out).trials.values())
    assert results(out) == expected
