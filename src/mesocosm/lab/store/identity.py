"""The identity of a finished trial. If any part of it changes, the trial is run again and one line gives the reason."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import jax

from mesocosm.lab.store.code import Code, changed_code, listed
from mesocosm.lab.store.configuration import changed_fields, plain
from mesocosm.lab.store.provenance import schedule, thread_count
from mesocosm.lab.store.requirements import installed
from mesocosm.studies.interface import Study, Trial

NAMED = {"data": "files of", "packages": "version of", "parents": "parent"}
"""Parts with an entry for each name, and the words before the names that changed."""


def identity(
    study: Study, trial: Trial, seeds: tuple[int, ...], parents: Mapping[str, str], code: Code, computer: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The identity's parts, ready for JSON. They hold only the code's name; code.json keeps the hash of each definition once per run.
    `computer` is the `machine()` that computes the trial, if it is not this one.
    """
    return installed(trial) | {
        "study": study.name,
        "trial": trial.name,
        "config": plain(trial.config),
        "precision": trial.precision,
        "seeds": list(seeds),
        "over seeds": trial.over_seeds,
        "parents": dict(parents),
        "code": code.name,
        **(machine() if computer is None else computer),
    }


def machine() -> dict[str, Any]:
    """The settings that can change the bits of a result: devices, threads, compiler settings and versions."""
    return {
        "threads": thread_count(),
        "compiler": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split())) + f"; {schedule()}",
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        **{package: version(package) for package in ("jax", "jaxlib", "equinox", "optax")},
    }


def digest(parts: Mapping[str, Any]) -> str:
    """A short hash of the parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def difference(old: Mapping[str, Any], new: Mapping[str, Any], known: Mapping[str, Mapping[str, str]] = MappingProxyType({})) -> str:
    """The changes, in one line. `known`: name of a trial's code -> its definitions."""
    changed = []
    for part in new:
        if old.get(part) == new[part]:
            continue
        if part == "code":
            changed.append(f"code of {listed(changed_code(old.get('code'), Code(new['code'], known.get(new['code'], {})), known))}")
        elif part == "config":
            changed.append(f"config ({', '.join(changed_fields(old.get('config', {}), new['config']))})")
        elif part in NAMED:
            before, after = old.get(part, {}), new[part]
            changed.append(f"{NAMED[part]} {', '.join(sorted(name for name in after if before.get(name) != after[name]))}")
        else:
            changed.append(f"{part} ({old.get(part)} -> {new[part]})")
    return "; ".join(changed)
