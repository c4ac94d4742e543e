"""Tables and trials of the randomized study, for its claims and measures."""

from mesocosm.claims.tables import Axis, Table, Trials, Value
from mesocosm.studies.randomized.config import Config

LARGEST_Q = 1e6  # in tables, which hold finite numbers, infinity is this

# --- trials -----------------------------------------------------------------------------------------------------------


def name(problem: str, randomised: bool, q: float, seeds: int) -> str:
    """A trial's name."""
    return f"{problem}-random-q{q:g}-m{seeds}" if randomised else f"{problem}-fixed-q{q:g}"


def trained(problem: str, *, randomised: bool = True, adversary: bool = True) -> Trials:
    """The judged networks or agents of a problem: random or fixed seed, against the adversary or on the expected loss."""

    def of(config: Config) -> str:
        return name(problem, randomised, config.judged_q(problem) if adversary else 1.0, config.seeds_per_step(problem))

    return Trials(of)


def one_seed(problem: str, *, adversary: bool = True) -> Trials:
    """The random networks of a problem that see one seed per step."""
    return Trials(lambda config: name(problem, True, config.judged_q(problem) if adversary else 1.0, 1))


def of_grid_seeds(least: bool) -> Trials:
    """The agents against the worst treasure that see the fewest seeds per generation beyond one, or the most."""

    def of(config: Config) -> str:
        several = [seeds for seeds in (*config.grid_seeds, config.search.seeds) if seeds > 1] or [config.search.seeds]
        return name("grid", True, config.judged_q("grid"), min(several) if least else max(several))

    return Trials(of)


RECALL, RECALL_MEAN = trained("recall"), trained("recall", adversary=False)
RECALL_FIXED, RECALL_FIXED_MEAN = trained("recall", randomised=False), trained("recall", randomised=False, adversary=False)
COLOURING, COLOURING_MEAN = trained("colouring"), trained("colouring", adversary=False)
COLOURING_FIXED, COLOURING_FIXED_MEAN = trained("colouring", randomised=False), trained("colouring", randomised=False, adversary=False)
ENOUGH, ENOUGH_FIXED = trained("enough"), trained("enough", randomised=False)
ONE_SEED = one_seed("recall")
RECALL_WEAK = Trials(lambda config: name("recall", True, config.recall_weak_q, config.recall_training.seeds))
GRID, GRID_MEAN = trained("grid"), trained("grid", adversary=False)
GRID_FIXED, GRID_FIXED_MEAN = trained("grid", randomised=False), trained("grid", randomised=False, adversary=False)
GRID_FIXED_FINITE = Trials(lambda config: name("grid", False, config.grid_finite_q, 1))
GRID_ONE_SEED, GRID_ONE_SEED_MEAN = one_seed("grid"), one_seed("grid", adversary=False)
GRID_FEW, GRID_MANY = (of_grid_seeds(least) for least in (True, False))
LARGER, LARGER_MEAN, LARGER_FIXED = trained("larger"), trained("larger", adversary=False), trained("larger", randomised=False)
TWICE = Trials(lambda config: next(iter(GRID.names(config))) if config.grid.episodes == 2 else name("twice", True, config.twice_q, config.search.seeds))


# --- tables -----------------------------------------------------------------------------------------------------------


class Games(Table):
    """Slack of Yao's inequality, and what a mixture of algorithms gains."""

    slack: Value
    mutant: Value
    gain: Value
    common_failure: Value


class Votes(Table):
    """log10 of the probability of a wrong vote over the allowed one: exact with two answers, simulated with three."""

    margin: Axis
    delta: Axis
    excess: Value
    fewer: Value
    simulated: Value
    simulated_fewer: Value


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


class Hunts(Table):
    """Mean steps over test seeds to a treasure: mean, worst, worst minus the least that any deterministic agent can have, 95th percentile and
    standard deviation over treasures; the same deviation under one seed, mean over seeds; number of paths, and share of seeds that take the commonest."""

    average: Value
    worst: Value
    excess: Value
    tail: Value
    unevenness: Value
    walk_unevenness: Value
    paths: Value
    commonest: Value


class Returns(Table):
    """Share of found treasures to which the second episode takes the shortest way: the same treasure, or one moved to another cell."""

    same: Value
    moved: Value
