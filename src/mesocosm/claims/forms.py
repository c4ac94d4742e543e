"""Forms that claims of several studies share: from which preset on a check is judged, an identity beside its mutant, and a claim that nobody judges."""

from collections.abc import Callable

from mesocosm.claims.claim import Check, Claim, Control, Exact
from mesocosm.claims.region import below
from mesocosm.claims.replicates import Instances
from mesocosm.claims.view import View

ALL = frozenset({"quick", "cpu", "paper"})
"""The quick preset is large enough already."""
CPU = frozenset({"cpu", "paper"})
"""What needs the size of the record."""


def against_mutant(
    errors: Callable[[str, str], Callable[[View], Instances]],
    name: str,
    mutant: str,
    *,
    check: str = "identity",
    of: str = "largest relative error, float64",
    tolerance: float = 1e-10,
    replicate: str = "a random instance",
) -> Check:
    """An identity whose instances carry two errors, in the columns `error` and `mutant`: its own, and that of the same with one term made wrong.

    Args:
        errors: from the identity's name and a column to the measurement of that column.
        name: of the identity in the table that `errors` reads.
        mutant: what is made wrong.
        check: the check's name.
        of: what an error is.
        tolerance: the largest error that is rounding.
        replicate: what is drawn anew for each error.
    """
    return Check(check, Exact(of), below(tolerance), errors(name, "error"), Control(mutant, errors(name, "mutant")), judged_at=ALL, replicate=replicate)


def unjudged(id: str, statement: str, source: str, reason: str) -> Claim:
    """A claim of the paper that this bench does not judge, and why."""
    return Claim(id, statement, source, unjudged=reason)
