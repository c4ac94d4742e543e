"""The hyla study: sizes of its networks, paired arms, identities and mutants, probes whose answer is known, and what its search tried."""

from dataclasses import replace
from unittest.mock import Mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.tables import long_table
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.judge import judge
from mesocosm.claims.measures import trials_read
from mesocosm.claims.view import View
from mesocosm.nn import HYLA_VARIANTS, DeltaNet
from mesocosm.studies.hyla import claims, codes, figures, identities, tables, train
from mesocosm.studies.hyla.config import PRESETS, Evaluation, Fuzzy, FuzzySize, Identities, Language, Raven, Scale
from mesocosm.studies.hyla.networks import DECAYED, Copied, build, encoded_manual, fuzzy_task, language_task, learner, raven_task, tasks
from mesocosm.studies.hyla.trials import check, trials
from mesocosm.studies.interface import Context
from mesocosm.tasks.fuzzy_logic import fuzzy_function
from mesocosm.tasks.raven_matrices import RavenMatrices
from mesocosm.tasks.task import batch
from mesocosm.tasks.tokens import TokenExample

KEY = jax.random.key(0)


def arm(name, preset="smoke"):
    return next(trial for trial in trials(PRESETS[preset].config) if trial.name == name).config


def size(name, preset, **changes):
    network = eqx.filter_eval_shape(build, replace(arm(name, preset), **changes), KEY)
    return sum(leaf.size for leaf in jax.tree.leaves(network) if isinstance(leaf, jax.ShapeDtypeStruct))


def test_networks_have_as_many_parameters_as_the_authors_and_the_pilots():
    assert size("fuzzy-softmax", "paper") == 151_265
    assert size("fuzzy-hyla", "paper", task=Fuzzy(length=16, queries=1)) == 151_009
    assert size("raven-hyla", "paper") == size("raven-softmax", "paper") == 402_824
    assert size("fuzzy-hyla", "cpu") == 42_913
    assert size("raven-softmax", "cpu") == size("raven-hyla", "cpu") == 77_208
    assert size("raven-softmax-tied", "paper") == size("raven-softmax", "paper")
    experts = 3 * (256 * 128 * 2 + 256 + 128) + 4 * 128
    assert size("fuzzy-hyla-moe", "paper") - size("fuzzy-hyla", "paper") == 2 * experts
    assert size("language-softmax", "cpu") == size("language-linear", "cpu") == size("language-hyla", "cpu")
    assert size("language-hyla", "paper") == size("language-softmax", "paper")


@pytest.mark.whole
def test_norms_and_biases_are_not_decayed_and_maps_are():
    """Two steps without a gradient: what shrinks is decayed."""
    trained = arm("fuzzy-hyla", "quick")
    network = build(trained, KEY)
    made = learner(trained, fuzzy_task(Fuzzy(), 0), train.fuzzy_loss)
    transform = made.optimizer(**{**made.hyperparameters, "warmup": 0.0, "steps": 100.0})
    params = jax.tree.map(lambda leaf: leaf + 1.0, eqx.filter(network, eqx.is_inexact_array))
    updates, _ = transform.update(jax.tree.map(jnp.zeros_like, params), transform.init(params), params)
    moved = {jax.tree_util.keystr(path): bool(jnp.any(leaf != 0)) for path, leaf in jax.tree_util.tree_leaves_with_path(updates)}
    assert {name for name, change in moved.items() if not change} == {name for name in moved if "norm" in name or "bias" in name}
    assert 0 < sum(moved.values()) < len(moved)


def test_one_head_has_almost_as_many_parameters():
    """Only the table of position biases is smaller."""
    many, one = (size(f"raven-softmax{name}", "paper") for name in ("", "-heads-1"))
    assert many - one == 4 * 15 * 36


def test_a_scaled_network_is_wider_with_heads_of_the_same_size_or_deeper():
    wide, deep = (arm(f"raven-linear-{name}", "paper").network for name in ("wide-2", "deep-16"))
    assert (wide.layers, wide.dim, wide.heads, wide.size, wide.hidden) == (4, 256, 32, 128, 512)
    assert deep == replace(arm("raven-linear", "paper").network, layers=16)
    assert arm("raven-hyla-10M", "paper").training == replace(arm("raven-hyla", "paper").training, steps=78_125)
    assert arm("raven-hyla-10M", "paper").network == arm("raven-hyla", "paper").network
    assert arm("raven-linear-wide-2", "paper").training == arm("raven-linear", "paper").training
    narrow, judged = arm("raven-softmax-narrow", "cpu"), arm("raven-softmax", "cpu")
    assert narrow == replace(judged, network=replace(judged.network, dim=32, heads=4, size=16, hidden=64))
    assert {trial.name for trial in trials(PRESETS["cpu"].config) if "narrow" in trial.name} == {"raven-softmax-narrow"}


def test_other_fractions_of_the_multisets_of_rules_are_held_out_for_softmax_and_hyla():
    """At the size of the judged networks; the largest fraction that the config takes can be drawn."""
    names = [f"raven-{layer}-held-{percent}" for percent in (10, 30, 50, 70, 90) for layer in ("softmax", "hyla")]
    assert [trial.name for trial in trials(PRESETS["paper"].config) if trial.name.startswith("raven-") and "-held-" in trial.name] == names
    for name in names:
        judged = arm(name.partition("-held-")[0], "paper")
        assert arm(name, "paper") == replace(judged, task=replace(judged.task, held_out=int(name[-2:]) / 100))
    config = replace(PRESETS["cpu"].config, raven_held_outs=(0.9,))
    task = next(trial for trial in trials(config) if trial.name == "raven-hyla-held-90").config.task
    split = raven_task(task, 1000).combinations
    assert (len(split.train), len(split.held_out)) == (4, 32)
    assert sorted(np.unique(np.asarray(split.train))) == list(range(8))


