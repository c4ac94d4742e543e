"""The weight-decay study's tables by name, for its claims and measures."""

from mesocosm.claims.tables import Axis, Table, Value


class Step(Table):
    """The imbalance after a step against the law's, and against the law without its source."""

    error: Value
    mutant: Value


class Minima(Table):
    """How far the ends of gradient descent are from minima of the nuclear problem."""

    arm: Axis
    subgradient: Value
    difference: Value


class Descent(Table):
    """Gap and imbalance along gradient descent on a loss that is not quadratic."""

    arm: Axis
    step: Axis
    time: Value
    bound: Value
    law: Value
    gap: Value
    difference: Value


class Trajectory(Table):
    """Gap and imbalance along the factorisation."""

    arm: Axis
    decay: Axis
    step: Axis
    time: Value
    law: Value
    gap: Value
    difference: Value


class Spectra(Table):
    """Final singular values beside the target's and the soft threshold."""

    arm: Axis
    decay: Axis
    target: Value
    value: Value


class Spectrum(Spectra):
    """Of the factorisation."""


class AdaptiveSpectrum(Spectra):
    """Of the rotated target under adaptive optimisers."""

    optimizer: Axis


class AdaptiveBalance(Table):
    """Balance and rank at the end, under adaptive optimisers."""

    optimizer: Axis
    arm: Axis
    decay: Axis
    gap: Value
    difference: Value
    imbalance: Value
    relative_gap: Value
    effective_rank: Value


class Scalars(Table):
    """Two scalars at the end, as themselves and as products."""

    optimizer: Axis
    form: Axis
    decay: Axis
    scalar: Axis
    target: Value
    value: Value


class Hidden(Table):
    """How many hidden directions and neurons stay, and how many the teacher has."""

    arm: Axis
    directions: Value
    neurons: Value
    teacher: Value
