"""An observer that remembers what it was told, and what a run found out."""

from pathlib import Path

from mesocosm.lab.events.event import Event, Note, TrialFailed, TrialFinished, TrialSkipped, TrialStarted


class Remembering:
    """Events in order: (what, trial or text)."""

    def __init__(self):
        self.events: list[tuple[str, str]] = []

    def __call__(self, event: Event) -> None:
        match event:
            case TrialStarted(trial):
                self.events.append(("started", trial))
            case Note(message):
                self.events.append(("note", message))
            case TrialFinished(trial, _, cached):
                self.events.append(("cached" if cached else "finished", trial))
            case TrialFailed(trial, message):
                self.events.append(("failed", f"{trial}: {message}"))
            case TrialSkipped(trial, reason):
                self.events.append(("skipped", f"{trial}: {reason}"))

    def of(self, what: str) -> list[str]:
        return [text for kind, text in self.events if kind == what]


def results(out: Path) -> dict[str, bytes]:
    """Everything that a run found out."""
    patterns = ("trials/*/tables/*.parquet", "models/*/*.safetensors", "claims.json")
    return {str(file.relative_to(out)): file.read_bytes() for pattern in patterns for file in sorted(out.glob(pattern))}