def test_the_figure_of_sizes_leaves_out_other_fractions_and_theirs_leaves_out_other_sizes():
    config = replace(PRESETS["cpu"].config, raven_held_outs=(0.5,))
    labels = {"heads": 8, "tied": False, "features": 2, "copies": 0, "matrices": 320_000, "width": 64, "layers": 3}
    arms = {"raven-softmax": {}, "raven-softmax-held-50": {}, "raven-softmax-narrow": {"heads": 4, "width": 32}, "raven-softmax-quarter": {"matrices": 80_000}}
    rows = [scores(trial, train=0.5, held_out=place / 10).with_columns(variant=pl.lit("softmax")) for place, trial in enumerate(arms)]
    rows = [
        table.with_columns(**{name: pl.lit(value) for name, value in {**labels, **changes}.items()}) for table, changes in zip(rows, arms.values(), strict=True)
    ]
    view = View(config, "cpu", {"solved": pl.concat(rows)})

    def drawn(figure):
        """The data of a figure's charts."""
        return [pl.DataFrame(data) for data in figure.draw(view).to_dict()["datasets"].values()]

    assert {(row["matrices"], row["width"]) for table in drawn(figures.curves) for row in table.iter_rows(named=True)} == {
        (320_000, 64),
        (320_000, 32),
        (80_000, 64),
    }
    assert [len(table) for table in drawn(figures.curves)] == [20, 20]
    (table,) = drawn(figures.multisets_held_out)
    assert sorted(set(table["fraction"])) == [0.25, 0.5]
    assert len(table) == 40


def test_what_a_check_compares_has_all_replicates():
    for preset in PRESETS.values():
        assert {trial.name for trial in trials(preset.config) if trial.seeds is not None} == {"identities", "ambiguous"}


def test_features_are_compared_after_equally_many_steps():
    for preset, steps in (("cpu", 1250), ("paper", 156_250)):
        names = [tables.of_features(pick).names(PRESETS[preset].config)[0] for pick in (min, max)]
        arms = [arm(name, preset) for name in (*names, *tables.COPIED.names(PRESETS[preset].config))]
        assert [one.training.steps for one in arms] == [steps] * 3
        assert [(one.task.features, one.task.places) for one in arms] == ([(2, 2), (3, 3), (2, 3)] if preset == "cpu" else [(2, 2), (4, 4), (2, 4)])


def test_checks_name_the_ends_of_each_curve():
    cpu, paper = PRESETS["cpu"].config, PRESETS["paper"].config
    one = replace(cpu, held_outs=(), hyla_held_outs=(), raven_features=(), scales=(Scale("deep", layers=9),))
    found = [tables.held_out("hyla", rank).names(paper) for rank in (0, 1, 2)]
    assert found == [("fuzzy-hyla-held-30",), ("fuzzy-hyla-held-50",), ("fuzzy-hyla",)]
    assert [tables.held_out("hyla", rank).names(cpu) for rank in (0, 2)] == [("fuzzy-hyla-held-30",), ("fuzzy-hyla",)]
    assert [tables.by_matrices("softmax", pick).names(cpu) for pick in (min, max)] == [("raven-softmax-quarter",), ("raven-softmax",)]
    assert [tables.by_matrices("hyla", pick).names(cpu) for pick in (min, max)] == [("raven-hyla-quarter",), ("raven-hyla",)]
    assert [tables.by_matrices("hyla", pick).names(paper) for pick in (min, max)] == [("raven-hyla-10M",), ("raven-hyla-40M",)]
    assert [tables.by_width("softmax", pick).names(cpu) for pick in (min, max)] == [("raven-softmax-narrow",), ("raven-softmax",)]
    assert [tables.by_width("linear", pick).names(paper) for pick in (min, max)] == [("raven-linear",), ("raven-linear-wide-4",)]
    no_curves = [tables.held_out("hyla", 0), tables.by_width("linear", min), tables.by_matrices("linear", max), tables.of_features(max)]
    for end, config in [*((end, one) for end in no_curves), (tables.held_out("hyla", 1), cpu)]:
        assert not set(end.names(config)) & {trial.name for trial in trials(config)}
    assert tables.LONGER.names(paper) == ("fuzzy-softmax-length-64",)
    assert tables.half("hyla").names(paper) == ("fuzzy-hyla-length-16",)
    assert tables.half("softmax").names(cpu) == ("fuzzy-softmax-length-8",)


@pytest.mark.whole
def test_each_seed_holds_out_other_stretches_of_the_same_text():
    of = Language(vocabulary=257, length=16)
    text, encoding = encoded_manual(257)
    one, other, again = (language_task(of, seed) for seed in (1000, 1001, 1000))
    np.testing.assert_array_equal(one.corpus, again.corpus)
    assert one.encoding == encoding
    for task in (one, other):
        assert task.held_out == len(text) // 100
        start = int(np.flatnonzero((np.lib.stride_tricks.sliding_window_view(np.append(text, text), 40) == np.asarray(task.corpus[:40])).all(axis=1))[0])
        np.testing.assert_array_equal(np.roll(text, -start), task.corpus)
    assert not jnp.array_equal(one.corpus, other.corpus)
    drawn = train.draw_windows(40, KEY, one)
    starts = [np.flatnonzero((np.lib.stride_tricks.sliding_window_view(np.asarray(one.corpus), 16) == np.asarray(row)).all(axis=1)) for row in drawn.inputs]
    stretch = len(text) // 10
    assert all((place % stretch >= stretch - one.held_out).any() for place in starts)


@pytest.mark.whole
def test_a_decoder_is_scored_with_all_tokens_before_and_with_one():
    model = build(arm("language-softmax"), KEY)
    inputs = jax.random.randint(jax.random.key(1), (2, 3), 0, 257)
    windows = TokenExample(inputs, jnp.roll(inputs, 1, axis=1), jnp.ones((2, 3)))
    found = train.predict(model, windows)

    def losses(context):
        """The last logits of each prefix, or of a part of it."""
        scored = [
            [jax.nn.log_softmax(model(context(row[: place + 1]))[-1])[target] for place, target in enumerate(targets)]
            for row, targets in zip(inputs, windows.targets, strict=True)
        ]
        return -np.mean(scored, axis=1)

    np.testing.assert_allclose(found.loss, losses(lambda part: part), rtol=1e-5)
    np.testing.assert_allclose(found.alone, losses(lambda part: part[-1:]), rtol=1e-5)
    assert not np.allclose(found.loss, found.alone, rtol=1e-3)


