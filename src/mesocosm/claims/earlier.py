"""Verdicts that earlier records of a study gave on the same check, and their text in a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Verdict = Literal["holds", "fails", "inconclusive", "not judged"]
Ground = Literal["these tables", "these seeds", "other seeds"]


@dataclass(frozen=True)
class EarlierVerdict:
    """A verdict of an earlier record of the study on the same check.

    Attributes:
        verdict: what it was.
        date: the day on which the record, or its judgement, was made.
        seeds: the record's seeds, as text.
        on: what was judged: this run's own tables, at an earlier time; another record with some of this run's seeds; or one with other seeds.
    """

    verdict: Verdict
    date: str
    seeds: str
    on: Ground


def earlier_text(row: Mapping[str, Any]) -> str | None:
    """The earlier verdicts of a row of `claims.json` in one line; None if there are none."""
    parts = []
    for ground in get_args(Ground):
        found = [one for one in row.get("earlier") or () if one["on"] == ground]
        told = ", ".join(f"{one['verdict']} ({one['date']}{', seeds ' + one['seeds'] if ground == 'other seeds' else ''})" for one in found)
        parts += [f"on {ground}: {told}"] if found else []
    return f"earlier verdicts {'; '.join(parts)}" if parts else None


def verdict_changed(row: Mapping[str, Any]) -> bool:
    """Whether an earlier verdict of a row of `claims.json` differs from its own."""
    return any(one["verdict"] != row["verdict"] for one in row.get("earlier") or ())
