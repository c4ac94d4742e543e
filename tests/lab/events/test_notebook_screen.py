"""Progress in a notebook: one output, replaced, and quiet in the end."""

from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console

from mesocosm.lab.events import notebook
from mesocosm.lab.events.event import Compiled, Compiling, Judged, Note, Progress, RunStarted, TrialFailed, TrialFinished, TrialSkipped, TrialStarted
from mesocosm.lab.events.notebook import REFRESH_SECONDS, Html, NotebookScreen
from mesocosm.lab.events.progress import screen


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def play(observer, clock: Clock) -> None:
    observer(RunStarted(cast(Any, SimpleNamespace(minutes={"first": 0.5}))))
    observer(TrialFinished("before", 3.0, cached=True))
    observer(Note("trial first is run again: <b>config</b> changed"))
    observer(TrialStarted("first", 2, 3))
    observer(Compiling("first", "descent"))
    observer(Compiled("first", "descent", 0.5))
    for step in range(1, 101):
        clock.now += 0.01
        observer(Progress("first", "descent", step, 100, {"loss": 1.0 / step}))


def test_a_notebook_shows_trials_in_one_output():
    clock, shown = Clock(), list[str]()
    with NotebookScreen(lambda piece: shown.append(piece._repr_html_()), clock) as observer:
        play(observer, clock)
        progress = [text for text in shown if "<progress" in text]
        assert 1 <= len(progress) <= 1.0 / REFRESH_SECONDS + 1
        assert 'value="50" max="100"></progress> 50/100, 0.5 s left' in progress[0]
        assert any("started, usually 30 s" in text for text in shown)
        assert any("compiling descent" in text for text in shown)
        observer(TrialFinished("first", 1.5))
        observer(Judged([]))
    last = shown[-1]
    assert "finished earlier" in last
    assert "1.5 s" in last
    assert "loss 0.01" in last
    assert "&lt;b&gt;config&lt;/b&gt; changed" in last
    assert "<details" in last
    assert " open>" not in last
    assert "2 trials in 1.0 s" in last


def test_what_failed_stays_open():
    shown = list[str]()
    with NotebookScreen(lambda piece: shown.append(piece._repr_html_()), Clock()) as observer:
        observer(TrialStarted("first", 1, 2))
        observer(TrialFailed("first", "the loss became NaN\x1b[2J <script>"))
        observer(TrialSkipped("second", "needs first"))
        observer(Judged([]))
    assert " open><summary>2 trials in 0 ms, 1 failed</summary>" in shown[-1]
    assert "failed: the loss became NaN [2J &lt;script&gt;" in shown[-1]
    assert "skipped: needs first" in shown[-1]


def test_a_run_that_is_stopped_shows_how_far_it_came():
    shown = list[str]()
    try:
        with NotebookScreen(lambda piece: shown.append(piece._repr_html_()), Clock()) as observer:
            observer(TrialStarted("first", 1, 4))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert "1 of 4 trials" in shown[-1]


def test_the_screen_of_a_notebook_replaces_one_output(monkeypatch):
    calls = []

    class Handle:
        def update(self, piece):
            calls.append(("update", piece.text))

    def display(piece, display_id):
        calls.append(("display", piece.text))
        return Handle()

    monkeypatch.setattr("IPython.core.display_functions.display", display)
    observer = screen(Console(force_jupyter=True))
    assert isinstance(observer, NotebookScreen)
    show = notebook.output()
    show(Html("one"))
    show(Html("two"))
    assert calls == [("display", "one"), ("update", "two")]
