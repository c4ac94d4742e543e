"""A headless Chromium for the pages that we write, and what must be true of every page that it opens."""

import os
import shutil
from dataclasses import dataclass, field
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """Chromium's path. Without one the test is skipped, or fails where the environment says `MESOCOSM_BROWSER=required`."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = f"no browser: none of {', '.join(NAMES)} is on the PATH"
        pytest.fail(reason) if os.environ.get("MESOCOSM_BROWSER") == "required" else pytest.skip(reason)
    return path


@dataclass
class Opened:
    """A page in a browser and what happened on it."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.set_default_timeout(120_000)  # the cores are busy with other tests
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in {"error", "warning"} else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dismiss)

    def _dismiss(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def wait_for_figures(self) -> None:
        """Until every figure has been drawn in every scheme that the page prepares."""
        self.page.wait_for_function("() => [...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.in-light svg.marks'))")

    def check(self) -> None:
        """Nothing went wrong, nothing ran that should not, and no request left the page."""
        assert self.complaints == []
        assert self.dialogs == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert self.requests
