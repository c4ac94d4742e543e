"""The run directory: files and formats, trial identities, checkpoints and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesocosm.lab.store.run_directory import Run, TrialStore

__all__ = ["Run", "TrialStore"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from mesocosm.lab.store import run_directory

        return getattr(run_directory, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
