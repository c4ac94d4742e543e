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


# --- networks ---------------------------------------------------------------------------------------------------------


class Loss(Table):
    """Log ratios of a network's test loss to those of its references on the same sequences."""

    digest: Value
    versus_step: Estimate
    versus_ridge: Estimate


class GroupLoss(Table):
    """Test loss of a network in each group of test sequences."""

    group: Axis
    digest: Value
    loss: Value


class Polynomial(Table):
    """Losses of polynomials in place of the inverse, in each group of test sequences."""

    steps: Axis
    group: Axis
    digest: Value
    learned: Value
    neumann: Value


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
    """Log ratios of losses during the second training, average with the first training's compression over network."""

    step: Axis
    versus_network: Estimate
    mutant: Estimate


class Probes(Table):
    """Losses of linear probes in each group of held-out sequences."""

    layer: Axis
    position: Axis
    group: Axis
    target: Value
    preconditioned: Value
    shuffled_target: Value
    shuffled_preconditioned: Value


# --- without training -------------------------------------------------------------------------------------------------


class Series(Table):
    """The smallest drop in log10 error between steps of the series."""

    smallest_fall: Value
    mutant: Value
