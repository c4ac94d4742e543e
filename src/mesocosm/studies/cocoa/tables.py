"""Tables and trials of the cocoa study, for its claims and measures."""

from mesocosm.claims.forms import Errors
from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value


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


class Solved(Table):
    """Whether the task was solved early, and the probability of the treasure at the end."""

    solved: Value
    last: Value
