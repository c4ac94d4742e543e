"""Tables and trials of the hyla study, for its claims and measures."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mesocosm.claims.tables import Axis, Estimate, Table, Trials, Value
from mesocosm.studies.hyla.config import Config

# --- trials -----------------------------------------------------------------------------------------------------------


def fuzzy(variant: str) -> Trials:
    """A network on fuzzy logic."""
    return Trials(f"fuzzy-{variant}")


def held_out(variant: str, rank: int) -> Trials:
    """The same with the fewest combinations held out (0), a medium fraction (1) or the most (2) of all fractions of the config. If there are not so many, it
    is a trial that is not there, so that a check does not compare a network with itself.
    """

    def name(config: Config) -> str:
        fractions = sorted({config.fuzzy.held_out, *config.held_outs})
        if len(fractions) < (3 if rank == 1 else 2):
            return f"fuzzy-{variant} with another fraction held out"
        fraction = fractions[0 if rank == 0 else 1 if rank == 1 else -1]
        return f"fuzzy-{variant}" if fraction == config.fuzzy.held_out else f"fuzzy-{variant}-held-{percent(fraction)}"

    return Trials(name)


def percent(fraction: float) -> int:
    """As a whole number."""
    return round(100 * fraction)


def shorter(config: Config) -> int:
    """The length whose context has about half as many tokens as the judged one."""
    return config.fuzzy.length // 2


def half(variant: str) -> Trials:
    """The network with half of the context."""
    return Trials(lambda config: f"fuzzy-{variant}-length-{shorter(config)}")


LONGER = Trials(lambda config: f"fuzzy-softmax-length-{2 * config.fuzzy.length}")


def raven(variant: str) -> Trials:
    """A network on Raven matrices."""
    return Trials(f"raven-{variant}")


def by_matrices(variant: str, pick: Callable[[Iterable[int]], int]) -> Trials:
    """The network that saw the most (`max`) or the fewest (`min`) matrices."""

    def name(config: Config) -> str:
        names = {config.raven_training.steps: f"raven-{variant}"} | {scale.steps: f"raven-{variant}-{scale.name}" for scale in config.scales if scale.steps}
        return _end(names, pick, f"raven-{variant} after another number of matrices")

    return Trials(name)


def by_width(variant: str, pick: Callable[[Iterable[float]], float]) -> Trials:
    """The widest (`max`) or the narrowest (`min`) network."""

    def name(config: Config) -> str:
        scales = [scale for scale in config.scales if not scale.steps and not scale.layers]
        names = {1.0: f"raven-{variant}"} | {scale.width: f"raven-{variant}-{scale.name}" for scale in scales}
        return _end(names, pick, f"raven-{variant} of another width")

    return Trials(name)


def _end(names: Mapping[Any, str], pick: Callable[[Iterable[Any]], Any], other: str) -> str:
    """The first or the last trial of a curve; `other`, which is not there, if the curve is a point."""
    return names[pick(names)] if len(names) > 1 else other


ONE_HEAD = Trials("raven-softmax-heads-1")
TIED = Trials("raven-softmax-tied")
COPIED = Trials("raven-softmax-copied")


def of_features(pick: Callable[[Iterable[int]], int]) -> Trials:
    """Softmax attention on Raven matrices with the most (`max`) or the fewest (`min`) features, after equally many steps."""

    def name(config: Config) -> str:
        if not config.raven_features:
            return "raven-softmax with another number of features"
        features = pick((config.raven.features, *config.raven_features))
        if features != config.raven.features:
            return f"raven-softmax-features-{features}"
        steps = config.raven_features_steps or config.raven_training.steps
        names = {config.raven_training.steps: "raven-softmax"} | {scale.steps: f"raven-softmax-{scale.name}" for scale in config.scales}
        return names.get(steps, "raven-softmax after as many steps")

    return Trials(name)


def language(variant: str) -> Trials:
    """A decoder of text."""
    return Trials(f"language-{variant}")


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
    """Accuracy on Raven matrices, all features right: training's combinations of rules, held-out ones, and these where all rows but the last are another
    matrix's; and the fraction of features that are.
    """

    digest: Value
    train: Estimate
    held_out: Estimate
    held_out_feature: Estimate
    other_rows: Estimate


class Perplexity(Table):
    """Cross-entropy on held-out text, in nats per token: given all tokens before in the window, and given the last one."""

    digest: Value
    loss: Estimate
    alone: Estimate


class Decoded(Table):
    """Scores on held-out combinations of probes that are fitted on training's, by layer, and with labels of other examples.

    Networks are trained or untrained; or it is the trained one and the task of the probe is another (`codes.read_terms`, `codes.read_rules`).
    """

    network: Axis
    layer: Axis
    f1: Value
    shuffled_f1: Value


class Causes(Table):
    """R^2 of trained networks' latent codes, explained by the rule and by the symbol to predict: of the feature that is answered, and of another one of
    matrices whose features have independent rules.
    """

    layer: Axis
    rule: Value
    target: Value
    other_rule: Value
    other_target: Value


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
