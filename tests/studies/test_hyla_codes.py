"""The hyla study: what its networks may see, which examples scores are of, and where latent codes and their labels come from."""

from dataclasses import replace
from unittest.mock import Mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.tables import long_table
from mesocosm.studies.hyla import codes, train
from mesocosm.studies.hyla.codes import Probed, RavenLabels, Read
from mesocosm.studies.hyla.config import PRESETS, Ambiguity
from mesocosm.studies.hyla.identities import all_multisets, find_ambiguous
from mesocosm.studies.hyla.networks import build, fuzzy_task, raven_task
from mesocosm.studies.hyla.trials import trials
from mesocosm.studies.interface import Context
from mesocosm.tasks.fuzzy_logic import FuzzyExample, fuzzy_function
from mesocosm.tasks.raven_matrices import RavenExample
from mesocosm.tasks.raven_rules import RULES

KEY = jax.random.key(0)
ARMS = {trial.name: trial.config for trial in trials(PRESETS["smoke"].config)}


def rows(combinations):
    return {tuple(sorted(row)) for row in np.asarray(combinations).tolist()}


@pytest.fixture
def tokens_for_attention(monkeypatch):
    """Instead of attention, reads hold the tokens that a network is given; the list has the positions that are looked at."""
    positions = []

    def tokens_of(model, tokens, keys):
        positions.append(keys.tolist())
        return tokens

    monkeypatch.setattr(codes, "_attention", tokens_of)
    return positions


# --- networks and their scores ----------------------------------------------------------------------------------------


def test_a_query_depends_on_all_of_the_context_and_on_no_other_query():
    arm = ARMS["fuzzy-softmax"]
    arm = replace(arm, task=replace(arm.task, queries=3))
    model = build(arm, KEY)
    tokens = jax.random.uniform(KEY, (arm.task.length + 2, arm.task.variables + 1))
    slopes = jax.jit(jax.jacrev(lambda tokens: model(tokens)[:, 0]))(tokens)
    expected = np.concatenate([np.ones((3, arm.task.length - 1)), np.eye(3)], axis=1)
    np.testing.assert_array_equal(np.any(slopes != 0, axis=-1), expected)


def test_the_loss_of_fuzzy_logic_is_the_mean_squared_error():
    arm = ARMS["fuzzy-softmax"]
    model = build(arm, KEY)
    tokens = jax.random.uniform(KEY, (arm.task.length + 1, arm.task.variables + 1))
    errors = np.asarray([0.1, -3.0])
    loss = train.fuzzy_loss(model, FuzzyExample(tokens, model(tokens)[:, 0] - errors, jnp.zeros(2, int)), KEY)
    np.testing.assert_allclose(loss, 9.01 / 2, rtol=1e-5)


def test_each_score_is_of_its_network_and_its_matrices(monkeypatch):
    """All of training's matrices are answered; of four held-out ones, two; beside another matrix's rows, one, and one more feature."""
    symbols = np.arange(8).reshape(4, 2)
    targets = np.stack([symbols, 7 - symbols])
    examples = [
        RavenExample(jnp.full((4, 18, 8), float(i)), jnp.asarray(targets[i]), *(jnp.zeros((4, *shape), int) for shape in ((3, 3, 2), (2,), (3, 2))))
        for i in (0, 1)
    ]
    model = build(ARMS["raven-softmax"], KEY)
    errors = [np.zeros((4, 2), int), np.asarray([[0, 0], [0, 0], [1, 1], [1, 1]]), np.asarray([[0, 0], [0, 1], [1, 1], [1, 1]])]

    def answer(network, tokens):
        """The last rows say which examples they are, and the first ones whether they are their own."""
        place = int(tokens[0, -1, 0])
        return jax.nn.one_hot((targets[place] + errors[place if tokens[0, 0, 0] == tokens[0, -1, 0] else 2]) % 8, 8)

    monkeypatch.setattr(train, "outputs", answer)
    monkeypatch.setattr(train, "other_rows", lambda tokens: tokens.at[:, :12].add(1.0))
    scores, answers = train.answer_sets(model, train.RavenSets(*examples))
    assert [tuple(map(float, getattr(scores, name))) for name in ("train", "held_out", "other_rows")] == [(1.0, 1.0), (0.5, 0.5), (0.25, 0.375)]
    np.testing.assert_array_equal(answers, (targets[1] + errors[1])[:3] % 8)


