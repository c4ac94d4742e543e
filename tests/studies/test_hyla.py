"""The hyla study: sizes of its networks, paired arms, identities and mutants, probes whose answer is known, and what its search tried."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.judge import judge
from mesocosm.claims.view import View
from mesocosm.nn import HYLA_VARIANTS, DeltaNet
from mesocosm.studies.hyla import claims, codes, identities, train
from mesocosm.studies.hyla.config import PRESETS, Evaluation, Fuzzy, Identities, Raven
from mesocosm.studies.hyla.networks import build, fuzzy_task, raven_task, tasks
from mesocosm.studies.hyla.trials import check, trials
from mesocosm.tasks.fuzzy_logic import fuzzy_function
from mesocosm.tasks.raven_matrices import RavenMatrices
from mesocosm.tasks.task import batch

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
    assert size("raven-softmax", "cpu") == 77_208


def test_one_head_has_almost_as_many_parameters():
    """Only the table of position biases is smaller."""
    many, one = (size(f"raven-softmax{name}", "paper") for name in ("", "-heads-1"))
    assert many - one == 4 * 15 * 36


def test_a_scaled_network_is_wider_with_heads_of_the_same_size_or_deeper():
    wide, deep = (arm(f"raven-linear-{name}", "paper").network for name in ("wide-2", "deep-16"))
    assert (wide.layers, wide.dim, wide.heads, wide.size, wide.hidden) == (4, 256, 32, 128, 512)
    assert deep == replace(arm("raven-linear", "paper").network, layers=16)
    assert arm("raven-hyla-10M", "paper").training == replace(arm("raven-hyla", "paper").training, steps=78_125)


@pytest.mark.parametrize("of", [Fuzzy(), Raven()])
def test_seeds_have_splits_of_their_own_and_arms_share_them(of):
    first, second = (tasks(of, seeds) for seeds in ((1000, 1001), (1001, 1002)))
    held_out = first.combinations.held_out
    assert not jnp.array_equal(held_out[0], held_out[1])
    assert jnp.array_equal(held_out[1], second.combinations.held_out[0])


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
    known, _ = codes.read_raven(30, KEY, model, task)
    ordered = RavenMatrices(task.combinations, task.symbols, task.grid, False, True, False, task.rules)
    drawn, _ = train.draw_both(30, KEY, ordered)
    shown = jax.vmap(model.explain)(drawn.tokens)[1]
    wanted = jnp.stack([jnp.asarray(layer.attention)[:, :, -1:, jnp.asarray([13, 15])] for layer in shown])
    np.testing.assert_allclose(known.attention, wanted, atol=1e-6)
    np.testing.assert_array_equal(known.labels.target, drawn.panels[:, 2, 2, 1])
    np.testing.assert_array_equal(drawn.tokens[:, [13, 15]].argmax(-1), drawn.panels[:, 2, :2, 1])


def test_probes_find_what_is_in_the_codes_and_nothing_in_other_labels():
    random = np.random.default_rng(0)
    rules = random.integers(0, 4, 800)
    told = np.eye(4)[rules] + 0.1 * random.standard_normal((800, 4))
    layers = np.stack([random.standard_normal((800, 4)), told])
    table = codes._decoded("trained", 0, layers[:, :400], rules[:400], layers[:, 400:], rules[400:])
    gain = (table["f1"] - table["shuffled_f1"]).to_numpy()
    assert abs(gain[0]) < 0.15 < 0.6 < gain[1]
    causes = codes._causes(0, layers, codes.RavenLabels(rules, random.integers(0, 8, 800)))
    assert causes["rule"][1] > 0.9 > 0.1 > abs(causes["target"][1])


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


@pytest.mark.parametrize(("check", "variant"), [("C3.hyla", "hyla"), ("C13.nonlinearity", "hyla-linear"), ("C13.normalisation", "hyla-unnormalised")])
@pytest.mark.parametrize(("train", "held_out", "verdict"), [(0.75, 0.58, "holds"), (0.75, 0.45, "fails"), (0.95, 0.58, "not judged")])
def test_a_variant_can_generalise_no_better_or_fit_better(check, variant, train, held_out, verdict):
    tables = pl.concat([explained("softmax", 0.85, 0.5), explained(variant, train, held_out)])
    assert judged(check, explained=tables).verdict == verdict


@pytest.mark.parametrize(("few", "trained", "verdict"), [(0.7, 0.8, "holds"), (0.5, 0.8, "fails"), (0.7, 1.0, "not judged")])
def test_the_fraction_held_out_can_have_no_effect(few, trained, verdict):
    tables = pl.concat([explained("softmax", 0.85, 0.5), explained("softmax-held-30", trained, few)])
    assert judged("C3.fraction", explained=tables).verdict == verdict


@pytest.mark.parametrize(("hyla", "trained", "verdict"), [(0.65, 0.8, "holds"), (0.95, 0.8, "fails"), (0.65, 0.6, "not judged")])
def test_hyla_can_fall_more(hyla, trained, verdict):
    arms = [explained("softmax", 0.85, 0.5), explained("softmax-held-30", 0.8, 0.7), explained("hyla", 0.75, 0.6), explained("hyla-held-30", trained, hyla)]
    assert judged("C3.least", explained=pl.concat(arms)).verdict == verdict


@pytest.mark.parametrize(("short", "repeated", "verdict"), [(0.3, 0.3, "holds"), (0.5, 0.45, "fails"), (0.3, 0.5, "not judged")])
def test_length_can_have_no_effect_or_work_without_new_tokens(short, repeated, verdict):
    tables = pl.concat([explained("softmax", 0.85, 0.5, repeated=repeated), explained("softmax-length-8", 0.7, short)])
    assert judged("C3.length", explained=tables).verdict == verdict


@pytest.mark.parametrize(("train", "held_out", "verdict"), [(0.86, 0.5, "holds"), (0.7, 0.5, "fails"), (0.86, 0.84, "not judged")])
def test_training_can_differ_and_composition_cost_nothing(train, held_out, verdict):
    tables = pl.concat([explained("softmax", 0.85, held_out), explained("hyla", train, 0.6)])
    assert judged("C4.train", explained=tables).verdict == verdict


@pytest.mark.parametrize("variant", ["softmax", "hyla"])
@pytest.mark.parametrize(("unknown", "held_out", "verdict"), [(-0.1, 0.5, "holds"), (0.4, 0.5, "fails"), (-0.1, 0.2, "not judged")])
def test_unknown_terms_can_be_solved_and_known_ones_not(variant, unknown, held_out, verdict):
    assert judged(f"C5.{variant}", explained=explained(variant, 0.8, held_out, unknown)).verdict == verdict


@pytest.mark.parametrize(("one", "again", "verdict"), [(0.15, 0.28, "holds"), (0.28, 0.28, "fails"), (0.15, 0.15, "not judged")])
def test_one_head_can_be_as_good_and_initial_weights_can_matter_as_much(one, again, verdict):
    arms = {"raven-softmax": 0.28, "raven-softmax-heads-1": one, "raven-softmax-again": again}
    assert judged("C8.heads", solved=pl.concat(scores(name, train=0.4, held_out=value) for name, value in arms.items())).verdict == verdict


@pytest.mark.parametrize(
    ("check", "other"), [("C7.hyla", "softmax"), ("C13.raven-nonlinearity", "hyla-linear"), ("C13.raven-normalisation", "hyla-unnormalised")]
)
@pytest.mark.parametrize(("hyla", "linear", "verdict"), [(0.7, 0.57, "holds"), (0.57, 0.57, "fails"), (0.7, 0.4, "not judged")])
def test_hyla_can_be_no_better_on_matrices_and_softmax_better_than_linear(check, other, hyla, linear, verdict):
    arms = {"softmax": 0.57, "linear": linear, "hyla": hyla, "hyla-linear": 0.57, "hyla-unnormalised": 0.57}
    tables = pl.concat(scores(f"raven-{name}", held_out=value) for name, value in arms.items() if name in ("hyla", "softmax", "linear", other))
    assert judged(check, "paper", solved=tables).verdict == verdict


@pytest.mark.parametrize(("preset", "most", "fewest"), [("cpu", "-features-3", ""), ("paper", "", "-features-2")])
@pytest.mark.parametrize(("harder", "again", "verdict"), [(0.4, 0.6, "holds"), (0.6, 0.6, "fails"), (0.4, 0.4, "not judged")])
def test_more_features_can_be_as_easy_and_initial_weights_can_matter_as_much(preset, most, fewest, harder, again, verdict):
    arms = {f"raven-softmax{most}": harder, f"raven-softmax{fewest}": 0.6}
    arms["raven-softmax-again"] = arms["raven-softmax"] + again - 0.6
    tables = pl.concat(scores(name, held_out_feature=value) for name, value in arms.items())
    assert judged("C12.features", preset, solved=tables).verdict == verdict


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
        for network in ("trained", "untrained")
        for layer in range(layers)
        for seed in SEEDS
    ]
    return pl.DataFrame(rows)


def decoded(trial, trained, untrained):
    chance = [0.1] * len(trained)
    return by_layer(trial, len(trained), f1={"trained": trained, "untrained": untrained}, shuffled_f1={"trained": chance, "untrained": chance}).with_columns(
        pl.col("shuffled_f1") - 0.001 * pl.col("seed") * (1 + pl.col("layer"))
    )


@pytest.mark.parametrize(("check", "trial"), [("C6.softmax", "fuzzy-softmax"), ("C6.hyla", "fuzzy-hyla"), ("C11.rules", "raven-softmax")])
@pytest.mark.parametrize(("trained", "untrained", "verdict"), [(0.6, 0.11, "holds"), (0.11, 0.11, "fails"), (0.6, 0.5, "not judged")])
def test_codes_can_tell_nothing_or_tell_it_before_training(check, trial, trained, untrained, verdict):
    layers = 3 if "raven" in trial else 2
    table = decoded(f"codes-{trial}", [0.1] * (layers - 1) + [trained], [0.1] * (layers - 1) + [untrained])
    assert judged(check, decoded=table).verdict == verdict


@pytest.mark.parametrize(("early", "verdict"), [(0.1, "holds"), (0.6, "fails")])
def test_early_layers_can_tell_as_much(early, verdict):
    assert judged("C11.later", decoded=decoded("codes-raven-softmax", [early, 0.3, 0.6], [0.1] * 3)).verdict == verdict


@pytest.mark.parametrize(
    ("rule", "target", "wanted"),
    [
        ([0.0, 0.2, 0.3], [0.1, 0.1, 0.1], {"rule": "holds", "symbol": "holds"}),
        ([0.0, 0.0, 0.05], [0.1, 0.1, 0.1], {"rule": "fails", "symbol": "not judged"}),
        ([0.2, 0.2, 0.3], [0.1, 0.1, 0.1], {"rule": "not judged", "symbol": "fails"}),
    ],
)
def test_rules_and_symbols_can_explain_the_wrong_layers(rule, target, wanted):
    found = {name: {"trained": value, "untrained": [0.0] * 3} for name, value in (("rule", rule), ("target", target))}
    table = by_layer("codes-raven-softmax", 3, **found).filter(network="trained").with_columns(pl.col("rule") + 0.001 * pl.col("seed"))
    assert {name: judged(f"C9.{name}", causes=table).verdict for name in wanted} == wanted


@pytest.mark.parametrize(("sums", "constant", "verdict"), [(0.9, -0.2, "holds"), (0.2, -0.2, "fails"), (0.9, 0.8, "not judged")])
def test_sums_and_differences_can_have_other_codes_or_all_rules_the_same(sums, constant, verdict):
    found = {"difference": sums, "constant": constant}
    rows = [{"seed": seed, "first": "addition", "second": rule, "cosine": value + SPREAD[seed]} for rule, value in found.items() for seed in SEEDS]
    assert judged("C10.sums", "paper", similarity=pl.DataFrame(rows).with_columns(trial=pl.lit("codes-raven-softmax"))).verdict == verdict


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
