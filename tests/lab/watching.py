"""An observer that remembers what it was told."""

from mesocosm.lab.progress import Silent


class Remembering(Silent):
    """Events in order: (what, trial or text)."""

    def __init__(self):
        self.events: list[tuple[str, str]] = []

    def trial_started(self, trial, index, total):
        self.events.append(("started", trial))

    def note(self, message):
        self.events.append(("note", message))

    def trial_finished(self, trial, seconds, cached):
        self.events.append(("cached" if cached else "finished", trial))

    def trial_failed(self, trial, message):
        self.events.append(("failed", f"{trial}: {message}"))

    def trial_skipped(self, trial, reason):
        self.events.append(("skipped", f"{trial}: {reason}"))

    def of(self, what: str) -> list[str]:
        return [text for kind, text in self.events if kind == what]
