"""Checkpoints of fits: one safetensors file per fit, replaced atomically at wall-clock intervals."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from mesocosm.lab.store import atomic

SECONDS_BETWEEN_SAVES = 20.0


class FileCheckpoint:
    """The `learning.fit.Checkpoint` of one fit.

    Args:
        path: the file.
        identity: the trial's identity; a file with another identity is not loaded.
        note: called with one line when a file is damaged or belongs to another trial and the fit starts over.
        seconds: the shortest time between two automatic saves.
        written: called with the file after each save.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        note: Callable[[str], None],
        seconds: float = SECONDS_BETWEEN_SAVES,
        written: Callable[[Path], None] = lambda file: None,
    ):
        self.path, self.identity, self.note, self.seconds, self.written = path, identity, note, seconds, written
        self.saved = time.monotonic()

    def load(self, like: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Load the snapshot; None unless it is complete, of this trial, and has exactly these names, shapes and dtypes."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="numpy") as file:
                metadata = atomic.read_metadata(file.metadata())
                if metadata.get("identity") != self.identity:
                    return None
                snapshot = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        except (SafetensorError, OSError) as error:
            self.note(f"checkpoint {self.path.name} is damaged ({error}); the fit starts over")
            return None
        if metadata.get("checksum") != checksum(snapshot):
            self.note(f"checkpoint {self.path.name} is damaged (wrong checksum); the fit starts over")
            return None
        found = {name: (array.shape, str(array.dtype)) for name, array in snapshot.items()}
        wanted = {name: (tuple(array.shape), str(array.dtype)) for name, array in like.items()}
        if found != wanted:
            names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            self.note(f"checkpoint {self.path.name} does not match the fit ({', '.join(names[:3])}), which starts over")
            return None
        return snapshot

    def due(self) -> bool:
        """Whether the next save is due."""
        return time.monotonic() - self.saved >= self.seconds

    def save(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Replace the snapshot."""
        atomic.write_tensors(self.path, snapshot, {"identity": self.identity, "checksum": checksum(snapshot)})
        self.written(self.path)
        self.saved = time.monotonic()


def checksum(snapshot: Mapping[str, np.ndarray]) -> str:
    """A checksum of the arrays' names and bytes."""
    seen = hashlib.blake2b(digest_size=8)
    for name in sorted(snapshot):
        seen.update(name.encode())
        seen.update(np.asarray(snapshot[name]).tobytes())
    return seen.hexdigest()
