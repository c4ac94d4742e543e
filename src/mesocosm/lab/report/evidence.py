"""Where in the code a check is measured."""

from __future__ import annotations

from collections.abc import Sequence

from mesocosm.claims.claim import Claim


def measured_at(study: str, claims: Sequence[Claim]) -> dict[str, str]:
    """Id of a check of the study of this name -> file and line where it is written, in the code as it is now."""
    return {f"{study}/{claim.id}.{check.name}": check.line for claim in claims for check in claim.checks}
