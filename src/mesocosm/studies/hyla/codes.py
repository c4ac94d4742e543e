"""Reads the latent codes of trained networks: what terms and rules can be decoded from them, what explains them, how they cluster."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.latent_codes import embedding, latent_codes, logistic_probe, ridge_probe, similarity
from mesocosm.analysis.spectra.blas_threads import one_blas_thread
from mesocosm.analysis.tables import long_table
from mesocosm.nn import SequenceModel
from mesocosm.studies.hyla.networks import Arm, FuzzyArm, RavenArm, build, tasks
from mesocosm.studies.hyla.train import draw_both
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.fuzzy_logic import FuzzyLogic
from mesocosm.tasks.raven_matrices import RavenMatrices
from mesocosm.tasks.raven_rules import RULES

EMBEDDED = 600


class Read(NamedTuple):
    """Attention of the read token to the read positions in each layer (layers, examples, heads, 1, keys), and labels of the examples."""

    attention: Array
    labels: Any


class Probed(NamedTuple):
    """What probes are fitted on, from training's combinations, and what they are scored on, from held-out ones."""

    fitted: Read
    scored: Read


class RavenLabels(NamedTuple):
    """The rule and the symbol to predict: of the last feature, and of the first, which the last feature's answer does not need."""

    rule: Any
    target: Any
    other_rule: Any
    other_target: Any


# --- fuzzy logic ------------------------------------------------------------------------------------------------------


def read_terms(arm: FuzzyArm, context: Context) -> Tables:
    """Decode a function's terms from the code with which the last query looks at itself: fitted on training's combinations, scored on held-out ones.

    The last query is the same point for all functions, as in the authors' code; otherwise, codes vary with the point much more than with the function. The
    network `shuffled` is the trained one where the function cannot be inferred.
    """
    read = Partial(read_fuzzy, arm.evaluation.probed, context.evaluation_key)
    found, shown = [], []
    for network, models in _networks(arm, context).items():
        plain, shuffled = context.evaluate(read, models, tasks(arm.task, context.seeds))
        for name, probed in {network: plain, **({"shuffled": shuffled} if network == "trained" else {})}.items():
            for place, seed in enumerate(context.seeds):
                one, other = _seed(probed, place)
                found.append(_decoded(name, seed, _codes(one, 1), one.labels, _codes(other, 1), other.labels))
        if network == "trained":
            scored = _seed(plain, 0).scored
            shown.append(_plane(context.seeds[0], _codes(scored, 1), term=scored.labels.argmax(axis=1)))
    return {"decoded": pl.concat(found), "plane": pl.concat(shown)}


def read_fuzzy(examples: int, key: PRNGKeyArray, model: SequenceModel, task: FuzzyLogic) -> tuple[Probed, Probed]:
    """Codes, and for each known term whether the function has it; then the same with values that are shuffled among the points of a context."""
    point_key, sample_key, shuffle_key = jax.random.split(key, 3)
    query = jnp.append(jax.random.uniform(point_key, (task.variables,)), 0.0)

    def one(drawn: Any, tokens: Array) -> Read:
        attention = _attention(model, tokens.at[:, -1].set(query), jnp.asarray([tokens.shape[1] - 1]))
        return Read(attention, jnp.any(drawn.terms[:, :, None] == jnp.arange(task.known), axis=1))

    known, held_out = draw_both(examples, sample_key, task)
    shuffled = [shuffle_values(k, drawn.tokens, task.length - 1) for k, drawn in zip(jax.random.split(shuffle_key), (known, held_out), strict=True)]
    return Probed(one(known, known.tokens), one(held_out, held_out.tokens)), Probed(one(known, shuffled[0]), one(held_out, shuffled[1]))


def shuffle_values(key: PRNGKeyArray, tokens: Float[Array, "n time channels"], context: int) -> Float[Array, "n time channels"]:
    """Sequences in each of which the values of the context are permuted among its points, in an order of its own."""

    def one(key: PRNGKeyArray, sequence: Array) -> Array:
        return sequence.at[:context, -1].set(jax.random.permutation(key, sequence[:context, -1]))

    return jax.vmap(one)(jax.random.split(key, len(tokens)), tokens)


# --- Raven matrices ---------------------------------------------------------------------------------------------------


def read_rules(arm: RavenArm, context: Context) -> Tables:
    """Decode the last feature's rule from the code with which its answer looks at the panels before it, and compare what explains the codes.

    Features are in order here, and rules are assigned to them at random. Rows named `other feature` are of the trained network where the first feature's rule
    is to be decoded from the same code; those whose names end in `other rows` are of matrices of which all rows but the last are another matrix's.
    """
    read = Partial(read_raven, arm.evaluation.probed, context.evaluation_key)
    found, causes, shown, alike = [], [], [], []
    for network, models in _networks(arm, context).items():
        plain, mixed = context.evaluate(read, models, tasks(arm.task, context.seeds))
        for place, seed in enumerate(context.seeds):
            one, other = _seed(plain, place), _seed(mixed, place)
            found.append(_decoded_rule(network, seed, one, "rule"))
            if network == "trained":
                found += [_decoded_rule(f"{network}, other rows", seed, other, "rule"), _decoded_rule("other feature", seed, one, "other_rule")]
                found.append(_decoded_rule("other feature, other rows", seed, other, "other_rule"))
                causes.append(_causes(seed, _codes(one.fitted, 2), one.fitted.labels))
        if network == "trained":
            alike.append(_similar(arm, context, plain.fitted))
            first = _seed(plain.fitted, 0)
            titles = np.asarray([rule.title for rule in RULES])
            shown.append(_plane(context.seeds[0], _codes(first, 2), term=titles[first.labels.rule]))
    return {"decoded": pl.concat(found), "causes": pl.concat(causes), "similarity": pl.concat(alike), "plane": pl.concat(shown)}