# --- fuzzy logic ------------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_terms_are_read_at_one_point_from_training_s_combinations_and_from_held_out_ones(tokens_for_attention):
    arm = ARMS["fuzzy-softmax"]
    task = fuzzy_task(arm.task, 1000)
    points = [jax.random.key(seed) for seed in (1, 2)]
    (plain, shuffled), (elsewhere, _) = (codes.read_fuzzy(20, KEY, point, eqx.filter_eval_shape(build, arm, KEY), task) for point in points)
    moved = np.any(plain.fitted.attention != elsewhere.fitted.attention, axis=(0, 2))
    assert moved.tolist() == [False] * (moved.size - 1) + [True]  # another replicate has another point, and here nothing else
    context, time = task.length - 1, task.length - 1 + task.queries
    assert tokens_for_attention == [[time - 1]] * 8
    for place, combinations in enumerate((task.combinations.train, task.combinations.held_out)):
        tokens, labels = (np.asarray(part) for part in plain[place])
        terms = np.nonzero(labels)[1].reshape(20, 2)
        assert rows(terms) <= rows(combinations)
        np.testing.assert_allclose(tokens[:, :context, -1], jax.vmap(fuzzy_function)(tokens[:, :context, :-1], terms), atol=1e-6)
        np.testing.assert_array_equal(tokens[:, -1], np.broadcast_to(plain.fitted.attention[0, -1], (20, 5)))
        assert tokens[0, -1, -1] == 0
        mixed = np.array(shuffled[place].attention)
        np.testing.assert_array_equal(np.sort(mixed[:, :context, -1]), np.sort(tokens[:, :context, -1]))
        assert np.mean(mixed[:, :context, -1] == tokens[:, :context, -1]) < 0.5
        mixed[:, :context, -1] = tokens[:, :context, -1]
        np.testing.assert_array_equal(mixed, tokens)
        np.testing.assert_array_equal(shuffled[place].labels, labels)


def test_terms_are_decoded_from_training_s_combinations_to_held_out_ones_and_from_shuffled_values_beside(monkeypatch):
    labels = np.arange(24).reshape(8, 3) % 5 == 0

    def read(number):
        return Read(np.full((1, 8, 2, 1, 1), float(number)), np.roll(labels, number, axis=0))

    reads = {of: tuple(Probed(read(first), read(first + 1)) for first in (start, start + 2)) for start, of in ((0, "trained"), (4, "untrained"))}
    context = Mock(Context, seeds=(1000,), parents=("fuzzy-softmax",), evaluation_key=KEY)
    context.model.return_value = "trained"
    context.evaluate.side_effect = lambda function, *given: (
        "untrained" if function.func is codes.build else jax.tree.map(lambda leaf: leaf[None], reads[given[1]])
    )
    decoded = []
    monkeypatch.setattr(codes, "_decoded", lambda network, seed, *given: decoded.append((network, *given)) or pl.DataFrame({"network": [network]}))
    monkeypatch.setattr(codes, "embedding", lambda points: points[:, :2])
    codes.read_terms(ARMS["fuzzy-softmax"], context)
    context.model.assert_called_once_with("fuzzy-softmax", "network")
    assert [network for network, *_ in decoded] == ["trained", "shuffled", "untrained"]
    for (_, fitted, known, scored, wanted), number in zip(decoded, (0, 2, 4), strict=True):
        assert (float(fitted.mean()), float(scored.mean())) == (number, number + 1)
        np.testing.assert_array_equal(known, np.roll(labels, number, axis=0))
        np.testing.assert_array_equal(wanted, np.roll(labels, number + 1, axis=0))


