"""Tables of the weight-decay study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Table, Value


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
