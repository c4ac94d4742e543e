"""Tables and trials of the hyla study, for its claims and measures."""

from collections.abc import Callable, Iterable

from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value
from mesocosm.studies.hyla.config import Config

# --- trials -----------------------------------------------------------------------------------------------------------


def fuzzy(variant: str) -> Trials:
    """A network on fuzzy logic."""
    return Trials(f"fuzzy-{variant}")


def fewer_held_out(variant: str) -> Trials:
    """The same with the smallest fraction of combinations held out."""
    return Trials(lambda config: f"fuzzy-{variant}-held-{percent(min(config.held_outs, default=0.0))}")


def percent(fraction: float) -> int:
    """As a whole number."""
    return round(100 * fraction)


def shorter(config: Config) -> int:
    """The length whose context has about half as many tokens as the judged one."""
    return config.fuzzy.length // 2


SHORTER = Trials(lambda config: f"fuzzy-softmax-length-{shorter(config)}")


def raven(variant: str) -> Trials:
    """A network on Raven matrices."""
    return Trials(f"raven-{variant}")


ONE_HEAD = Trials("raven-softmax-heads-1")
AGAIN = Trials("raven-softmax-again")
"""The judged network on Raven matrices from other initial weights."""


def of_features(pick: Callable[[Iterable[int]], int]) -> Trials:
    """Softmax attention on Raven matrices with the most (`max`) or the fewest (`min`) features."""

    def name(config: Config) -> str:
        judged = config.raven.features
        features = pick((judged, *config.raven_features))
        return "raven-softmax" if features == judged else f"raven-softmax-features-{features}"

    return Trials(name)


def codes(trial: str) -> Trials:
    """The latent codes of another trial's networks."""
    return Trials(f"codes-{trial}")


# --- tables -----------------------------------------------------------------------------------------------------------


class Explained(Table):
    """R^2 on fuzzy logic: training's combinations, held-out ones, unknown terms, and held-out ones with a context of recurring tokens."""

    digest: Value
    train: Estimate
    held_out: Estimate
    unknown: Estimate
    repeated: Estimate


class Solved(Table):
    """Accuracy on Raven matrices, all features right: training's combinations of rules, and held-out ones; and the fraction of features that are."""

    digest: Value
    train: Estimate
    held_out: Estimate
    held_out_feature: Estimate


class Decoded(Table):
    """Scores on held-out combinations of probes that are fitted on training's, by layer, and with labels of other examples."""

    network: Axis
    layer: Axis
    f1: Value
    shuffled_f1: Value


class Causes(Table):
    """R^2 of latent codes, explained by the rule and by the symbol to predict."""

    layer: Axis
    rule: Value
    target: Value


class Similarity(Table):
    """Cosine of the mean codes of two rules in the last layer."""

    first: Axis
    second: Axis
    cosine: Value


class Ambiguous(Table):
    """Whether a matrix has another answer that differs everywhere."""

    matrix: Axis
    features: Axis
    everywhere: Value
