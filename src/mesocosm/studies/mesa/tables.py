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


SOFTMAX, UNPLACED, HYBRID, HYBRID_LINEAR = (Trials(name) for name in ("softmax-3", "unplaced-3", "hybrid", "hybrid-linear"))
RECALL, NOISY, AUTOMATA = (
    {mixer: Trials(f"{problem}-{mixer}") for mixer in ("mesa", "gla", "attention")} for problem in ("recall", "noisy-recall", "automata")
)
SIGNED, UNSIGNED = Trials("parity-signed"), Trials("parity-unsigned")


def on(source: str, trial: str) -> Trials:
    """A network on observations of other systems."""
    return Trials(f"{source}-{trial}")


# --- networks ---------------------------------------------------------------------------------------------------------


class Loss(Table):
    """Log ratios of a network's test loss to those of its references on the same sequences."""

    digest: Value
    versus_step: Estimate
    versus_ridge: Estimate


class PositionLoss(Table):
    """Test loss of a network at every position."""

    position: Axis
    network: Value


class GroupLoss(Table):
    """Test loss of a network in each group of test sequences: mean over positions, over the last fifth of them, and over the fifth before."""

    group: Axis
    digest: Value
    loss: Value
    late: Value
    before: Value


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


# --- networks on observations -----------------------------------------------------------------------------------------


class RawLoss(Table):
    """Test losses in each group of sequences: mean over positions, and at the last one."""

    group: Axis
    digest: Value
    loss: Value
    late: Value


class RawProbes(Table):
    """Losses of probes of the last position's target after each layer (0: the embedding) in each group of held-out sequences."""

    layer: Axis
    group: Axis
    target: Value
    shuffled_target: Value


class Binding(Table):
    """Mean squared errors of probes of the tokens some way back, after each layer."""

    layer: Axis
    back: Axis
    error: Value


class Sensitivity(Table):
    """Size of the first layer's gradient with respect to the tokens some way back."""

    back: Axis
    sensitivity: Value


class AttentionMass(Table):
    """The first layer's mean attention on the tokens some way back, and its standard deviation over sequences."""

    head: Axis
    back: Axis
    mass: Value
    spread: Value


class Distilled(Table):
    """Test losses in each group of sequences with one layer replaced, and without."""

    dim: Axis
    layer: Axis
    pupil: Axis
    group: Axis
    digest: Value
    whole: Value
    replaced: Value


class FewShot(Table):
    """Mean losses at every pair, by prompt (`few_shot.PromptLosses`)."""

    prompt: Axis
    pair: Axis
    digest: Value
    one: Value
    two: Value
    every: Value
    neighbours: Value
    true_pairs: Value


class Recall(Table):
    """Accuracy at the queries, or how often a prediction may come next in a language."""

    digest: Value
    accuracy: Value


class Solver(Table):
    """Loss and accuracy of a network under bounds of its layers' solver (a tolerance, or a number of steps), and the mean number of steps taken."""

    bound: Axis
    digest: Value
    loss: Value
    accuracy: Value
    steps: Value


class Parity(Table):
    """Accuracy of the parity of all bits, by length in training lengths."""

    factor: Axis
    accuracy: Value


# --- without training -------------------------------------------------------------------------------------------------


class Series(Table):
    """The smallest drop in log10 error between steps of the series."""

    smallest_fall: Value
    mutant: Value


class Forgetting(Table):
    """Growth of the inverse in a direction without keys, over that of 1 / gamma, with forgetting and with a constant regulariser."""

    instance: Axis
    growth: Value
    constant: Value


class Dimension(Table):
    """Losses per component of the two algorithms on systems of some dimension and noise."""

    dim: Axis
    noise: Axis
    digest: Value
    least_squares: Value
    kernel: Value
