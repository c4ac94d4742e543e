"""Aggregates rows of `claims.json` into verdicts of whole claims, and counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from mesocosm.claims.earlier import Verdict

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MARKS = {"holds": "✓", "fails": "✕", "inconclusive": "≈", "not judged": "–"}

EVIDENCE = ("finding", "implementation", "identity")
PLURAL = {"finding": "findings", "implementation": "implementation", "identity": "identities"}

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


def claim_evidence(rows: Sequence[Row]) -> str | None:
    """ "finding" if any of a claim's checks is one, else "implementation" if any is, else "identity"; None without checks.

    A claim about trained networks has findings among its checks, so it is counted among the findings and holds only by them.
    """
    kinds = {row_evidence(row) for row in rows}
    return next((kind for kind in EVIDENCE if kind in kinds), None)


def row_evidence(row: Row) -> str | None:
    """The kind of evidence of a check; None for a claim without checks. Rows of earlier versions do not store it."""
    if row.get("kind") is None:
        return None
    return row.get("evidence") or ("identity" if row["kind"] in ("exact", "every") else "finding")


def tally_by_evidence(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Kind of evidence -> verdict -> number of claims, findings first; claims without checks are left out."""
    groups = group_by_claim(rows).values()
    found = {kind: _counted([claim_verdict(group) for group in groups if claim_evidence(group) == kind]) for kind in EVIDENCE}
    return {kind: verdicts for kind, verdicts in found.items() if verdicts}


def tally_text(rows: Sequence[Row]) -> str:
    """The counts as one line, for example "findings: 5 hold, 1 fails; identities: 3 hold; 4 not judged"."""
    parts = []
    for kind, verdicts in tally_by_evidence(rows).items():
        judged = {verdict: number for verdict, number in verdicts.items() if verdict != "not judged"}
        if judged:
            parts.append(f"{PLURAL[kind]}: {', '.join(f'{number} {_verb(verdict, number)}' for verdict, number in judged.items())}")
    unjudged = tally(rows).get("not judged", 0)
    return "; ".join(parts + [f"{unjudged} not judged"] * bool(unjudged))


def _verb(verdict: str, number: int) -> str:
    return {"holds": "hold", "fails": "fail"}.get(verdict, verdict) if number > 1 else verdict


def tally(rows: Sequence[Row]) -> dict[str, int]:
    """Verdict -> number of claims with it, best first; omits verdicts that no claim has."""
    return _counted([claim_verdict(group) for group in group_by_claim(rows).values()])


def checks_by_verdict(rows: Sequence[Row]) -> dict[str, int]:
    """Verdict -> number of checks with it, best first."""
    return _counted([row["verdict"] for row in rows])


def remarks(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Remark -> the ids of the judged checks that carry it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] != "not judged" and row.get("reason"):
            found.setdefault(str(row["reason"]), []).append(str(row["id"]))
    return found


def _counted(verdicts: Sequence[str]) -> dict[str, int]:
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
