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


class Bandits(Table):
    """Squared bias over squared gradient of two estimators that credit by the return."""

    hca_return: Value
    counterfactual_return: Value


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


class TreeIdentities(Table):
    """Errors of the tree's identities, for every reward function."""

    episodes_without_overlap: Value
    episodes_with_overlap: Value
    variance_without_overlap: Value
    variance_with_overlap: Value
    variance_with_one_group: Value
    variance_with_two_groups: Value


# --- sampled ----------------------------------------------------------------------------------------------------------


class Ratios(Table):
    """Signal-to-noise ratios by distance."""

    estimator: Axis
    length: Axis
    snr: Estimate


class SignalByReturn(Ratios):
    """Signal-to-noise ratios of estimators that credit by the return."""


class Signal(Ratios):
    """Signal-to-noise ratios and their closed forms."""

    closed_form: Value


class SignalPartlyTrained(Signal):
    """The same for a partly trained policy."""


class Solved(Table):
    """Whether the task was solved early, and the probability of the treasure at the end."""

    solved: Value
    last: Value
