"""An observer that remembers what it was told, and what a run found out."""

from pathlib import Path

from mesocosm.lab.events.progress import Silent


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


def results(out: Path) -> dict[str, bytes]:
    """Everything that a run found out."""
    patterns = ("trials/*/tables/*.parquet", "models/*/*.safetensors", "claims.json")
    return {str(file.relative_to(out)): file.read_bytes() for pattern in patterns for file in sorted(out.glob(pattern))}