def compare_rules(arm: RavenArm, context: Context) -> Tables:
    """Only the similarity of rules, for networks that saw another number of matrices."""
    (parent,) = context.parents
    read = Partial(read_raven, arm.evaluation.probed, context.evaluation_key)
    plain, _ = context.evaluate(read, context.model(parent, "network"), tasks(arm.task, context.seeds))
    return {"similarity": _similar(arm, context, plain.fitted)}


def read_raven(examples: int, key: PRNGKeyArray, model: SequenceModel, task: RavenMatrices) -> tuple[Probed, Probed]:
    """Codes of the last feature's answer with the first two panels of its row, and labels; then the same where all rows but the last are of another matrix."""
    ordered = RavenMatrices(task.combinations, task.symbols, task.grid, False, True, False, task.rules)

    def one(drawn: Any, tokens: Array) -> Read:
        features = drawn.targets.shape[1]
        keys = jnp.asarray([panel * features + features - 1 for panel in (6, 7)])
        labels = RavenLabels(drawn.rules[:, -1], drawn.targets[:, -1], drawn.rules[:, 0], drawn.targets[:, 0])
        return Read(_attention(model, tokens, keys), labels)

    known, held_out = draw_both(examples, key, ordered)
    plain = Probed(one(known, known.tokens), one(held_out, held_out.tokens))
    return plain, Probed(one(known, other_rows(known.tokens)), one(held_out, other_rows(held_out.tokens)))


def other_rows(tokens: Float[Array, "n time symbols"]) -> Float[Array, "n time symbols"]:
    """Matrices of three rows, of which the first two are another matrix's; tokens of nine panels."""
    shown = 6 * tokens.shape[1] // 9
    return tokens.at[:, :shown].set(jnp.roll(tokens[:, :shown], 1, axis=0))


def _causes(seed: int, codes: Any, labels: RavenLabels) -> pl.DataFrame:
    """R^2 of the codes, explained by the rule and by the symbol to predict, of each of the two features."""
    explained = {name: ridge_probe(np.eye(label.max() + 1)[label], codes)[None] for name, label in labels._asdict().items()}
    return long_table({"seed": [seed], "layer": range(len(codes))}, **explained)


def _similar(arm: RavenArm, context: Context, read: Read) -> pl.DataFrame:
    """Similarity of the rules' codes in the last layer, for each seed."""
    found = []
    for place, seed in enumerate(context.seeds):
        one = _seed(read, place)
        alike = similarity(_codes(one, 2)[-1], one.labels.rule)
        titles = [RULES[rule].title for rule in alike.labels]
        found.append(long_table({"seed": [seed], "first": titles, "second": titles}, cosine=alike.cosine[None]))
    return pl.concat(found).with_columns(matrices=pl.lit(arm.training.steps * arm.training.batch_size))


# --- both -------------------------------------------------------------------------------------------------------------


def _networks(arm: Arm, context: Context) -> dict[str, Any]:
    """The trained networks, and others with random weights."""
    (parent,) = context.parents
    return {"trained": context.model(parent, "network"), "untrained": context.evaluate(Partial(build, arm), context.keys("init"))}


def _attention(model: SequenceModel, tokens: Array, keys: Array) -> Array:
    """Of the last token to some others."""

    def one(tokens: Array) -> Array:
        return jnp.stack([shown.attention[:, -1:, keys] for shown in model.explain(tokens)[1] if shown.attention is not None])

    return jnp.moveaxis(jax.lax.map(one, tokens, batch_size=256), 0, 1)


def _seed(read: Any, place: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[place], read)


def _codes(read: Read, keys: int) -> Any:
    return latent_codes(list(read.attention), 0, range(keys))


def _decoded(network: str, seed: int, codes: Any, labels: Any, held_out_codes: Any, held_out_labels: Any) -> pl.DataFrame:
    """Scores of probes fitted on true labels, and on labels of other examples."""
    with one_blas_thread():
        true, other = (logistic_probe(codes, known, held_out_codes, held_out_labels) for known in (labels, np.roll(labels, 1, axis=0)))
    axes = {"network": [network], "seed": [seed], "layer": range(len(codes))}
    columns = {"f1": true.f1, "accuracy": true.accuracy, "shuffled_f1": other.f1, "shuffled_accuracy": other.accuracy}
    return long_table(axes, **{name: column[None, None] for name, column in columns.items()})


def _decoded_rule(network: str, seed: int, probed: Probed, label: str) -> pl.DataFrame:
    """The same for codes of Raven matrices and one of their labels."""
    labels = [getattr(read.labels, label) for read in probed]
    return _decoded(network, seed, _codes(probed.fitted, 2), labels[0], _codes(probed.scored, 2), labels[1])


def _plane(seed: int, codes: Any, *, term: Any) -> pl.DataFrame:
    """Codes of the last layer in two dimensions."""
    with one_blas_thread():
        points = embedding(codes[-1][:EMBEDDED])
    return long_table({"seed": [seed], "example": range(len(points))}, x=points[None, :, 0], y=points[None, :, 1], label=term[None, : len(points)].astype(str))
