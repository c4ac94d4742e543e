"""Finds the code of checks."""

from __future__ import annotations

from collections.abc import Sequence

from mesocosm.claims.claim import Claim


def measured_at(study: str, claims: Sequence[Claim]) -> dict[str, str]:
    """Check id -> file and line of the check in the current code."""
    return {f"{study}/{claim.id}.{check.name}": check.line for claim in claims for check in claim.checks}
