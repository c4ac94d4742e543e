"""Ctrl-C and SIGTERM as a request: the running fit saves its state between two chunks and stops. A second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

HEARD = "stopping when the state is saved; a program that is being compiled is finished first (again to stop at once)"


class Interrupt:
    """Context manager; `asked()` says whether somebody wants the run to stop.

    Args:
        tell: told at once that the request was heard; it may take a while until there is something to save.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._asked = False
        self._previous: dict[int, Any] = {}
        self._telling: threading.Thread | None = None

    def __enter__(self) -> Interrupt:
        """Take over both signals, where Python allows it (the main thread)."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._telling is not None:
            self._telling.join(timeout=1.0)

    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # From another thread: this one may be in the middle of printing.
        self._telling = threading.Thread(target=self._tell, args=(HEARD,), daemon=True)
        self._telling.start()
