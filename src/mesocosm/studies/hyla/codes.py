"""Reads the latent codes of trained networks: what terms and rules can be decoded from them, what explains them, how they cluster."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.latent_codes import embedding, latent_codes, logistic_probe, ridge_probe, silhouettes, similarity
from mesocosm.analysis.spectra.blas_threads import one_blas_thread
from mesocosm.analysis.tables import long_table
from mesocosm.nn import SequenceModel
from mesocosm.studies.hyla.networks import Arm, FuzzyArm, RavenArm, build, tasks
from mesocosm.studies.hyla.train import draw_both, other_rows
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.fuzzy_logic import FuzzyLogic
from mesocosm.tasks.raven_matrices import RavenExample, RavenMatrices
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


class RavenReads(NamedTuple):
    """Codes of Raven matrices; `mixed`, where all rows but the last are another matrix's; and both where features have independent rules, so that the rule of
    one tells nothing of another's.
    """

    plain: Probed
    mixed: Probed
    independent: Probed
    independent_mixed: Probed


class RavenLabels(NamedTuple):
    """The rule and the symbol to predict: of the last feature, and of the first, which the last feature's answer does not need."""

    rule: Any
    target: Any
    other_rule: Any
    other_target: Any


# --- fuzzy logic ------------------------------------------------------------------------------------------------------


def read_terms(arm: FuzzyArm, context: Context) -> Tables:
    """Decode a function's terms from the code with which the last query looks at itself: fitted on training's combinations, scored on held-out ones.

    In each replicate, the last query is one point for all functions, as in the authors' code; otherwise, codes vary with the point much more than with the
    function. The network `shuffled` is the trained one where the function cannot be inferred.
    """
    read = Partial(read_fuzzy, arm.evaluation.probed, context.evaluation_key)
    found, shown = [], []
    for network, models in _networks(arm, context).items():
        plain, shuffled = context.evaluate(read, context.keys("eval"), models, tasks(arm.task, context.seeds))
        for name, probed in {network: plain, **({"shuffled": shuffled} if network == "trained" else {})}.items():
            for place, seed in enumerate(context.seeds):
                one, other = _seed(probed, place)
                found.append(_decoded(name, seed, _codes(one, 1), one.labels, _codes(other, 1), other.labels))
        if network == "trained":
            scored = _seed(plain, 0).scored
            shown.append(_plane(context.seeds[0], _codes(scored, 1), term=scored.labels.argmax(axis=1)))
    return {"decoded": pl.concat(found), "plane": pl.concat(shown)}


def read_fuzzy(examples: int, key: PRNGKeyArray, point_key: PRNGKeyArray, model: SequenceModel, task: FuzzyLogic) -> tuple[Probed, Probed]:
    """Codes, and for each known term whether the function has it; then the same with values that are shuffled among the points of a context."""
    sample_key, shuffle_key = jax.random.split(key)
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

    Features are in order here, and rules are assigned to them at random. Rows whose network's name ends in `other rows` are of matrices of which all rows but
    the last are another matrix's. Rows named `other feature` are of the trained network where the first feature's rule is to be decoded from the same code, and
    features have independent rules.
    """
    read = Partial(read_raven, arm.evaluation.probed, context.evaluation_key)
    found, causes, shown, alike = [], [], [], []
    for network, models in _networks(arm, context).items():
        reads = context.evaluate(read, models, tasks(arm.task, context.seeds))
        for place, seed in enumerate(context.seeds):
            one = _seed(reads, place)
            found.append(_decoded_rule(network, seed, one.plain, "rule"))
            if network == "trained":
                found.append(_decoded_rule(f"{network}, other rows", seed, one.mixed, "rule"))
                found.append(_decoded_rule("other feature", seed, one.independent, "other_rule"))
                found.append(_decoded_rule("other feature, other rows", seed, one.independent_mixed, "other_rule"))
                causes.append(_causes(seed, one.plain.fitted, one.independent.fitted))
        if network == "trained":
            alike.append(_similar(arm, context, reads.plain.fitted))
            first = _seed(reads.plain.fitted, 0)
            titles = np.asarray([rule.title for rule in RULES])
            shown.append(_plane(context.seeds[0], _codes(first, 2), term=titles[first.labels.rule]))
    return {"decoded": pl.concat(found), "causes": pl.concat(causes), "similarity": pl.concat(alike), "plane": pl.concat(shown)}


def compare_rules(arm: RavenArm, context: Context) -> Tables:
    """Only the similarity of rules, for networks that saw another number of matrices."""
    (parent,) = context.parents
    read = Partial(read_known, arm.evaluation.probed, context.evaluation_key)
    return {"similarity": _similar(arm, context, context.evaluate(read, context.model(parent, "network"), tasks(arm.task, context.seeds)))}


def read_known(examples: int, key: PRNGKeyArray, model: SequenceModel, task: RavenMatrices) -> Read:
    """The codes of `read_raven` on training's combinations alone."""
    return read_raven(examples, key, model, task).plain.fitted


def read_raven(examples: int, key: PRNGKeyArray, model: SequenceModel, task: RavenMatrices) -> RavenReads:
    """Codes of the last feature's answer with the first two panels of its row, and labels."""
    ordered = RavenMatrices(task.combinations, task.symbols, task.grid, False, True, False, task.rules)

    def one(drawn: RavenExample, tokens: Array) -> Read:
        features = drawn.targets.shape[1]
        keys = jnp.asarray([panel * features + features - 1 for panel in (6, 7)])
        labels = RavenLabels(drawn.rules[:, -1], drawn.targets[:, -1], drawn.rules[:, 0], drawn.targets[:, 0])
        return Read(_attention(model, tokens, keys), labels)

    def both(task: RavenMatrices, key: PRNGKeyArray) -> tuple[Probed, Probed]:
        """As they are, and with another matrix's rows."""
        known, held_out = draw_both(examples, key, task)
        plain, mixed = (Probed(one(known, of(known.tokens)), one(held_out, of(held_out.tokens))) for of in (lambda tokens: tokens, other_rows))
        return plain, mixed

    return RavenReads(*both(ordered, key), *both(independent_rules(ordered), jax.random.fold_in(key, 1)))


def independent_rules(task: RavenMatrices) -> RavenMatrices:
    """The task where each feature has any of the rules, whatever the others have; its splits are alike."""
    every = jnp.asarray(list(product(range(len(task.rules)), repeat=task.combinations.parts)), jnp.int32)
    return replace(task, combinations=CombinationSplit(every, every))


def _causes(seed: int, read: Read, independent: Read) -> pl.DataFrame:
    """What the last feature's rule, and its symbol to predict, say of the codes: the R^2 with which they explain them, and how the codes cluster by them. The
    R^2 also for another feature's, where features have independent rules.
    """
    codes, others = _codes(read, 2), _codes(independent, 2)
    own = {"rule": read.labels.rule, "target": read.labels.target}
    with one_blas_thread():
        columns = {name: _explained(label, codes) for name, label in own.items()}
        columns |= {f"{name}_silhouette": silhouettes(codes[:, :EMBEDDED], label[:EMBEDDED])[None] for name, label in own.items()}
        columns |= {name: _explained(getattr(independent.labels, name), others) for name in ("other_rule", "other_target")}
    return long_table({"seed": [seed], "layer": range(len(codes))}, **columns)


def _explained(label: Any, codes: Any) -> Any:
    return ridge_probe(np.eye(label.max() + 1)[label], codes)[None]


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