@pytest.mark.whole
def test_held_out_matrices_have_combinations_that_training_does_not_have():
    task = raven_task(Raven(), 1000)
    sets = train.draw_raven(20, KEY, task)
    combinations = {tuple(sorted(row)) for row in np.asarray(sets.held_out.rules).tolist()}
    assert combinations <= {tuple(sorted(row)) for row in np.asarray(task.combinations.held_out).tolist()}
    assert not combinations & {tuple(sorted(row)) for row in np.asarray(sets.train.rules).tolist()}


@pytest.mark.whole
@pytest.mark.parametrize("variant", ["softmax", "hyla"])
def test_tied_heads_have_the_mean_weights(variant):
    plain = replace(arm("raven-softmax"), variant=variant)
    tokens = raven_task(Raven(), 1000).sample(KEY).tokens
    networks = [build(replace(plain, network=replace(plain.network, tied=tied)), KEY) for tied in (False, True)]
    plain, mean = (np.asarray(network.explain(tokens)[1][0].attention) for network in networks)
    np.testing.assert_allclose(mean, np.broadcast_to(np.mean(plain, axis=0), plain.shape), rtol=1e-5, atol=1e-6)
    assert np.abs(plain - mean).max() > 0.01


@pytest.mark.slow
def test_copied_features_have_the_symbols_and_the_rule_of_one_of_the_others():
    """In every column, the places hold two features, and one of them again, in random order; the answer is among them. Rules are sorted, and the copied one
    is as often the first as the last.
    """
    task = raven_task(Raven(copies=1), 1000)
    assert isinstance(task, Copied)
    drawn = batch(task, KEY, 40, "ood")
    features = np.asarray(drawn.features())
    copied = [np.all(features[..., place] == features[..., 2], axis=(1, 2)) & (drawn.rules[:, place] == drawn.rules[:, 2]) for place in (0, 1)]
    assert np.all(copied[0] | copied[1])
    assert all(12 <= np.sum(of) <= 28 for of in copied)
    assert np.any(features[..., 0] != features[..., 1])
    several = batch(raven_task(Raven(copies=2), 1000), KEY, 10)
    np.testing.assert_array_equal(several.features()[..., 2], several.features()[..., 3])
    assert {tuple(sorted(row)) for row in np.asarray(drawn.rules)[:, :2].tolist()} <= {
        tuple(sorted(row)) for row in np.asarray(task.combinations.held_out).tolist()
    }
    assert drawn.tokens.shape == (40, 27, 8)
    np.testing.assert_array_equal(drawn.targets, drawn.panels[:, 2, 2])
    assert len(np.unique(np.asarray(drawn.orders).reshape(-1, 3), axis=0)) == 6


@pytest.mark.whole
def test_right_answers_are_counted_per_feature_and_per_matrix():
    examples = train.draw_raven(8, KEY, raven_task(Raven(), 1000)).held_out
    answers = jax.nn.one_hot(examples.targets.at[:4, 0].add(1) % 8, 8)

    def network(tokens):
        return answers[jnp.argmax(jnp.all(examples.tokens == tokens, axis=(1, 2)))]

    found = train.answer_all(network, examples)
    assert (found.matrices, found.features) == (0.5, 0.75)
    right = train.raven_loss(lambda tokens: 50.0 * network(tokens), jax.tree.map(lambda leaf: leaf[5], examples), KEY)
    wrong = train.raven_loss(lambda tokens: 50.0 * network(tokens), jax.tree.map(lambda leaf: leaf[0], examples), KEY)
    np.testing.assert_allclose([right, wrong], [0.0, 25.0], atol=1e-4)


@pytest.mark.parametrize("of", [Fuzzy(), Raven()])
def test_seeds_have_splits_of_their_own_and_arms_share_them(of):
    first, second = (tasks(of, seeds) for seeds in ((1000, 1001), (1001, 1002)))
    held_out = first.combinations.held_out
    assert not jnp.array_equal(held_out[0], held_out[1])
    assert jnp.array_equal(held_out[1], second.combinations.held_out[0])


@pytest.mark.whole
def test_test_sequences_are_of_the_sets_that_they_are_named_after():
    task = fuzzy_task(Fuzzy(), 1000)
    sets = train.draw_fuzzy(Evaluation(examples=50), KEY, task, task.unknown_terms())
    rows = {name: {tuple(row) for row in np.asarray(found.terms)} for name, found in sets._asdict().items()}
    lists = [{tuple(row) for row in np.asarray(part)} for part in (task.combinations.train, task.combinations.held_out)]
    assert rows["train"] <= lists[0]
    assert rows["held_out"] == rows["repeated"] <= lists[1]
    assert min(min(row) for row in rows["unknown"]) >= task.known
    context = np.asarray(sets.repeated.tokens[:, :15])
    assert len(np.unique(context[0], axis=0)) == 7
    np.testing.assert_array_equal(context[:, :7], sets.held_out.tokens[:, :7])
    np.testing.assert_array_equal(sets.repeated.tokens[:, 15:], sets.held_out.tokens[:, 15:])


@pytest.mark.whole
def test_a_perfect_network_explains_all_and_the_mean_nothing():
    examples = batch(fuzzy_task(Fuzzy(), 1000), KEY, 2000, "ood")
    perfect, values = examples.targets, jax.vmap(fuzzy_function)(examples.tokens[..., :-1], examples.terms)

    class Table(eqx.Module):
        answers: jax.Array
        tokens: jax.Array

        def __call__(self, tokens):
            place = jnp.argmax(jnp.all(self.tokens == tokens, axis=(1, 2)))
            return self.answers[place][:, None]

    np.testing.assert_allclose(train.explain(Table(perfect, examples.tokens), examples).mean, 1.0, atol=1e-6)
    mean = jnp.broadcast_to(values.mean(axis=1, keepdims=True), perfect.shape)
    assert abs(train.explain(Table(mean, examples.tokens), examples).pooled) < 0.05