# --- Raven matrices ---------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_rules_are_read_from_training_s_combinations_and_from_held_out_ones(tokens_for_attention):
    """Labels fit the tokens beside them: each feature's rule leads to its symbol."""
    arm = ARMS["raven-softmax"]
    task = raven_task(arm.task, 1000)
    plain, mixed, independent, independent_mixed = codes.read_raven(40, KEY, eqx.filter_eval_shape(build, arm, KEY), task)
    assert tokens_for_attention == [[13, 15]] * 8
    pairs = rows(np.concatenate([np.stack([part.labels.other_rule, part.labels.rule], axis=1) for part in independent]))
    assert pairs & rows(task.combinations.held_out)
    assert pairs & rows(task.combinations.train)
    np.testing.assert_array_equal(independent_mixed.scored.attention[1:, :12], independent.scored.attention[:-1, :12])
    for place, combinations in enumerate((task.combinations.train, task.combinations.held_out)):
        tokens, labels = plain[place]
        rules = np.stack([labels.other_rule, labels.rule], axis=1)
        assert rows(rules) <= rows(combinations)
        assert np.any(rules[:, 0] > rules[:, 1])
        panels = tokens.argmax(axis=-1).reshape(40, 3, 3, 2)
        answers = np.stack([rule.complete(jnp.moveaxis(panels, -1, 1), 8).symbol for rule in RULES])
        for feature, (rule, target) in enumerate(((labels.other_rule, labels.other_target), (labels.rule, labels.target))):
            np.testing.assert_array_equal(answers[rule, np.arange(40), feature], target)
        np.testing.assert_array_equal(mixed[place].attention[:, 12:], tokens[:, 12:])
        np.testing.assert_array_equal(mixed[place].attention[1:, :12], tokens[:-1, :12])
        jax.tree.map(np.testing.assert_array_equal, mixed[place].labels, labels)


def made_up(examples=300):
    """Labels of four classes for two sets, and attention of two layers that tells such labels: the first layer the symbols, the last one any."""
    random = np.random.default_rng(0)
    labels = [RavenLabels(*random.integers(0, 4, (4, examples))) for _ in range(2)]

    def read(of, **told):
        """The last layer tells these labels, each in a part of the examples, and in the others a random one."""
        shown = [np.where(random.random(examples) < part, getattr(of, name), random.integers(0, 4, examples)) for name, part in told.items()]
        layers = [np.concatenate([np.eye(4)[label] for label in layer], axis=1) for layer in ([of.target, of.other_target], shown)]
        return Read(np.stack(layers).reshape(2, examples, 4, 1, 2), of)

    return labels, read


def test_probes_are_scored_on_what_they_are_not_fitted_on():
    (one, other), read = made_up()
    known = read(one, rule=1, other_rule=1)
    knows, forgets = (codes._decoded_rule("trained", 0, Probed(known, read(other, rule=part, other_rule=1)), "rule") for part in (1, 0))
    assert knows["f1"][1] > 0.95
    assert max(forgets["f1"][1], forgets["accuracy"][1], knows["f1"][0]) < 0.4


