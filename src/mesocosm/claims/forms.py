"""Shared forms of claims: the presets at which a check is judged, identities with mutants, unjudged claims, and notes from a table."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from mesocosm.claims.claim import Check, Claim, Control, Evidence, Exact
from mesocosm.claims.measures import instances
from mesocosm.claims.region import below
from mesocosm.claims.tables import Axis, Table, Value

ALL = frozenset({"quick", "cpu", "paper"})
"""For checks that the quick preset can judge."""
CPU = frozenset({"cpu", "paper"})
"""For checks that need the size of the record."""


class Errors(Table):
    """Errors of an identity on random instances, and of a mutant with one wrong term."""

    instance: Axis
    error: Value
    mutant: Value


class Identities(Errors):
    """Errors of several identities, by name."""

    identity: Axis


def against_mutant(
    name: str,
    mutant: str,
    *,
    by: Axis = Identities.identity,
    check: str = "identity",
    of: str = "largest relative error, float64",
    tolerance: float = 1e-10,
    replicate: str = "a random instance",
    evidence: Evidence = "identity",
) -> Check:
    """A check of an identity, with a mutant that has one wrong term as its control.

    Args:
        name: the identity's name in the table.
        mutant: what is wrong in the mutant.
        by: the axis of names in the table of errors.
        check: the check's name.
        of: what is measured.
        tolerance: the largest error that rounding explains.
        replicate: what is redrawn for each error.
        evidence: "implementation" if our code is compared with an independent form.
    """
    if not issubclass(by.table, Errors):
        raise TypeError(f"the table {by.table.name!r} is not a subclass of Errors")
    where: Any = {by: name}
    error, wrong = (instances(column, **where) for column in (by.table.error, by.table.mutant))
    return Check(check, Exact(of), below(tolerance), error, Control(mutant, wrong), judged_at=ALL, replicate=replicate, evidence=evidence)


def unjudged(id: str, statement: str, source: str, reason: str) -> Claim:
    """A claim that mesocosm does not judge, with the reason."""
    return Claim(id, statement, source, unjudged=reason)


def noted(claims: Sequence[Claim], notes: Mapping[str, str]) -> list[Claim]:
    """The claims with a note for each name `CLAIM.CHECK`. Other checks keep theirs, and all keep the line where they are written.

    Raises:
        ValueError: there is no such check.
    """
    names = {f"{claim.id}.{check.name}" for claim in claims for check in claim.checks}
    if unknown := sorted(notes.keys() - names):
        raise ValueError(f"there is a note on {unknown[0]}, and no such check")
    return [replace(claim, checks=[_with_note(check, notes.get(f"{claim.id}.{check.name}")) for check in claim.checks]) for claim in claims]


def _with_note(check: Check, note: str | None) -> Check:
    if note is None:
        return check
    found = copy(check)
    object.__setattr__(found, "note", note)  # `replace` would set the line anew
    return found
