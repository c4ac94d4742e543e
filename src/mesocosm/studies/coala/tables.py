"""Tables, trials and arms of the coala study, for its claims and measures."""

from mesocosm.claims.forms import Identities
from mesocosm.claims.tables import Axis, Table, Value

__all__ = [
    "AlwaysDefecting",
    "Anybody",
    "Balances",
    "Biases",
    "ExtortersMet",
    "Extortion",
    "Identities",
    "InContextPeers",
    "LookAhead",
    "Met",
    "NaiveMeans",
    "PeerMeans",
    "Pools",
    "Responses",
    "WithPeer",
]

SHAPERS, FROM_DEFECTING, ALONE, MIXED = "shapers", "shapers-from-defecting", "alone", "mixed"
FROM_TIT_FOR_TAT, RETALIATORS, ALONE_FROM_TIT_FOR_TAT = "mixed-from-tit-for-tat", "shapers-from-tit-for-tat", "alone-from-tit-for-tat"
DEFECTORS, ESCAPE, ESCAPE_ALONE = "defectors", "mixed-from-defecting", "alone-from-defecting"
"""Arms: agents among naive learners only, the same from always defecting, agents among each other only, both; and those that start elsewhere. Defectors are
alone and start at always defecting, with the shapers' discount."""


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


IN_CONTEXT = "in-context"
AMONG_POLICIES, TOLD, NO_POLICIES = (f"{IN_CONTEXT}-{name}" for name in ("mixed", "told", "alone"))
NEW_PAIRS, NO_MEMORY = f"{IN_CONTEXT}-new-pairs", f"{IN_CONTEXT}-no-memory"
"""Agents that infer their co-player within an episode, in three steps; mixed pools of these, the same if they are told the policies, and without policies; new
agents that have each other only, trained as extorters are in the third step; the first two steps of agents without memory."""
RETALIATOR, COOPERATOR, DEFECTOR = "tit-for-tat", "always-cooperate", "always-defect"
"""Opponents on which they are tested."""


CLEAN_UP_COLUMNS = (
    "reward",
    "other_reward",
    "dirt",
    "apples",
    *(f"{of}_{what}" for what in ("harvested", "cleaned", "hit") for of in ("own", "other", "gap")),
)
"""What is measured in CleanUp-lite, per step: gaps are how far what both did differs within an inner episode."""


def clean_up(method: str, *, shaping: bool) -> str:
    """The trial of agents in CleanUp-lite, among naive learners only or in a mixed pool."""
    return f"clean-up-{'shaping' if shaping else 'mixed'}-{method}"


class WithPeer(Table):
    """Agents with memory, each for itself, mean over the last tenth of training: rewards from each other."""

    agent: Axis
    peer: Value


class PeerMeans(Table):
    """The same, mean over a pool; and mean over the second half of training."""

    peer: Value
    second_half: Value


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
    """Pairs after training, by arm. `defecting_gain` is what always defecting earns beside the same naive learners, minus what these earn."""

    arm: Axis
    peer: Value
    ego: Value
    naive: Value
    above_retaliating: Value
    above_defecting: Value
    defecting_gain: Value
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


class Responses(Table):
    """An agent beside known memory-one policies: its reward over whole episodes and the opponent's, and how often it cooperates in the last third."""

    opponent: Axis
    reward: Value
    other: Value
    late: Value


class Anybody(Table):
    """An agent beside memory-one policies drawn at random: its reward, and what it earns more than always defecting in the same games."""

    reward: Value
    above_defecting: Value


class Extortion(Table):
    """What an agent earns more than the fixed one beside which it learned, and how often the fixed one cooperates; means over whole episodes."""

    difference: Value
    yields: Value


class ExtortersMet(Table):
    """Mean reward of two copies of an extorter from each other, before and after they learned."""

    before: Value
    after: Value


class InContextPeers(Table):
    """Mean reward of two agents of a pool from each other."""

    peer: Value