@pytest.mark.whole
def test_tokens_see_later_ones_but_in_a_decoder():
    for name, tokens, causal in (
        ("fuzzy-softmax", jnp.ones((7, 5)), False),
        ("raven-softmax", jnp.ones((18, 8)), False),
        ("language-softmax", jnp.zeros(4, int), True),
    ):
        attention = build(arm(name), KEY).explain(tokens)[1][0].attention
        assert np.all((attention[:, 0, 1] == 0) == causal), name


def test_an_arms_training_reaches_its_optimiser():
    of = arm("fuzzy-hyla", "quick")
    made = learner(of, fuzzy_task(Fuzzy(), 0), train.fuzzy_loss)
    assert made.hyperparameters == {"learning_rate": 1e-2, "warmup": 200.0, "steps": 1500.0, "floor": 0.1, "weight_decay": {DECAYED: 0.1}}
    assert made.batch_size == 64


@pytest.mark.parametrize("preset", PRESETS)
def test_codes_are_those_of_the_network_that_a_trial_is_named_after(preset):
    found = {trial.name: trial for trial in trials(PRESETS[preset].config)}
    reading = [trial for trial in found.values() if trial.after]
    for trial in reading:
        assert trial.after == (trial.name.removeprefix("codes-"),)
        assert trial.config == found[trial.after[0]].config
    assert {trial.name for trial in reading} == {name for name in found if name.startswith("codes-")}


def test_tasks_have_the_sizes_of_their_config():
    fuzzy = fuzzy_task(Fuzzy(held_out=0.3, length=9, queries=3), 1000)
    assert (len(fuzzy.combinations.train), len(fuzzy.combinations.held_out), fuzzy.length, fuzzy.queries) == (47, 19, 9, 3)
    raven = raven_task(Raven(features=2, symbols=6, held_out=0.5), 1000)
    assert isinstance(raven, RavenMatrices)
    assert (len(raven.combinations.train), len(raven.combinations.held_out), raven.symbols) == (18, 18, 6)
    assert (raven.permute, raven.shuffle_rules, raven.reject_ambiguous) == (True, False, False)


def test_scores_are_averaged_over_examples_and_their_errors_shrink_with_their_number(monkeypatch):
    each = jnp.asarray([[0.0, 1.0, 0.0, 1.0]])
    context = Mock(Context, seeds=(1000,), evaluation_key=KEY)
    context.rows.side_effect = lambda axes=None, **columns: pl.DataFrame({name: np.asarray(value).reshape(-1) for name, value in columns.items()})
    for name in ("split_of", "_shown"):
        monkeypatch.setattr(train, name, lambda *given: pl.DataFrame())

    def columns(run, name, **results):
        """The columns of the table of scores, where these functions have these results."""
        made = {getattr(train, function): result for function, result in results.items()}
        context.evaluate.side_effect = lambda function, *parts: made.get(getattr(function, "func", function))
        table = next(iter(run(arm(name), context).values()))
        return {column: [table[column][0], table[f"{column}_error"][0]] for column in table.columns if f"{column}_error" in table.columns}

    sets = train.FuzzySets(*[jnp.zeros((1, 2))] * 4)
    found = columns(train.train_fuzzy, "fuzzy-softmax", draw_fuzzy=sets, explain=train.Scores(each, each.mean(axis=1)))
    assert found == {name: pytest.approx([0.5, 3**-0.5 / 2]) for name in sets._fields}
    right = train.Accuracy(jnp.asarray([0.2]), jnp.asarray([0.5]))
    found = columns(
        train.train_raven, "raven-softmax", draw_raven=train.RavenSets(*[jnp.zeros((1, 2))] * 2), answer_sets=(train.RavenScores(right, right, right), None)
    )
    assert found["held_out"] == pytest.approx([0.2, 0.05])
    assert found["held_out_feature"] == pytest.approx([0.5, 0.0625])
    assert len(found) == 6
    found = columns(train.train_language, "language-softmax", draw_windows=jnp.zeros((1, 2)), predict=train.Losses(each, 2 * each))
    assert found == {"loss": pytest.approx([0.5, 3**-0.5 / 2]), "alone": pytest.approx([1.0, 3**-0.5])}


# --- identities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", identities.IDENTITIES)
def test_an_identity_holds_and_its_mutant_does_not(name):
    with jax.enable_x64(True):
        errors = identities.IDENTITIES[name](Identities(dim=4, heads=2, length=5), KEY)
        assert errors.error < 1e-10
        assert errors.mutant > 1e-3


def test_every_variant_has_an_identity_and_a_check():
    named = {check.name for claim in claims.CLAIMS[:2] for check in claim.checks}
    assert set(HYLA_VARIANTS) | {"keys"} == named


# --- latent codes -----------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_codes_are_read_where_the_paper_reads_them():
    """The answer's attention to the last feature of the panels before it, and the labels of that feature, in order."""
    raven = replace(arm("raven-softmax"), network=replace(arm("raven-softmax").network, layers=2), evaluation=Evaluation(probed=30))
    task = raven_task(raven.task, 1000)
    model = build(raven, KEY)
    plain, mixed, *_ = codes.read_raven(30, KEY, model, task)
    known = plain.fitted
    assert jnp.array_equal(codes.read_known(30, KEY, model, task).attention, known.attention)
    ordered = RavenMatrices(task.combinations, task.symbols, task.grid, False, True, False, task.rules)
    drawn, _ = train.draw_both(30, KEY, ordered)
    shown = jax.vmap(model.explain)(drawn.tokens)[1]
    wanted = jnp.stack([jnp.asarray(layer.attention)[:, :, -1:, jnp.asarray([13, 15])] for layer in shown])
    np.testing.assert_allclose(known.attention, wanted, atol=1e-6)
    np.testing.assert_array_equal(mixed.fitted.labels.rule, known.labels.rule)
    rows = train.other_rows(drawn.tokens)
    shown = jax.vmap(model.explain)(rows)[1]
    wanted = jnp.stack([jnp.asarray(layer.attention)[:, :, -1:, jnp.asarray([13, 15])] for layer in shown])
    np.testing.assert_allclose(mixed.fitted.attention, wanted, atol=1e-6)
    np.testing.assert_array_equal(rows[:, 12:], drawn.tokens[:, 12:])
    np.testing.assert_array_equal(rows[1:, :12], drawn.tokens[:-1, :12])
    np.testing.assert_array_equal(known.labels.target, drawn.panels[:, 2, 2, 1])
    np.testing.assert_array_equal(known.labels.other_target, drawn.panels[:, 2, 2, 0])
    np.testing.assert_array_equal(jnp.stack([known.labels.other_rule, known.labels.rule], axis=1), drawn.rules)
    np.testing.assert_array_equal(drawn.tokens[:, [13, 15]].argmax(-1), drawn.panels[:, 2, :2, 1])


