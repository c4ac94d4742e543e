"""The study's table and trials by name, for its claims."""

from mesocosm.claims.tables import Table, Trials, Value

MOVING = Trials("moving")
STILL = Trials("still")


class Forecaster(Table):
    """The learned gain, and the excess of its forecast errors over Kalman's."""

    gain: Value
    digest: Value
    excess: Value
    excess_error: Value
