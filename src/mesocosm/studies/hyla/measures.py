"""Measurements for the hyla study's claims: tables to one number per replicate."""

from collections.abc import Callable

from mesocosm.claims.measures import Measure, replicates
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Estimate, Trials, Value
from mesocosm.studies.hyla.config import Config
from mesocosm.studies.hyla.tables import Decoded, Explained, Perplexity, Similarity, fuzzy, held_out, language

OfSeeds = Measure[Replicates]
Layer = Callable[[Config], int]


def last_fuzzy(config: Config) -> int:
    """The last layer on fuzzy logic."""
    return config.fuzzy_network.layers - 1


def last_raven(config: Config) -> int:
    """The last layer on Raven matrices."""
    return config.raven_network.layers - 1


def middle_raven(config: Config) -> int:
    """The middle layer on Raven matrices, the later one of two."""
    return config.raven_network.layers // 2


def first(config: Config) -> int:
    """The first layer."""
    return 0


# --- fuzzy logic ------------------------------------------------------------------------------------------------------


def r2(column: Estimate, trial: Trials) -> OfSeeds:
    """R^2 on some of the test sequences."""
    return replicates(column, trial=trial)


def gain(column: Estimate, variant: str, other: str = "softmax") -> OfSeeds:
    """R^2 of a variant minus that of another."""
    return r2(column, fuzzy(variant)).minus(r2(column, fuzzy(other)))


def drop(column: Estimate, variant: str, fewer: int = 0, more: int = 2) -> OfSeeds:
    """R^2 with few combinations held out minus R^2 with many: ranks of the fractions, from 0."""
    return r2(column, held_out(variant, fewer)).minus(r2(column, held_out(variant, more)), same_data=False)


def longer(long: Trials, column: Estimate, short: Trials) -> OfSeeds:
    """R^2 on some sequences with a long context, minus R^2 on held-out combinations with a short one."""
    return r2(column, long).minus(r2(Explained.held_out, short), same_data=False)


def smaller_drop(column: Estimate) -> OfSeeds:
    """The drop of softmax attention minus that of HYLA."""
    return drop(column, "softmax").minus(drop(column, "hyla"), same_data=False)


# --- Raven matrices ---------------------------------------------------------------------------------------------------


def solved(column: Estimate, trial: Trials, other: Trials, *, same_data: bool = True) -> OfSeeds:
    """Accuracy of one network minus that of another."""
    return replicates(column, trial=trial).minus(replicates(column, trial=other), same_data=same_data)


def cosine(trial: Trials, one: str, other: str) -> OfSeeds:
    """Similarity of the codes of two rules."""
    return replicates(Similarity.cosine, trial=trial, first=one, second=other)


# --- text -------------------------------------------------------------------------------------------------------------


def worse(variant: str, other: str, column: Estimate = Perplexity.loss, than: Estimate | None = None) -> OfSeeds:
    """Cross-entropy of one decoder minus that of another, the difference of their log perplexities."""
    return replicates(column, trial=language(variant)).minus(replicates(than or column, trial=language(other)))


# --- latent codes -----------------------------------------------------------------------------------------------------


def decoded(trial: Trials, layer: Layer, network: str = "trained") -> OfSeeds:
    """Macro F1 of a probe minus that of one fitted on labels of other examples."""

    def score(column: Value) -> OfSeeds:
        return replicates(column, trial=trial, network=network, layer=layer)

    return score(Decoded.f1).minus(score(Decoded.shuffled_f1))


def from_other_rows(trial: Trials, network: str = "trained") -> OfSeeds:
    """Macro F1 of a probe of the last layer's codes of Raven matrices, minus that where all rows but the last are another matrix's."""
    own, other = (replicates(Decoded.f1, trial=trial, network=name, layer=last_raven) for name in (network, f"{network}, other rows"))
    return own.minus(other)


def terms_gain(trial: Trials, network: str = "trained") -> OfSeeds:
    """That of the last layer on fuzzy logic."""
    return decoded(trial, last_fuzzy, network)


def decoded_terms(trial: Trials, network: str = "trained") -> OfSeeds:
    """Whether it is above 0.04 (1 or 0)."""
    return terms_gain(trial, network).map(lambda gain: 1.0 * (gain > 0.04))


def later(trial: Trials, network: str = "trained", *, layer: Layer = last_raven) -> OfSeeds:
    """The difference of macro F1 in a later layer minus that in the first."""
    return decoded(trial, layer, network).minus(decoded(trial, first, network))


def explained_by(cause: Value, other: Value, trial: Trials, layer: Layer) -> OfSeeds:
    """R^2 of codes by one cause minus R^2 by another."""
    one, two = (replicates(column, trial=trial, layer=layer) for column in (cause, other))
    return one.minus(two)