def test_probes_find_what_is_in_the_codes_and_nothing_in_other_labels():
    random = np.random.default_rng(0)
    rules = random.integers(0, 4, 800)
    told = np.eye(4)[rules] + 0.1 * random.standard_normal((800, 4))
    layers = np.stack([random.standard_normal((800, 4)), told])
    table = codes._decoded("trained", 0, layers[:, :400], rules[:400], layers[:, 400:], rules[400:])
    gain = (table["f1"] - table["shuffled_f1"]).to_numpy()
    assert abs(gain[0]) < 0.15 < 0.6 < gain[1]
    read = codes.Read(layers.reshape(2, 800, 2, 1, 2), codes.RavenLabels(rules, *random.integers(0, 8, (3, 800))))
    causes = codes._causes(0, read, read)
    assert causes["rule"][1] > 0.9 > 0.1 > max(abs(causes[name][1]) for name in ("target", "other_rule", "other_target"))
    assert causes["rule_silhouette"][1] > 0.6 > 0.2 > max(abs(causes["rule_silhouette"][0]), abs(causes["target_silhouette"][1]))


def test_shuffled_values_are_those_of_the_context_at_other_points():
    tokens = jnp.stack([jnp.arange(12.0).reshape(6, 2)] * 20)
    shuffled = codes.shuffle_values(KEY, tokens, 4)
    np.testing.assert_array_equal(shuffled.at[:, :4, 1].set(0), tokens.at[:, :4, 1].set(0))
    np.testing.assert_array_equal(jnp.sort(shuffled[:, :4, 1], axis=1), tokens[:, :4, 1])
    assert len(np.unique(shuffled[:, :4, 1], axis=0)) > 5


# --- claims -----------------------------------------------------------------------------------------------------------


SEEDS = list(range(10))
SPREAD = np.random.default_rng(0).normal(0, 0.02, 10)


def judged(check, preset="cpu", **tables):
    """The row of a check, judged on these tables."""
    view = View(PRESETS[preset].config, preset, {name: pl.DataFrame(rows) for name, rows in tables.items()})
    claim, _, name = check.partition(".")
    found = next(found for found in claims.CLAIMS if found.id == claim)
    kept = replace(found, checks=[one for one in found.checks if one.name == name])
    (row,) = judge("hyla", [kept], view, Circumstances(command=""), strict=True)
    return row


def scores(trial, **columns):
    """A table of scores, an error of 0.005 for each; arms differ by a little noise of their own."""
    noise = np.random.default_rng(len(trial)).normal(0, 0.005, 10)
    values = {name: value + SPREAD + noise for name, value in columns.items()}
    errors = {f"{name}_error": [0.005] * 10 for name in columns}
    return pl.DataFrame({"trial": trial, "seed": SEEDS, "digest": [str(seed) for seed in SEEDS], **values, **errors})


def explained(trial, train, held_out, unknown=-0.2, repeated=0.4):
    return scores(f"fuzzy-{trial}", train=train, held_out=held_out, unknown=unknown, repeated=repeated)


def test_a_second_step_can_be_needless():
    """The one-step layer can generalise as well, or the difference be one of fit."""
    for train_r2, held_out, verdict in ((0.75, 0.5, "holds"), (0.75, 0.58, "fails"), (0.7, 0.5, "not judged")):
        rows = pl.concat([explained("hyla-linear", 0.75, 0.58), explained("linear-rms", train_r2, held_out)])
        assert judged("C13.two-steps", explained=rows).verdict == verdict


@pytest.mark.parametrize(("check", "variant"), [("C3.hyla", "hyla"), ("C13.nonlinearity", "hyla-linear"), ("C13.normalisation", "hyla-unnormalised")])
@pytest.mark.parametrize(("train", "held_out", "verdict"), [(0.75, 0.58, "holds"), (0.75, 0.45, "fails"), (0.95, 0.58, "not judged")])
def test_a_variant_can_generalise_no_better_or_fit_better(check, variant, train, held_out, verdict):
    tables = pl.concat([explained("softmax", 0.85, 0.5), explained(variant, train, held_out)])
    assert judged(check, explained=tables).verdict == verdict


@pytest.mark.parametrize(("few", "trained", "verdict"), [(0.7, 0.8, "holds"), (0.5, 0.8, "fails"), (0.7, 1.0, "not judged")])
def test_the_fraction_held_out_can_have_no_effect(few, trained, verdict):
    tables = pl.concat([explained("softmax", 0.85, 0.5), explained("softmax-held-30", trained, few)])
    assert judged("C3.fraction", explained=tables).verdict == verdict


@pytest.mark.parametrize(("check", "ends"), [("C3.fewer", ("-held-30", "-held-50")), ("C3.more", ("-held-50", ""))])
@pytest.mark.parametrize(("few", "trained", "verdict"), [(0.6, 0.8, "holds"), (0.4, 0.8, "fails"), (0.6, 0.95, "not judged")])
def test_each_step_of_the_fraction_can_have_no_effect(check, ends, few, trained, verdict):
    fewer, more = (f"softmax{end}" for end in ends)
    assert judged(check, "paper", explained=pl.concat([explained(fewer, trained, few), explained(more, 0.85, 0.5)])).verdict == verdict


@pytest.mark.parametrize(("long", "repeated", "verdict"), [(0.6, 0.4, "holds"), (0.4, 0.4, "fails"), (0.6, 0.6, "not judged")])
def test_a_longer_context_can_be_no_better(long, repeated, verdict):
    rows = pl.concat([explained("softmax", 0.85, 0.5), explained("softmax-length-64", 0.9, long, repeated=repeated)])
    assert judged("C3.longer", "paper", explained=rows).verdict == verdict


