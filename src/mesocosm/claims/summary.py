"""Aggregates rows of `claims.json` into verdicts of whole claims, and counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

VERDICTS = ("holds", "fails", "inconclusive", "not judged")
MARKS = {"holds": "✓", "fails": "✕", "inconclusive": "≈", "not judged": "–"}

Row = Mapping[str, Any]


def group_by_claim(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by claim, preserving order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["claim"]), []).append(row)
    return groups


def claim_verdict(rows: Sequence[Row]) -> str:
    """A claim holds iff all its checks hold and fails iff any fails; otherwise it is `inconclusive` if any check is, else `not judged`."""
    verdicts = {row["verdict"] for row in rows}
    if verdicts == {"holds"}:
        return "holds"
    return next((verdict for verdict in ("fails", "inconclusive") if verdict in verdicts), "not judged")


def judged_share(rows: Sequence[Row]) -> str | None:
    """How many of a claim's checks were judged; None unless it is some but not all."""
    judged = sum(row["verdict"] != "not judged" for row in rows)
    return f"{judged} of {len(rows)} checks judged" if 0 < judged < len(rows) else None


def tally(rows: Sequence[Row]) -> dict[str, int]:
    """Verdict -> number of claims with it, best first; omits verdicts that no claim has."""
    return _counted([claim_verdict(group) for group in group_by_claim(rows).values()])


def checks_by_verdict(rows: Sequence[Row]) -> dict[str, int]:
    """Verdict -> number of checks with it, best first."""
    return _counted([row["verdict"] for row in rows])


def _counted(verdicts: Sequence[str]) -> dict[str, int]:
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
