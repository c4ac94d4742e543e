"""Schemas of the JSON files in a run directory. A file that does not match is damaged or from another program; later code relies on the schema."""

from __future__ import annotations

from typing import Any, Literal, Required, TypedDict

import msgspec

FORMAT = 1
"""The version of the run directory's format."""


class Fingerprints(TypedDict):
    """The claims as they stood when the run started."""

    checks: dict[str, str]


class Device(TypedDict, total=False):
    """The machine; other fields are only displayed."""

    processor: Required[str]


class Record(TypedDict, total=False):
    """run.json."""

    format: Required[int]
    study: Required[str]
    preset: Required[str]
    config: Required[dict[str, Any]]
    changes: Required[list[str]]
    seeds: Required[list[int]]
    command: Required[str]
    started: Required[str]
    wall_seconds: Required[float]
    claims: Required[Fingerprints]
    versions: Required[dict[str, str | None]]
    device: Required[Device]
    git: str | None


class Identity(TypedDict, total=False):
    """The parts of an identity that code reads; other parts are only compared."""

    config: Any
    parents: dict[str, str]
    data: dict[str, str]
    code: str | dict[str, str]  # of modules, in records of an earlier version


class FitStatus(TypedDict, total=False):
    """One fit of a finished trial; `diverged` holds the seeds that met a value that is not finite and were frozen."""

    steps: Required[int]
    seconds: Required[float]
    compile_seconds: Required[float]
    diverged: list[int]


class Status(TypedDict, total=False):
    """status.json of a trial that is not finished."""

    state: Required[Literal["running", "failed", "skipped"]]
    identity: Required[Identity]
    error: str
    seconds: float


class Finished(TypedDict):
    """status.json of a finished trial."""

    state: Literal["finished"]
    identity: Identity
    seconds: float
    compile_seconds: float
    fits: dict[str, FitStatus]
    tables: dict[str, str]
    models: dict[str, str]


def defect(value: Any, kind: Any) -> str | None:
    """Where plain data does not match a schema, in one line; None if it matches."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return None
