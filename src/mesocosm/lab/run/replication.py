"""Repeats an earlier run (`--like`) and lists the differences in setup and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesocosm.claims.agreement import Row, differences
from mesocosm.lab.errors import UserError
from mesocosm.lab.store.configuration import changed_fields, plain
from mesocosm.lab.store.run_directory import Run


def earlier_run(path: Path) -> Run:
    """The run to compare with.

    Raises:
        UserError: the path is not a run directory, the run was not judged, or its config has fields that the study no longer has.
    """
    run = Run(path)
    if lost := lost_fields(run.record["config"], plain(run.config)):
        raise UserError(f"{path} cannot be repeated: the config of the study {run.study.name} no longer has {', '.join(lost)}")
    if not run.claims:
        raise UserError(f"{path} has no verdicts to compare with")
    return run


def lost_fields(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted names of fields that only the old config has."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return []
    gone = [f"{prefix}{name}" for name in old if name not in new]
    return gone + [line for name in old if name in new for line in lost_fields(old[name], new[name], f"{prefix}{name}.")]


def setup_changes(earlier: Run, config: Any, seeds: Sequence[int]) -> list[str]:
    """Config fields and seeds that differ from the earlier run's, one text each."""
    return changed_fields({"config": earlier.record["config"], "seeds": list(earlier.seeds)}, {"config": plain(config), "seeds": list(seeds)})


def environment_changes(earlier: Row, now: Row) -> list[str]:
    """Versions, revision and device that differ between two run.json, one text each."""
    parts = ("versions", "git", "device")
    return changed_fields({part: earlier.get(part) for part in parts}, {part: now.get(part) for part in parts})


def folder_beside(earlier: Run, usual: Path) -> Path:
    """The new run's folder: the usual name with `-again`, so that the same command resumes it; never the earlier run's folder."""
    path = usual.with_name(f"{usual.name}-again")
    return folder_beside(earlier, path) if path == earlier.path.resolve() else path


@dataclass(frozen=True)
class Pair:
    """A check in both runs.

    Attributes:
        id: of the check.
        before, now: its rows; None if a run does not have the check.
        differs: what the runs disagree on, as returned by `agreement.differences`.
    """

    id: str
    before: Row | None
    now: Row | None
    differs: list[str]


def pairs(before: Sequence[Row], now: Sequence[Row]) -> list[Pair]:
    """The checks of both runs side by side, in the new run's order; removed checks come last."""
    old, new = {row["id"]: row for row in before}, {row["id"]: row for row in now}
    return [Pair(name, old.get(name), new.get(name), differences([old.get(name), new.get(name)])) for name in {**new, **old}]
