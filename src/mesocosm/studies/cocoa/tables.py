"""The cocoa study's tables and trials by name, for its claims and measures."""

from mesocosm.claims.forms import Errors
from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value


def learner(estimator: str) -> Trials:
    """The policies that learn by an estimator."""
    return Trials(estimator)


# --- exact ------------------------------------------------------------------------------------------------------------


class Theorems(Errors):
    """Errors of each theorem on random processes."""

    theorem: Axis


class Covariances(Table):
    """The order of Theorem 3."""

    smallest_eigenvalue: Value
    mutant: Value


class Bandits(Table):
    """Squared bias over squared gradient of two ways to credit by the return."""

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
    """What must be equal, in every environment that there is."""

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
    """Of estimators that credit by the return."""


class Signal(Ratios):
    """Beside their closed forms."""

    closed_form: Value


class SignalPartlyTrained(Signal):
    """The same for a policy that has learned something."""


class Solved(Table):
    """Whether the task was solved early, and how well at last."""

    solved: Value
    last: Value
