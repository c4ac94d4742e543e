"""Tables and trials of the randomized study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Table, Trials, Value
from mesocosm.studies.randomized.config import Config

# --- trials -----------------------------------------------------------------------------------------------------------


def name(problem: str, randomised: bool, q: float, seeds: int) -> str:
    """A trial's name."""
    return f"{problem}-random-q{q:g}-m{seeds}" if randomised else f"{problem}-fixed-q{q:g}"


def trained(problem: str, *, randomised: bool = True, adversary: bool = True) -> Trials:
    """The judged networks of a problem: random or fixed seed, against the adversary or on the expected loss."""

    def of(config: Config) -> str:
        judged = config.recall_judged_q if problem == "recall" else config.colouring_judged_q
        return name(problem, randomised, judged if adversary else 1.0, config.seeds_per_step)

    return Trials(of)


def with_seeds(seeds: int) -> Trials:
    """The randomised recall network that sees this many seeds per step."""
    return Trials(lambda config: name("recall", True, config.recall_judged_q, seeds))


RECALL, RECALL_MEAN = trained("recall"), trained("recall", adversary=False)
RECALL_FIXED, RECALL_FIXED_MEAN = trained("recall", randomised=False), trained("recall", randomised=False, adversary=False)
COLOURING, COLOURING_MEAN = trained("colouring"), trained("colouring", adversary=False)
COLOURING_FIXED, COLOURING_FIXED_MEAN = trained("colouring", randomised=False), trained("colouring", randomised=False, adversary=False)
ENOUGH, ENOUGH_FIXED = trained("enough"), trained("enough", randomised=False)
ONE_SEED = with_seeds(1)


# --- tables -----------------------------------------------------------------------------------------------------------


class Games(Table):
    """Slack of Yao's inequality, and what a mixture of algorithms gains."""

    slack: Value
    mutant: Value
    gain: Value
    common_failure: Value


class Votes(Table):
    """log10 of the exact probability of a wrong majority over the allowed one."""

    margin: Axis
    delta: Axis
    excess: Value
    fewer: Value


class Answers(Table):
    """Success over test inputs of one way of deciding: one seed, a vote, a checked vote, or sampling from a deterministic network's distribution."""

    decision: Axis
    average: Value
    tail: Value
    minimum: Value
    never: Value
    always: Value
    spread: Value


class Losses(Table):
    """The loss, its 95th percentile over inputs, and the variance of predictions over seeds."""

    loss: Value
    tail_loss: Value
    variance: Value
