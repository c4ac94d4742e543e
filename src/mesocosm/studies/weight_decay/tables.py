"""Tables of the weight-decay study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Estimate, Table, Value


class Step(Table):
    """Errors of the imbalance after a step against the law, with and without its source."""

    error: Value
    mutant: Value


class Minima(Table):
    """Distances of gradient descent's results from minima of the nuclear problem."""

    arm: Axis
    subgradient: Value
    difference: Value


class Descent(Table):
    """Gap and imbalance during gradient descent on a loss that is not quadratic."""

    arm: Axis
    step: Axis
    time: Value
    bound: Value
    law: Value
    gap: Value
    difference: Value


class DeepDescent(Table):
    """The balances of a product of three matrices during gradient descent, each of a pair of neighbours."""

    arm: Axis
    place: Axis
    step: Axis
    time: Value
    difference: Value
    law: Value


class Trajectory(Table):
    """Gap and imbalance during the factorisation."""

    arm: Axis
    decay: Axis
    step: Axis
    time: Value
    law: Value
    gap: Value
    difference: Value


class Spectra(Table):
    """Final singular values, the target's, and the soft threshold."""

    arm: Axis
    decay: Axis
    target: Value
    value: Value


class Spectrum(Spectra):
    """Final spectrum of the factorisation."""


class AdaptiveSpectrum(Spectra):
    """Final spectrum of the rotated target under adaptive optimisers."""

    optimizer: Axis


class AdaptiveBalance(Table):
    """Final balance and rank under adaptive optimisers."""

    optimizer: Axis
    arm: Axis
    decay: Axis
    gap: Value
    difference: Value
    imbalance: Value
    relative_gap: Value
    effective_rank: Value
    rank95_sum: Value


class Scalars(Table):
    """Final values of two scalars, direct and factored."""

    optimizer: Axis
    form: Axis
    decay: Axis
    scalar: Axis
    target: Value
    value: Value


class Hidden(Table):
    """Number of hidden directions that stay, and the teacher's rank."""

    arm: Axis
    directions: Value
    teacher: Value


class Pruned(Table):
    """Number of directions that stay of distinct singular values, of those above the decay, and the distance from the single matrix's minimum."""

    arm: Axis
    directions: Value
    above: Value
    distance: Value


class Equilibrium(Table):
    """Distance of the rows of both factors from the equilibrium of Sec. 3.4."""

    arm: Axis
    error: Value


class EndPoints(Table):
    """Where two scalars on a line end."""

    rule: Axis
    form: Axis
    setting: Axis
    first: Value
    second: Value
    error: Value


class NoisyPaths(Table):
    """The imbalance along paths with gradient noise, and at the start."""

    arm: Axis
    noise: Axis
    time: Axis
    difference: Value
    start: Value


class Boundedness(Table):
    """Growth of two factors, their energy over the first loss, and errors of the imbalance's law."""

    arm: Axis
    growth: Value
    energy: Value
    error: Value
    mutant: Value


class GapBounds(Table):
    """Differences between the gap of two random factors and two bounds on it."""

    paper: Value
    linear: Value
    order: Value
    equal_norms: Value
    spectral: Value


class DeepBounds(Table):
    """The gap of several layers near balance over the paper's bound, and that of unbalanced ones over the bound of balanced ones."""

    depth: Axis
    ratio: Value
    unbalanced: Value


class AttentionProducts(Table):
    """Rank and balance of the products of attention heads during training, means over a layer's heads."""

    task: Axis
    attention: Axis
    elsewhere: Axis
    step: Axis
    layer: Axis
    product: Axis
    clock: Value
    rank: Value
    interpolated_rank: Value
    gap: Value
    difference: Value
    relative_gap: Value
    imbalance: Value


class HeldOut(Table):
    """Scores of transformers on held-out examples."""

    task: Axis
    attention: Axis
    elsewhere: Axis
    loss: Estimate
    accuracy: Estimate
    perplexity: Value
    baseline: Value
    ablated_loss: Value
    ablated_accuracy: Value
