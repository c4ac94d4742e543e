"""Tables, trials and arms of the coala study, for its claims and measures."""

from mesocosm.claims.forms import Identities
from mesocosm.claims.tables import Axis, Table, Value

__all__ = ["AlwaysDefecting", "Balances", "Biases", "Identities", "LookAhead", "Met", "NaiveMeans", "PeerMeans", "Pools", "WithPeer"]

SHAPERS, FROM_DEFECTING, ALONE, MIXED = "shapers", "shapers-from-defecting", "alone", "mixed"
FROM_TIT_FOR_TAT, RETALIATORS, ALONE_FROM_TIT_FOR_TAT = "mixed-from-tit-for-tat", "shapers-from-tit-for-tat", "alone-from-tit-for-tat"
ESCAPE, ESCAPE_ALONE = "mixed-from-defecting", "alone-from-defecting"
"""Arms: agents among naive learners only, the same from always defecting, agents among each other only, both; and those that start elsewhere."""


def ahead(steps: int) -> str:
    """The arm of LOLA-DICE with this many look-ahead steps; 0: the plain gradient."""
    return f"ahead-{steps}"


def mixed_ahead(steps: int) -> str:
    """The same mixed with the plain gradient."""
    return f"ahead-{steps}-mixed"


METHODS = ("coala", "m-fos", "batch-unaware")
AGENTS_ALONE = "agents-alone"


def mixed(method: str) -> str:
    """The trial of a mixed pool of agents with memory."""
    return f"agents-mixed-{method}"


def shaping(method: str) -> str:
    """The trial of agents with memory among naive learners only."""
    return f"agents-shaping-{method}"


def of_four(method: str) -> str:
    """The trial of a mixed pool of four agents with memory."""
    return f"agents-four-{method}"


FOUR_ALONE, PULLED, NOT_PULLED = of_four("alone"), of_four("pulled"), of_four("not-pulled")
"""Four agents without naive learners; an M-FOS agent among three COALA agents; four M-FOS agents with the same settings."""
PULLED_AGENT = 3


class WithPeer(Table):
    """Agents with memory, each for itself, mean over the last tenth of training: rewards from each other."""

    agent: Axis
    peer: Value


class PeerMeans(Table):
    """The same, mean over a pool."""

    peer: Value


class NaiveMeans(Table):
    """Mean over a pool of agents with memory and the last tenth of training: their rewards beside naive learners, those of the latter, and cooperation with
    them in the first and last inner episodes."""

    ego: Value
    naive: Value
    first: Value
    last: Value


class Balances(Table):
    """Log of the norm of the gradient's part from later inner episodes over that from the present one, mean over agents and training."""

    balance: Value


class Biases(Table):
    """Distances of expected estimates from the gradient."""

    m_fos: Value
    batch_unaware: Value
    coala: Value


class AlwaysDefecting(Table):
    """The gradient at always defecting, in probability space."""

    reward: Value
    others: Value
    alone: Value
    slack: Value
    with_reward: Value


class Pools(Table):
    """Pairs after training, by arm."""

    arm: Axis
    peer: Value
    ego: Value
    naive: Value
    above_retaliating: Value
    above_defecting: Value
    fairness: Value
    distance: Value
    random: Value


class Met(Table):
    """Mean return of two agents against each other before and after they learned from each other."""

    arm: Axis
    before: Value
    after: Value


class LookAhead(Table):
    """Pairs trained by LOLA-DICE, and what they and a naive learner earn at the end of its learning."""

    arm: Axis
    peer: Value
    ego: Value
    naive: Value
