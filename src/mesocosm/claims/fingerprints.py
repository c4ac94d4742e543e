"""Hashes of what must be fixed before a run, so that a check that was changed after it says so."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from mesocosm.claims.claim import Check, Claim

CHANGED = "the check was changed after the run started"
DECLARED_LATER = "the check was declared after the run started"
CODE_CHANGED = "its measurement's code was changed after the run started"
CODE_UNKNOWN = "the record does not hold the code of its measurements"


def fingerprints(claims: Sequence[Claim], code: Mapping[str, str] | None = None) -> dict[str, str]:
    """Check ("C2.loss") -> "DECLARATION-CODE", two hashes of what must be fixed before a run.

    The first is of the statement, its source, kind, region, presets, control's name and replicate.

    Args:
        claims: the claims.
        code: check -> hash of the code of its measurement and control, the second part; None leaves it empty.
    """
    pairs = {f"{claim.id}.{check.name}": (claim, check) for claim in claims for check in claim.checks}
    return {name: f"{_declaration(claim, check)}-{(code or {}).get(name, '')}" for name, (claim, check) in pairs.items()}


def changes(claim: Claim, check: Check, stored: str | None, code: Mapping[str, str] | None) -> list[str]:
    """What was changed after the run started.

    Args:
        claim, check: as they are now.
        stored: the fingerprint from when the run started; None if it has none. Earlier versions wrote neither the source nor the code.
        code: check -> hash of the code as it is now; None to compare declarations only.
    """
    if stored is None:
        return [DECLARED_LATER]
    declared, with_code, measured = stored.partition("-")
    found = [] if declared == _declaration(claim, check, with_source=bool(with_code)) else [CHANGED]
    if code is not None and measured != code.get(f"{claim.id}.{check.name}"):
        found.append(CODE_CHANGED if measured else CODE_UNKNOWN)
    return found


def _declaration(claim: Claim, check: Check, *, with_source: bool = True) -> str:
    fixed = [claim.statement, repr(check.kind), check.inside.low, check.inside.high, sorted(check.judged_at), check.control.name, check.replicate]
    return hashlib.sha256(json.dumps([*fixed, claim.source] if with_source else fixed).encode()).hexdigest()[:16]
