"""The toy study's tables and trials by name, for its claims."""

from mesocosm.claims.tables import Axis, Table, Trials, Value

ROLLING = Trials("rolling")
FROZEN = Trials("frozen")


class Identity(Table):
    """Errors of the height."""

    instance: Axis
    error: Value
    mutant: Value


class Heights(Table):
    """Where each ball started and where it came to rest."""

    start: Value
    end: Value
