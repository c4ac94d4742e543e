"""Stops a run on request (Ctrl-C, SIGTERM) or when it stalls.

A request takes effect between two chunks of a fit, after the fit's state is saved. Python handles signals only in its main thread, which a compiled program
can block for long, or forever if it deadlocks. A second thread therefore watches for them too and ends the process after `GRACE_SECONDS`. Finished trials
are then in the run directory, a running fit is in its last checkpoint, and every file is either complete or absent.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from mesocosm.lab.store import atomic

GRACE_SECONDS = 10.0
"""Time from a request to the end of the process if the main thread does not respond; a chunk takes at most five seconds."""
STALLED_SECONDS = 120.0
"""A run counts as stalled after this long without progress and without processor use."""
IDLE_SHARE = 0.05
"""A process that uses a smaller share of one core counts as idle; drawing the live table takes up to 0.02."""
LOOK_SECONDS = 0.5

HEARD = "stopping after the state is saved (interrupt again to stop at once)"


class Interrupt:
    """Context manager around a run; `asked()` returns whether the run should stop.

    Args:
        tell: called at once when a request arrives; saving may take a while longer.
        end: ends the process, given the reason in one line; called from another thread while the main thread is stuck. None if we must not end the
            process: then `tell` gets the reason, and only a SIGTERM that would have ended the process without us still ends it.
        stalled_seconds: see `STALLED_SECONDS`; 0 for never.
    """

    def __init__(self, tell: Callable[[str], None], end: Callable[[str], None] | None = None, stalled_seconds: float = 0.0) -> None:
        self._tell, self._end, self._stalled_seconds = tell, end, stalled_seconds
        self._asked = False
        self._previous: dict[int, Any] = {}
        self._previous_descriptor = -1
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._keep: Callable[[str], None] = lambda why: None
        self._pulse = _Pulse()

    def __enter__(self) -> Interrupt:
        """Install handlers for both signals where Python allows it (in the main thread)."""
        if threading.current_thread() is threading.main_thread():
            self._read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._previous_descriptor = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # ignored, as under nohup, or not set from Python
                    self._previous[number] = signal.signal(number, self._handle)
            self._pulse.beat("the start")
            self._thread = threading.Thread(target=self._watch, name="mesocosm-interrupt", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._thread is not None:
            signal.set_wakeup_fd(self._previous_descriptor)
            self._done.set()
            with suppress(BlockingIOError):  # a full pipe wakes the thread, too
                os.write(self._write, b"\0")
            self._thread.join()
            os.close(self._read)
            os.close(self._write)

    def asked(self) -> bool:
        """Whether to stop. Each call also counts as progress."""
        self._pulse.beat()
        return self._asked

    def ask(self) -> None:
        """Ask for a stop, as a signal does, but from within the process; any thread may."""
        self._asked = True

    def at(self, where: str) -> None:
        """Set the run's current position, for the message printed if it stalls."""
        self._pulse.beat(where)

    def keeping(self, keep: Callable[[str], None]) -> None:
        """Set the function that records, with the current trial, why the process ended."""
        self._keep = keep

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    # --- the other thread

    def _watch(self) -> None:
        deadline, told, terminated = float("inf"), False, False
        while not self._done.is_set():
            ready, _, _ = select.select([self._read], [], [], LOOK_SECONDS)
            for number in os.read(self._read, 64) if ready else b"":
                if number not in self._previous:
                    continue
                terminated |= number == signal.SIGTERM and self._previous[number] == signal.SIG_DFL
                if not told:
                    told, deadline = True, time.monotonic() + GRACE_SECONDS
                    aside(self._tell, HEARD)
                else:
                    deadline = min(deadline, time.monotonic() + 1.0)  # unless the main thread raises first
            if time.monotonic() >= deadline:
                where = self._pulse.where
                self._finish(f"stopped while {where} did not respond" if self._end else f"asked to stop, but {where} does not respond", keep=False)
                if terminated:
                    os._exit(128 + signal.SIGTERM)
                deadline = float("inf")
            elif self._stalled_seconds and (idle := self._pulse.idle()) >= self._stalled_seconds:
                advice = 'usually because a program deadlocks XLA\'s thread pool: set NPROC=8, or see "when things go wrong" in the documentation'
                self._finish(f"stalled at {self._pulse.where}: no progress and no processor use for {idle:.0f} s; {advice}", keep=True)
                self._stalled_seconds = 0.0

    def _finish(self, why: str, keep: bool) -> None:
        if self._done.is_set():
            return
        if self._end is None:
            aside(self._tell, why)
            return
        with atomic.undisturbed():  # lets a save in progress finish
            if self._done.is_set():
                return
            if keep:
                with suppress(Exception):  # a full disk must not keep the process alive
                    self._keep(why)
            self._end(why)


def aside(function: Callable[..., object], *given: object, seconds: float = 2.0) -> None:
    """Call a function that may fail or never return (such as printing), and wait at most `seconds` for it."""

    def call() -> None:
        with suppress(Exception):
            function(*given)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)


class _Pulse:
    """Tracks when the run last made progress and how much processor time it has used since."""

    def __init__(self) -> None:
        self.where = ""
        self._moved = self._looked = time.monotonic()
        self._used: float | None = None  # at the first look after the last progress

    def beat(self, where: str | None = None) -> None:
        """Record progress."""
        self.where = where or self.where
        self._moved, self._used = time.monotonic(), None

    def idle(self) -> float:
        """Seconds since the run last moved, if it has hardly used the processor since; else 0. Call it every second or so."""
        now, used = time.monotonic(), used_seconds()
        asleep = now - self._looked > 20 * LOOK_SECONDS
        before = used if self._used is None else self._used
        if asleep or in_a_debugger() or used - before > IDLE_SHARE * max(now - self._moved, 2.0):
            self._moved, before = now, used  # it computes, or the whole process was stopped or asleep
        self._looked, self._used = now, before
        return now - self._moved


def used_seconds() -> float:
    """Processor time of this process and its ended children, on Linux also of its running children."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system + sum(map(_seconds_of_child, Path("/proc").glob("[0-9]*")))


def _seconds_of_child(process: Path) -> float:
    with suppress(OSError, ValueError, IndexError):
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        if int(fields[1]) == os.getpid():
            return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def in_a_debugger() -> bool:
    """Whether the main thread is in a debugger."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_globals.get("__name__") in ("bdb", "pdb"):
            return True
        frame = frame.f_back
    return False
