"""The mesa study's tables and trials by name, for its claims and measures."""

from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value

# --- trials -----------------------------------------------------------------------------------------------------------


def linear(depth: int) -> Trials:
    """Some layers of linear attention."""
    return Trials(f"linear-{depth}")


LINEAR = linear(1)
WIDE = Trials("linear-1-wide")
FIXED = Trials("linear-1-fixed")
AGAIN = Trials("linear-1-again")
DEEPEST = Trials(lambda config: f"linear-{max(config.depths, default=1)}")
EVERY_DEPTH = Trials(lambda config: ("linear-1", *(f"linear-{depth}" for depth in config.depths)))
MESA = Trials("mesa-1")
FIXED_SYSTEM = Trials("fixed-system")
FRESH_SYSTEMS = Trials("fresh-systems")
CONTRACTING = Trials("contracting-1")
CONTRACTING_WIDE = Trials("contracting-1-wide")
CONTRACTING_MESA = Trials("contracting-mesa-1")
CONTRACTING_DEEPEST = Trials(lambda config: f"contracting-{max(config.contracting_depths, default=1)}")
STOPPING = Trials("stopping")


# --- networks ---------------------------------------------------------------------------------------------------------


class Loss(Table):
    """Test losses of a network and of its references on the same sequences, with log ratios of the network's to theirs."""

    digest: Value
    loss: Estimate
    versus_step: Estimate
    versus_ridge: Estimate


class Polynomial(Table):
    """Losses of polynomials in place of the inverse."""

    steps: Axis
    learned: Estimate
    neumann: Estimate


class Pattern(Table):
    """What the weights of one layer say."""

    off_pattern: Value
    step_size: Value
    searched_step_size: Value


class Compressed(Table):
    """Log ratios of losses, compressed network over whole."""

    versus_network: Estimate
    mutant: Estimate


class Interpolation(Table):
    """Losses along the second training, of the network and of its averages with the first one's compression."""

    step: Axis
    network: Value
    interpolated: Value
    shuffled: Value


class Probes(Table):
    """Held-out losses of linear probes."""

    layer: Axis
    position: Axis
    target: Value
    preconditioned: Value
    shuffled_target: Value
    shuffled_preconditioned: Value


# --- without training -------------------------------------------------------------------------------------------------


class Series(Table):
    """How much each step of the series helps."""

    smallest_fall: Value
    mutant: Value


class SolverCost(Table):
    """Operations of a solver step, and how they grow with the key size."""

    exponent: Value
    mutant: Value


class Stopping(Table):
    """What stopping at a tolerance costs."""

    tolerance: Axis
    layer: Axis
    steps: Value
    error: Value


class StoppingByQuarter(Table):
    """The error in each quarter of the sequence."""

    tolerance: Axis
    quarter: Axis
    layer: Axis
    error: Value


class FixedStepsByQuarter(Table):
    """The error in each quarter of the sequence."""

    steps: Axis
    quarter: Axis
    layer: Axis
    error: Value
