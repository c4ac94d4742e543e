"""Tables and trials of the cocoa study, for its claims and measures."""

from mesocosm.claims.forms import Errors
from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value

# Prefixes of the names of trials, before the estimator's; a trial with exact models has the estimator's name alone.
WHOLE, LEARNED, LONG, BETWEEN, ALIASED, ROOMS, SWITCHED = "whole-", "learned-", "long-", "between-", "aliased-", "rooms-", "switched-"
USER = "user"
EXACT = "exact-"
"""Before the name of an estimator with exact models, in shadow training and after a switch of rewards."""


def at_rate(estimator: str, other: str) -> str:
    """The name of an estimator at another's learning rate."""
    return f"{estimator}-as-{other}"


def learner(estimator: str) -> Trials:
    """The trial that trains with an estimator."""
    return Trials(estimator)


# --- exact ------------------------------------------------------------------------------------------------------------


class Theorems(Errors):
    """Errors of each theorem on random processes."""

    theorem: Axis


class Covariances(Table):
    """Smallest eigenvalues of successive differences of covariances (Theorem 3)."""

    smallest_eigenvalue: Value
    mutant: Value


class Tree(Table):
    """Exact variances in each environment, by overlap."""

    offset: Axis
    overlap: Axis
    estimator: Axis
    variance: Value
    bias: Value


class TreeGroups(Table):
    """The same at one overlap, for many numbers of groups."""

    offset: Axis
    estimator: Axis
    variance: Value


class TreeEpisodes(Table):
    """Largest difference between gradients of HCA+ and REINFORCE in one episode, by environment and overlap."""

    overlap: Axis
    apart: Value


# --- sampled ----------------------------------------------------------------------------------------------------------


class Ratios(Table):
    """Signal-to-noise ratios by distance."""

    estimator: Axis
    length: Axis
    snr: Estimate


class SignalByReturn(Ratios):
    """Signal-to-noise ratios of estimators that credit by the return, on tracks with and without apples."""

    apples: Axis


class Signal(Ratios):
    """Signal-to-noise ratios of estimators that credit by single rewards, states or values."""


class Learning(Table):
    """Probability of the treasure along training with exact models."""

    step: Axis
    treasure: Value


class Solved(Table):
    """Whether the task was solved early, and the probability of the treasure at the end."""

    solved: Value
    last: Value


class Perturbed(Table):
    """Signal-to-noise ratios of exact models multiplied by noise."""

    sigma: Axis
    estimator: Axis
    snr: Estimate


# --- learned models ---------------------------------------------------------------------------------------------------


class Learned(Table):
    """Probability of the treasure along training."""

    step: Axis
    estimator: Axis
    length: Axis
    treasure: Value


class LearnedLast(Table):
    """That probability over the last tenth of training, and over all of it."""

    last: Value
    mean: Value


class LearnedBias(Table):
    """Exact bias of the first step's gradient along training, in decibels; the gradient is that of the first state's logits, in `Shadow` of all parameters."""

    step: Axis
    logit_bias: Value


class Shadow(Table):
    """Statistics of the first step's gradient along shadow training, in decibels; `known` is 0 where the mean is that of sampled episodes."""

    step: Axis
    estimator: Axis
    length: Axis
    treasure: Value
    snr: Value
    variance: Value
    bias: Value
    known: Value


class RoomsLast(Table):
    """Share of questions answered correctly over the last tenth of training, and over all of it."""

    last: Value
    mean: Value


class RoomsDiagonal(Table):
    """Share of the mean absolute coefficients that goes to a question's own context."""

    encoding: Axis
    diagonal: Value


class Adapted(Table):
    """Iterations from the switch of rewards until the policy leaves the treasure, and whether it does; all iterations after the switch if it does not."""

    level: Value
    took: Value
    left: Value