@pytest.mark.parametrize(("few", "trained", "verdict"), [(0.65, 0.8, "holds"), (0.5, 0.8, "fails"), (0.65, 1.0, "not judged")])
def test_the_fraction_held_out_can_have_no_effect_on_hyla(few, trained, verdict):
    tables = pl.concat([explained("hyla", 0.85, 0.6), explained("hyla-held-30", trained, few)])
    assert judged("C3.fraction-hyla", explained=tables).verdict == verdict


@pytest.mark.parametrize(("hyla", "trained", "verdict"), [(0.65, 0.8, "holds"), (0.95, 0.8, "fails"), (0.65, 0.6, "not judged")])
def test_hyla_can_fall_more(hyla, trained, verdict):
    arms = [explained("softmax", 0.85, 0.5), explained("softmax-held-30", 0.8, 0.7), explained("hyla", 0.75, 0.6), explained("hyla-held-30", trained, hyla)]
    assert judged("C3.least", explained=pl.concat(arms)).verdict == verdict


@pytest.mark.parametrize(("check", "variant", "preset", "half"), [("C3.length", "softmax", "cpu", 8), ("C3.length-hyla", "hyla", "paper", 16)])
@pytest.mark.parametrize(("short", "repeated", "verdict"), [(0.3, 0.3, "holds"), (0.5, 0.45, "fails"), (0.3, 0.5, "not judged")])
def test_length_can_have_no_effect_or_work_without_new_tokens(check, variant, preset, half, short, repeated, verdict):
    tables = pl.concat([explained(variant, 0.85, 0.5, repeated=repeated), explained(f"{variant}-length-{half}", 0.7, short)])
    assert judged(check, preset, explained=tables).verdict == verdict


@pytest.mark.parametrize(("preset", "half"), [("quick", 8), ("cpu", 8), ("paper", 16)])
@pytest.mark.parametrize(("train", "held_out", "short", "verdict"), [(0.75, 0.6, 0.3, "holds"), (0.85, 0.5, 0.3, "fails"), (0.75, 0.6, 0.55, "not judged")])
def test_layers_can_have_the_same_gap_and_a_shorter_context_a_smaller_one(preset, half, train, held_out, short, verdict):
    """The gap of softmax attention is 0.35; seeds differ a little in HYLA's and in that with half of the context."""
    arms = [explained("softmax", 0.85, 0.5), explained("hyla", train, held_out), explained(f"softmax-length-{half}", 0.65, short)]
    tables = pl.concat([arms[0], *(arm.with_columns(pl.col("held_out") + 0.001 * pl.col("seed")) for arm in arms[1:])])
    assert judged("C3.gap", preset, explained=tables).verdict == verdict


@pytest.mark.parametrize(("train", "held_out", "verdict"), [(0.86, 0.5, "holds"), (0.7, 0.5, "fails"), (0.86, 0.84, "not judged")])
def test_training_can_differ_and_composition_cost_nothing(train, held_out, verdict):
    tables = pl.concat([explained("softmax", 0.85, held_out), explained("hyla", train, 0.6)])
    assert judged("C4.train", explained=tables).verdict == verdict


@pytest.mark.parametrize("variant", ["softmax", "hyla", "hyla-linear", "hyla-unnormalised", "linear-rms"])
@pytest.mark.parametrize(("unknown", "held_out", "verdict"), [(-0.1, 0.5, "holds"), (0.4, 0.5, "fails"), (-0.1, 0.2, "not judged")])
def test_unknown_terms_can_be_solved_and_known_ones_not(variant, unknown, held_out, verdict):
    assert judged(f"C5.{variant}", explained=explained(variant, 0.8, held_out, unknown)).verdict == verdict


def test_both_layers_of_quick_are_judged():
    names = {trial.name for trial in trials(PRESETS["quick"].config) if trial.name.startswith("fuzzy")}
    read = {name for claim in claims.CLAIMS for check in claim.checks if "quick" in check.judged_at for name in trials_read(check, PRESETS["quick"].config)}
    assert names == read


@pytest.mark.parametrize(("one", "tied", "verdict"), [(0.15, 0.16, "holds"), (0.28, 0.28, "fails"), (0.15, 0.26, "not judged")])
def test_one_head_can_be_as_good_and_several_can_be_better_even_if_they_are_tied(one, tied, verdict):
    values = {"": 0.28, "-heads-1": one, "-tied": tied}
    rows = pl.concat(scores(f"raven-softmax{name}", held_out=value) for name, value in values.items())
    assert judged("C8.heads", solved=rows).verdict == verdict


@pytest.mark.parametrize(
    ("check", "preset", "most", "fewest"),
    [
        ("matrices-softmax", "cpu", "softmax", "softmax-quarter"),
        ("matrices-hyla", "cpu", "hyla", "hyla-quarter"),
        ("matrices-hyla", "paper", "hyla-40M", "hyla-10M"),
        ("width-softmax", "paper", "softmax-wide-4", "softmax"),
        ("width-softmax", "cpu", "softmax", "softmax-narrow"),
        ("matrices-softmax", "paper", "softmax-40M", "softmax-10M"),
        ("width-hyla", "paper", "hyla-wide-4", "hyla"),
    ],
)
@pytest.mark.parametrize(("small", "guessed", "verdict"), [(0.2, 0.05, "holds"), (0.39, 0.05, "fails"), (0.2, 0.2, "not judged")])
def test_matrices_and_width_can_have_no_effect_or_one_on_guesses(check, preset, most, fewest, small, guessed, verdict):
    arms = [scores(f"raven-{most}", held_out=0.4, other_rows=guessed), scores(f"raven-{fewest}", held_out=small, other_rows=0.05)]
    assert judged(f"C7.{check}", preset, solved=pl.concat(arms)).verdict == verdict


@pytest.mark.parametrize(("hyla", "linear", "verdict"), [(0.7, 0.57, "holds"), (0.57, 0.57, "fails"), (0.7, 0.65, "not judged")])
def test_hyla_can_be_no_better_on_matrices_and_its_linear_form_as_good(hyla, linear, verdict):
    arms = {"softmax": 0.57, "hyla-linear": linear, "hyla": hyla}
    rows = pl.concat(scores(f"raven-{name}", held_out=value) for name, value in arms.items())
    assert judged("C7.hyla", "paper", solved=rows).verdict == verdict


