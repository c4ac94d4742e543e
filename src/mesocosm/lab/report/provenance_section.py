"""A run's provenance: time, machine, config and package versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mesocosm.lab.formatting import seconds_text, seeds_text, when
from mesocosm.lab.store.configuration import flat


class Provenance(NamedTuple):
    """A run's provenance.

    Attributes:
        facts: heading -> fact; known ones only.
        config: field -> value.
        changed: fields that differ from the preset's.
        versions: package -> version.
    """

    facts: Mapping[str, str]
    config: Mapping[str, Any]
    changed: set[str]
    versions: Mapping[str, str]


def provenance_section(record: Mapping[str, Any]) -> Provenance:
    """The provenance in the contents of `run.json`."""
    facts = {
        "Started": when(record.get("started")),
        "Wall time": seconds_text(record.get("wall_seconds")),
        **{name.capitalize(): ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in record["device"].items()},
        "Seeds": seeds_text(record.get("seeds") or ()),
        "Revision": record.get("git"),
    }
    known = {name: str(fact) for name, fact in facts.items() if fact not in (None, "", "–")}
    changed = {re.split(r"[:\s]", change)[0] for change in record.get("changes") or ()}
    return Provenance(known, flat(record.get("config")), changed, record.get("versions") or {})
