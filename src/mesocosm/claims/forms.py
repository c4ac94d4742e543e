"""Forms that claims of several studies share: from which preset on a check is judged, an identity beside its mutant, and a claim that nobody judges."""

from typing import Any

from mesocosm.claims.claim import Check, Claim, Control, Exact
from mesocosm.claims.measures import instances
from mesocosm.claims.region import below
from mesocosm.claims.tables import Axis, Table, Value

ALL = frozenset({"quick", "cpu", "paper"})
"""The quick preset is large enough already."""
CPU = frozenset({"cpu", "paper"})
"""What needs the size of the record."""


class Errors(Table):
    """A table of statements on random instances: the error of each, and that of the same with one term made wrong."""

    instance: Axis
    error: Value
    mutant: Value


class Identities(Errors):
    """Such a table, by the name of the identity."""

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
) -> Check:
    """An identity beside the same with one term made wrong.

    Args:
        name: of the identity in the table.
        mutant: what is made wrong.
        by: the axis of names, in the table where the errors stand.
        check: the check's name.
        of: what an error is.
        tolerance: the largest error that is rounding.
        replicate: what is drawn anew for each error.
    """
    if not issubclass(by.table, Errors):
        raise TypeError(f"the table {by.table.name!r} does not hold errors beside those of a mutant")
    where: Any = {by: name}
    error, wrong = (instances(column, **where) for column in (by.table.error, by.table.mutant))
    return Check(check, Exact(of), below(tolerance), error, Control(mutant, wrong), judged_at=ALL, replicate=replicate)


def unjudged(id: str, statement: str, source: str, reason: str) -> Claim:
    """A claim of the paper that this bench does not judge, and why."""
    return Claim(id, statement, source, unjudged=reason)