@pytest.mark.parametrize(("check", "other"), [("C13.raven-nonlinearity", "hyla-linear"), ("C13.raven-normalisation", "hyla-unnormalised")])
@pytest.mark.parametrize(("hyla", "guessed", "verdict"), [(0.7, 0.05, "holds"), (0.57, 0.05, "fails"), (0.7, 0.2, "not judged")])
def test_parts_of_hyla_can_be_needless_on_matrices_or_needed_for_guesses(check, other, hyla, guessed, verdict):
    rows = [scores("raven-hyla", held_out=hyla, other_rows=guessed), scores(f"raven-{other}", held_out=0.57, other_rows=0.05)]
    assert judged(check, "paper", solved=pl.concat(rows)).verdict == verdict


@pytest.mark.parametrize(("preset", "most", "fewest"), [("cpu", "-features-3", "-quarter"), ("paper", "", "-features-2")])
@pytest.mark.parametrize(("harder", "copied", "verdict"), [(0.4, 0.6, "holds"), (0.6, 0.6, "fails"), (0.4, 0.45, "not judged")])
def test_more_features_can_be_as_easy_and_copies_as_hard(preset, most, fewest, harder, copied, verdict):
    values = {most: harder, fewest: 0.6, "-copied": copied}
    rows = pl.concat(scores(f"raven-softmax{name}", held_out_feature=value).with_columns(digest=pl.col("digest") + name) for name, value in values.items())
    assert judged("C12.features", preset, solved=rows).verdict == verdict


@pytest.mark.parametrize(("linear", "alone", "verdict"), [(3.1, 4.0, "holds"), (2.95, 4.0, "fails"), (3.1, 4.3, "not judged")])
def test_hyla_can_be_no_better_than_linear_attention_on_text_or_without_context(linear, alone, verdict):
    rows = [scores("language-linear", loss=linear, alone=alone), scores("language-hyla", loss=3.0, alone=4.0)]
    assert judged("C14.linear", perplexity=pl.concat(rows)).verdict == verdict


@pytest.mark.parametrize(("softmax", "alone", "verdict"), [(3.0, 4.0, "holds"), (2.9, 4.0, "fails"), (3.1, 4.0, "fails"), (3.0, 3.0, "not judged")])
def test_hyla_can_be_far_from_softmax_attention_on_text_or_as_near_without_context(softmax, alone, verdict):
    rows = [scores("language-softmax", loss=softmax, alone=4.0), scores("language-hyla", loss=3.0, alone=alone)]
    assert judged("C14.softmax", perplexity=pl.concat(rows)).verdict == verdict


def by_layer(trial, layers, **values):
    """A table by network and layer; values map networks to one number per layer."""
    rows = [
        {
            "trial": trial,
            "network": network,
            "seed": seed,
            "layer": layer,
            **{name: value[network][layer] + SPREAD[seed] / 10 * layer for name, value in values.items()},
        }
        for network in next(iter(values.values()))
        for layer in range(layers)
        for seed in SEEDS
    ]
    return pl.DataFrame(rows)


def decoded(trial, trained, control, name):
    chance = [0.1] * len(trained)
    return by_layer(trial, len(trained), f1={"trained": trained, name: control}, shuffled_f1={"trained": chance, name: chance}).with_columns(
        pl.col("shuffled_f1") - 0.001 * pl.col("seed") * (1 + pl.col("layer"))
    )


@pytest.mark.parametrize(
    ("check", "trial", "name"),
    [("C6.softmax", "fuzzy-softmax", "shuffled"), ("C6.softmax-mean", "fuzzy-softmax", "shuffled"), ("C6.hyla", "fuzzy-hyla", "shuffled")],
)
@pytest.mark.parametrize(("trained", "control", "verdict"), [(0.6, 0.11, "holds"), (0.11, 0.11, "fails"), (0.6, 0.5, "not judged")])
def test_codes_can_tell_nothing_or_what_they_must_not(check, trial, name, trained, control, verdict):
    table = decoded(f"codes-{trial}", [0.1, trained], [0.1, control], name)
    assert judged(check, decoded=table).verdict == verdict


@pytest.mark.parametrize(("trained", "other", "verdict"), [(0.3, 0.12, "holds"), (0.12, 0.12, "fails"), (0.3, 0.3, "not judged")])
def test_codes_can_tell_no_more_than_the_last_row_or_the_rows_what_they_must_not(trained, other, verdict):
    last = {"trained": trained, "trained, other rows": 0.12, "other feature": other, "other feature, other rows": 0.12}
    found = {name: [0.1, 0.1, value] for name, value in last.items()}
    table = by_layer("codes-raven-softmax", 3, f1=found, shuffled_f1=found).with_columns(
        pl.col("f1") + 0.001 * pl.col("seed") * (~pl.col("network").str.ends_with("other rows"))
    )
    assert judged("C11.rules", decoded=table).verdict == verdict


@pytest.mark.parametrize(("early", "other", "verdict"), [(0.1, 0.1, "holds"), (0.6, 0.1, "fails"), (0.1, 0.4, "not judged")])
@pytest.mark.parametrize("check", ["C11.later", "C11.middle"])
def test_early_layers_can_tell_as_much(check, early, other, verdict):
    table = decoded("codes-raven-softmax", [early, 0.6, 0.6], [0.1, other, other], "other feature")
    assert judged(check, decoded=table).verdict == verdict


@pytest.mark.parametrize(
    ("rule", "target", "other_rule", "other_target", "wanted"),
    [
        ([0.0, 0.2, 0.3], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], {"rule": "holds", "symbol": "holds"}),
        ([0.2, 0.0, 0.05], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], {"rule": "fails", "symbol": "fails"}),
        ([0.0, 0.2, 0.3], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0], [0.1, 0.0, 0.0], {"rule": "holds", "symbol": "not judged"}),
        ([0.0, 0.2, 0.3], [0.1, 0.1, 0.1], [0.0, 0.0, 0.2], [0.0, 0.0, 0.0], {"rule": "not judged", "symbol": "holds"}),
    ],
)
def test_rules_and_symbols_can_explain_the_wrong_layers_or_what_they_must_not(rule, target, other_rule, other_target, wanted):
    columns = {"rule": rule, "target": target, "other_rule": other_rule, "other_target": other_target}
    table = by_layer("codes-raven-softmax", 3, **{name: {"trained": values} for name, values in columns.items()}).drop("network")
    table = table.with_columns(pl.col("rule") - 0.001 * pl.col("seed"), pl.col("other_rule") + 0.001 * pl.col("seed"))
    assert {name: judged(f"C9.{name}", causes=table).verdict for name in wanted} == wanted


