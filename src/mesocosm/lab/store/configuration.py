"""Converts a study's config to and from plain data (as in `run.json` and identities), and lists changes between two configs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec


def plain(config: Any) -> Any:
    """Convert a config to strict JSON: lists, objects with text keys, and "nan", "inf" and "-inf" as text, so that it round-trips."""
    return _strict(msgspec.to_builtins(config, str_keys=True))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def from_plain(value: Any, kind: type) -> Any:
    """The config of this type that `plain` wrote.

    Raises:
        msgspec.ValidationError: the value does not match the type.
    """
    return msgspec.convert(value, kind, strict=False)  # not strict, so that the text "nan" becomes a number


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config under dotted names, in order."""
    if isinstance(config, Mapping):
        return {name: value for key, part in config.items() for name, value in flat(part, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): config} if prefix else {}


def changed_fields(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted names of the fields that differ between two configs as plain data, with the two values."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for name in {**old, **new} for line in changed_fields(old.get(name), new.get(name), f"{prefix}{name}.")]
    return [] if old == new else [f"{prefix.rstrip('.')}: {json.dumps(old)} -> {json.dumps(new)}"]
