"""Who a finished trial is. If any of this changes, its tables are another trial's, and it is run again with one line that says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jax

from mesocosm.lab.store.code import code_hashes
from mesocosm.lab.store.configuration import changed_fields, plain
from mesocosm.lab.store.provenance import thread_count
from mesocosm.studies.interface import Study, Trial
from mesocosm.tasks import data_sets


def identity(study: Study, trial: Trial, seeds: tuple[int, ...], parents: Mapping[str, str]) -> dict[str, Any]:
    """The identity's parts, JSON-ready."""
    data = {"data": {name: data_sets.find(name).checksum for name in trial.data}} if trial.data else {}
    return data | {
        "study": study.name,
        "trial": trial.name,
        "config": plain(trial.config),
        "precision": trial.precision,
        "seeds": list(seeds),
        "over seeds": trial.over_seeds,
        "threads": thread_count(),
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "equinox": version("equinox"),
        "optax": version("optax"),
        "parents": dict(parents),
        "code": code_hashes(trial.run.__module__, *trial.user_parts),
    }


def digest(parts: Mapping[str, Any]) -> str:
    """A short hash of the parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What changed, in one line."""
    changed = []
    for part in new:
        if old.get(part) == new[part]:
            continue
        if part == "code":
            before, after = old.get("code", {}), new["code"]
            modules = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            changed.append(f"code of {', '.join(modules)}")
        elif part == "config":
            changed.append(f"config ({', '.join(changed_fields(old.get('config', {}), new['config']))})")
        elif part == "data":
            before, after = old.get("data", {}), new["data"]
            changed.append(f"files of {', '.join(sorted(name for name in after if before.get(name) != after[name]))}")
        elif part == "parents":
            before, after = old.get("parents", {}), new["parents"]
            changed.append(f"parent {', '.join(sorted(name for name in after if before.get(name) != after[name]))}")
        else:
            changed.append(f"{part} ({old.get(part)} -> {new[part]})")
    return "; ".join(changed)