@pytest.mark.parametrize(("sums", "constant", "verdict"), [(0.9, -0.2, "holds"), (0.2, -0.2, "fails"), (0.9, 0.8, "not judged")])
def test_sums_and_differences_can_have_other_codes_or_all_rules_the_same(sums, constant, verdict):
    found = {"difference": sums, "constant": constant}
    rows = [{"seed": seed, "first": "addition", "second": rule, "cosine": value + SPREAD[seed]} for rule, value in found.items() for seed in SEEDS]
    assert judged("C10.sums", "paper", similarity=pl.DataFrame(rows).with_columns(trial=pl.lit("codes-raven-softmax"))).verdict == verdict


@pytest.mark.slow
def test_enumerated_matrices_are_judged_one_by_one():
    def ambiguous(many, few):
        counted = [
            {"trial": "ambiguous", "seed": 0, "features": f, "matrix": i, "everywhere": int(i < n)} for f, n in ((2, many), (4, few)) for i in range(4000)
        ]
        return judged("C15.ambiguous", ambiguous=counted).verdict

    assert [ambiguous(80, 4), ambiguous(80, 60), ambiguous(10, 4)] == ["holds", "fails", "not judged"]


# --- a user's layer ---------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_a_users_layer_is_trained_on_both_tasks_beside_ours():
    config = replace(PRESETS["smoke"].config, mixer="delta-net(heads=2)")
    check(config)
    found = {trial.name: trial for trial in trials(config)}
    assert set(found) == {f"{task}-{name}" for task in ("fuzzy", "raven") for name in ("softmax", "hyla", "user")}
    for name, tokens in (("fuzzy-user", jnp.zeros((7, 5))), ("raven-user", jnp.zeros((18, 8)))):
        assert found[name].user_parts
        network = build(found[name].config, KEY)
        assert any(isinstance(part, DeltaNet) for part in jax.tree.leaves(network, is_leaf=lambda part: isinstance(part, DeltaNet)))
        assert network(tokens).shape == ((2, 1) if name == "fuzzy-user" else (2, 8))


def test_a_layer_may_see_all_tokens():
    check(replace(PRESETS["smoke"].config, mixer="hyla(causal=False)"))


# --- the config -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"raven_heads": (5,)}, "5 heads cannot share queries, keys and values of size 32"),
        ({"raven_heads": (0,)}, "0 heads"),
        ({"held_outs": (0.3, 0.3)}, "held_outs has 30 twice"),
        ({"held_outs": (0.7,)}, "held_outs has 70 twice, or the judged network has it"),
        ({"held_outs": (0.3, 0.301)}, "held_outs has 30 twice"),
        ({"hyla_held_outs": (0.4,)}, "hyla_held_outs has 0.4, which held_outs lacks"),
        ({"lengths": (8, 16)}, "lengths has 16 twice"),
        ({"hyla_lengths": (4,)}, "hyla_lengths has 4, which lengths lacks"),
        ({"raven_features": (2,)}, "raven_features has 2 twice"),
        ({"raven_held_outs": (0.5, 0.25)}, "raven_held_outs has 25 twice"),
        ({"raven_held_outs": (0.02,)}, "with 2 features, a fraction of 0.02 holds out 0 of 36 multisets"),
        ({"raven_held_outs": (0.95,)}, "with 2 features, a fraction of 0.95 holds out 34 of 36 multisets"),
        ({"raven_held_outs": (1.5,)}, "holds out 54 of 36 multisets"),
        ({"raven_features": (1,)}, "with 1 features, a fraction of 0.25 holds out 2 of 8 multisets"),
        ({"scales": (Scale("a", steps=1), Scale("a", steps=2))}, "scales has a twice"),
        ({"fuzzy_sizes": (FuzzySize("a", 3, 2, 0.3, 1),) * 2}, "fuzzy_sizes has a twice"),
        ({"variants": ("softmax", "hyla", "hyla")}, "variants has hyla twice"),
        ({"language_variants": ("linear", "hyla-softmx")}, "language_variants has hyla-softmx, which is no layer of this study"),
    ],
)
def test_lists_that_would_train_a_network_twice_or_nowhere_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        trials(replace(PRESETS["cpu"].config, **changes))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_with_minutes_have_them_for_every_trial(preset):
    config = PRESETS[preset].config
    if minutes := PRESETS[preset].minutes:
        assert set(minutes) == {trial.name for trial in trials(config)}
        assert preset != "cpu" or sum(minutes.values()) < 100  # of one core; the record is computed on two


def test_the_split_of_every_seed_is_saved():
    drawn = tasks(Fuzzy(), (1000, 1001))
    table = train.split_of(drawn, Mock(rows=lambda axes, **columns: long_table({"seed": [1000, 1001], **axes}, **columns)))
    for place, seed in enumerate((1000, 1001)):
        for held_out, rows in ((False, drawn.combinations.train), (True, drawn.combinations.held_out)):
            found = table.filter(seed=seed, held_out=held_out)["parts"].to_list()
            assert [list(map(int, parts.split())) for parts in found] == rows[place].tolist()


def test_other_functions_and_experts_are_trained_at_the_size_of_the_paper():
    small = arm("fuzzy-hyla-5-variables", "paper")
    assert (small.task.variables, small.task.terms, small.task.held_out, small.training.steps) == (5, 3, 0.5, 100_000)
    assert fuzzy_task(small.task, 1000).combinations.parts == 3
    assert {"raven-hyla-moe", "fuzzy-softmax-moe"} <= {trial.name for trial in trials(PRESETS["paper"].config)}