def test_rules_and_not_symbols_are_decoded_of_both_features_beside_own_rows_and_others(monkeypatch):
    """Own rows tell the last feature's rule, and, where rules are independent, the first's in most matrices; other rows the first's alone."""
    labels, read = made_up()
    told = ((1, 0), (0, 0), (0, 0.7), (0, 1))
    reads = codes.RavenReads(*(Probed(*(read(of, rule=rule, other_rule=other) for of in labels)) for rule, other in told))
    given = jax.tree.map(lambda leaf: leaf[None], reads)
    context = Mock(Context, seeds=(0,), parents=("raven-softmax",), evaluation_key=KEY, **{"evaluate.return_value": given})
    monkeypatch.setattr(codes, "embedding", lambda points: points[:, :2])
    found = codes.read_rules(ARMS["raven-softmax"], context)
    last = found["decoded"].filter(layer=1)
    f1 = dict(zip(last["network"], last["f1"], strict=True))
    assert min(f1["trained"], f1["untrained"], f1["other feature, other rows"]) > 0.95
    assert f1["trained, other rows"] < 0.4 < f1["other feature"] < 0.9
    rule, target, other_rule, other_target = (found["causes"][name][1] for name in RavenLabels._fields)
    assert rule > other_rule + 0.1 > 0.2 > max(target, other_target) + 0.1


def test_what_explains_codes_and_which_are_alike_is_asked_of_training_s_combinations(monkeypatch):
    labels, read = made_up()
    reads = codes.RavenReads(*[Probed(*(read(of, rule=1, other_rule=1) for of in labels))] * 4)
    context = Mock(Context, seeds=(0,), parents=("raven-softmax",), evaluation_key=KEY)
    context.evaluate.return_value = jax.tree.map(lambda leaf: leaf[None], reads)
    asked = []
    monkeypatch.setattr(codes, "embedding", lambda points: points[:, :2])
    monkeypatch.setattr(codes, "_decoded", lambda *given: pl.DataFrame({"network": [given[0]]}))
    monkeypatch.setattr(codes, "_causes", lambda seed, *given: asked.extend(given) or pl.DataFrame())
    monkeypatch.setattr(codes, "_similar", lambda arm, context, given: asked.append(jax.tree.map(lambda leaf: leaf[0], given)) or pl.DataFrame())
    codes.read_rules(ARMS["raven-softmax"], context)
    assert len(asked) == 3
    for given in asked:
        np.testing.assert_array_equal(given.labels.rule, labels[0].rule)


def test_independent_rules_are_all_pairs_alike():
    task = codes.independent_rules(raven_task(ARMS["raven-softmax"].task, 1000))
    every = np.asarray(task.combinations.train)
    assert {tuple(row) for row in every.tolist()} == {(i, j) for i in range(8) for j in range(8)}
    assert len(every) == 64


@pytest.mark.whole
def test_ambiguous_matrices_are_of_all_multisets_and_each_record_has_its_own():
    task = all_multisets(4, 8)
    assert len(rows(task.combinations.train)) == len(task.combinations.train) == 330

    def found(seed):
        context = Mock(Context, **{"keys.return_value": jax.random.split(jax.random.key(seed), 1)})
        context.evaluate.side_effect = lambda function, shared: jax.tree.map(lambda leaf: leaf[None], function(*shared))
        context.rows.side_effect = lambda axes, **columns: long_table({"seed": [seed], **axes}, **columns)
        table = find_ambiguous(Ambiguity(matrices=400, features=(2,)), context)["ambiguous"]
        context.keys.assert_called_once_with("eval")
        return table["somewhere"].to_list()

    assert found(0) == found(0) != found(1)


def test_rules_are_compared_in_the_last_layer():
    """There, the codes of the first two rules are the same; in the first layer, they are opposite."""
    rules = np.repeat([0, 1, 2], 4)
    directions = np.asarray([[[1.0, 0], [-1, 0], [0, 1]], [[1, 0], [1, 0], [0, 1]]])
    attention = np.broadcast_to(directions[:, rules, :, None, None], (2, 12, 2, 1, 2))
    read = jax.tree.map(lambda leaf: leaf[None], Read(attention, RavenLabels(*[rules] * 4)))
    table = codes._similar(ARMS["raven-softmax"], Mock(Context, seeds=(0,)), read)
    np.testing.assert_allclose(table["cosine"], [1, 1, -1, 1, 1, -1, -1, -1, 1], atol=1e-12)
