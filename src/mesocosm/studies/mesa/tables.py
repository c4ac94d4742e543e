"""Tables and trials of the mesa study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value

# --- trials -----------------------------------------------------------------------------------------------------------


def linear(depth: int) -> Trials:
    """Linear attention with `depth` layers."""
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
    """Test losses of a network and its references on the same sequences, and log ratios of the network's to theirs."""

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
    """Weight pattern and step sizes of one layer."""

    off_pattern: Value
    step_size: Value
    searched_step_size: Value


class Compressed(Table):
    """Log ratios of losses, compressed network over whole."""

    versus_network: Estimate
    mutant: Estimate


class Interpolation(Table):
    """Losses during the second training, of the network and of its averages with the first training's compression."""

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
    """The smallest drop in log10 error between steps of the series."""

    smallest_fall: Value
    mutant: Value


class SolverCost(Table):
    """Operations of a solver step, and their growth with the key size."""

    exponent: Value
    mutant: Value


class Stopping(Table):
    """Solver steps and output error by tolerance."""

    tolerance: Axis
    layer: Axis
    steps: Value
    error: Value


class StoppingByQuarter(Table):
    """Output error in each quarter of the sequence, by tolerance."""

    tolerance: Axis
    quarter: Axis
    layer: Axis
    error: Value


class FixedStepsByQuarter(Table):
    """Output error in each quarter of the sequence, by fixed number of steps."""

    steps: Axis
    quarter: Axis
    layer: Axis
    error: Value
