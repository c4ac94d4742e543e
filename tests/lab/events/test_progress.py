"""What is shown while a study runs: nothing lost, nothing that garbles a log, and times that mean something."""

import io
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from mesocosm.lab.events.event import (
    Compiled,
    Compiling,
    Judged,
    Note,
    Progress,
    RunStarted,
    TrialFailed,
    TrialFinished,
    TrialSkipped,
    TrialStarted,
    ignore,
    tee,
)
from mesocosm.lab.events.progress import FitProgress, LiveScreen, PlainScreen, describe, screen


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def play(observer, clock: Clock) -> None:
    """A run in which everything happens; each fit takes 100 steps of a second."""
    observer(RunStarted(cast(Any, SimpleNamespace(minutes={"second": 0.5}))))
    observer(TrialFinished("before", 3.0, cached=True))
    observer(Note("trial first is run again: config.steps changed"))
    observer(TrialStarted("first", 2, 4))
    observer(Compiling("first", "descent"))
    clock.now += 12
    observer(Compiled("first", "descent", 12.0))
    for step in range(1, 101):
        clock.now += 1
        observer(Progress("first", "descent", step, 100, {"accuracy": 0.5, "loss": 1.0 / step}))
    observer(TrialFinished("first", 112.0))
    observer(TrialStarted("second", 3, 4))
    observer(TrialFailed("second", "the loss became NaN\x1b[2J at step 3"))
    observer(TrialSkipped("third", "needs second"))
    observer(Judged([]))


def plain() -> tuple[list[str], str]:
    clock, text = Clock(), io.StringIO()
    with PlainScreen(Console(file=text, width=80), clock) as observer:
        play(observer, clock)
    return text.getvalue().splitlines(), text.getvalue()


def test_the_screen_fits_where_it_is_shown():
    assert type(screen(Console(file=io.StringIO()))) is PlainScreen
    assert type(screen(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"}))) is LiveScreen
    assert type(screen(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}))) is PlainScreen


def test_a_tee_tells_all_in_order():
    told = []
    tee(lambda event: told.append(("first", event)), ignore, lambda event: told.append(("last", event)))(Note("now"))
    assert told == [("first", Note("now")), ("last", Note("now"))]


def test_plain_lines_tell_every_event_without_control_characters():
    lines, text = plain()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    for words in ("before finished earlier", "config.steps changed", "compiling descent", "compiled descent in 12 s", "finished in 1 min 52 s"):
        assert any(words in line for line in lines), words
    assert any("second FAILED: the loss became NaN" in line for line in lines)
    assert any("third skipped: needs second" in line for line in lines)
    assert "[2/4] first started" in lines
    assert "[3/4] second started, usually 30 s" in lines
    assert lines.count("[2/4] first: descent trained, evaluating, loss 0.01  accuracy 0.5") == 1


def test_of_trials_that_run_side_by_side_each_has_its_own_place():
    text = io.StringIO()
    with PlainScreen(Console(file=text, width=80)) as observer:
        for event in (TrialStarted("first", 1, 2), TrialStarted("second", 2, 2), TrialFinished("first", 3.0), TrialFailed("second", "lost")):
            observer(event)
    assert text.getvalue().splitlines() == ["[1/2] first started", "[2/2] second started", "[1/2] first finished in 3.0 s", "[2/2] second FAILED: lost"]


def test_plain_progress_comes_every_few_seconds_with_the_time_left():
    lines = [line for line in plain()[0] if "descent" in line and "%" in line]
    assert 15 <= len(lines) <= 21
    assert re.search(r"descent 50/100 \(50 %\), 50 s left, loss 0.02", "\n".join(lines))


def test_pace_of_a_resumed_fit_is_that_of_this_process():
    fitting = FitProgress.of(Progress("trial", "descent", 9_000, 10_000, {}), FitProgress("descent", since=0.0), 50.0)
    assert fitting.remaining(50.0) is None
    fitting = FitProgress.of(Progress("trial", "descent", 9_100, 10_000, {}), fitting, 60.0)
    assert fitting.remaining(60.0) == pytest.approx(90.0)


def test_loss_comes_first():
    assert describe({"accuracy": 0.5, "train_loss": 2.0, "loss": 1.0, "z": 0.0}) == "loss 1  train_loss 2"
    assert describe({"loss": float("nan")}) == "loss nan"


def live() -> tuple[LiveScreen, Clock, io.StringIO, Console]:
    text, clock = io.StringIO(), Clock()
    console = Console(file=text, force_terminal=True, width=120, _environ={"TERM": "xterm"}, color_system=None)
    return LiveScreen(console, clock), clock, text, console


def shown(observer: LiveScreen) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(observer.render())
    return text.getvalue()


def test_live_table_shows_the_seconds_of_a_compile_then_a_bar():
    observer, clock, _, _ = live()
    observer(TrialStarted("first", 1, 4))
    observer(Compiling("first", "descent"))
    clock.now += 7
    assert "compiling descent" in shown(observer)
    assert "7.0 s" in shown(observer)
    observer(Compiled("first", "descent", 7.0))
    assert "starting descent" in shown(observer)
    observer(Progress("first", "descent", 10, 100, {"loss": 0.25}))
    clock.now += 10
    observer(Progress("first", "descent", 20, 100, {"loss": 0.125}))
    assert "20/100" in shown(observer)
    assert "1 min 20 s left" in shown(observer)
    assert "loss 0.125" in shown(observer)
    assert "trial 1 of 4" in shown(observer)


def test_the_live_table_says_when_training_has_ended_or_never_began():
    observer, clock, _, _ = live()
    observer(RunStarted(cast(Any, SimpleNamespace(minutes={"first": 0.35}))))
    observer(TrialStarted("first", 1, 4))
    clock.now += 7
    assert re.search(r"first  evaluating  7\.0 s, usually 21 s", shown(observer))
    observer(Progress("first", "descent", 100, 100, {"loss": 0.25}))
    clock.now += 3
    assert re.search(r"first  evaluating  3\.0 s  loss 0.25", shown(observer))
    observer(Compiling("first", "again"))
    assert "compiling again" in shown(observer)


def test_live_lines_that_stay():
    observer, clock, text, _ = live()
    with observer:
        play(observer, clock)
        assert not shown(observer).strip()
    for words in ("finished earlier", "config.steps changed", "1 min 52 s", "the loss became NaN", "skipped: needs second"):
        assert words in text.getvalue()
