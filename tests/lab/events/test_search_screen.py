"""A search shows how long it will take: by the arms that it trains, not by those that were finished earlier."""

import io

import pytest
from rich.console import Console

from mesocosm.lab.events.event import Note, Progress, TrialFailed, TrialFinished, TrialStarted
from mesocosm.lab.events.search_screen import SearchScreen


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_from_the_arms_trained_now():
    clock, text = Clock(), io.StringIO()
    with SearchScreen(Console(file=text, width=80), clock) as screen:
        assert screen.remaining() is None
        screen.begin(1, 4, "rate=1")
        screen(TrialFinished("only", 9.0, cached=True))
        screen.end("rate=1: loss 3")
        assert screen.remaining() is None
        screen.begin(2, 4, "rate=2")
        screen(TrialStarted("first", 1, 2))
        clock.now += 5
        screen(Progress("first", "fit", 50, 100, {}))
        assert screen.done() == pytest.approx(1.25)
        assert screen.remaining() == pytest.approx(5 / 0.25 * 2.75)
        screen(TrialFinished("first", 10.0))
        screen(TrialStarted("second", 2, 2))
        screen(Note("resumed"))
        screen(TrialFailed("second", "not\x1b finite"))
        clock.now += 15
        screen.end("rate=2: not finite")
        assert screen.remaining() == pytest.approx(40)
        screen.begin(3, 4, "rate=3")
        assert screen.done() == 2
    shown = text.getvalue().splitlines()
    assert "[1/4] rate=1: loss 3 (finished earlier)" in shown
    assert "[2/4] second FAILED: not  finite" in shown
    assert shown[-1] == "[3/4] rate=3 started, 40 s left"


def test_a_terminal_has_one_bar_over_all_arms():
    clock, text = Clock(), io.StringIO()
    console = Console(file=text, width=100, force_terminal=True)
    with SearchScreen(console, clock) as screen:
        screen.begin(1, 2, "rate=1")
        screen(TrialStarted("only", 1, 1))
        clock.now += 10
        screen(Progress("only", "fit", 1, 2, {}))
        console.print(screen.render())
    assert "30 s left" in text.getvalue()
    assert "arm 1 of 2  rate=1" in text.getvalue()
