"""The weight-decay study's transformers: what decays how, what a query sees, how products are measured, and rows that can hold and can fail."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from mesocosm.analysis.spectra.factor_spectra import rank_by_sum
from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import judge
from mesocosm.learning.learner import Learner
from mesocosm.nn.mixers.attention import ContextAndSelf
from mesocosm.studies.interface import View
from mesocosm.studies.weight_decay import claims
from mesocosm.studies.weight_decay.config import PRESETS
from mesocosm.studies.weight_decay.config_networks import Arm, Language, Network, Pictures, Recall, Training
from mesocosm.studies.weight_decay.networks import build, decay_clock, language_task, learner, pair_loss, picture_sets, recall_task, token_loss
from mesocosm.studies.weight_decay.trained import attention_matrices, head_means, without_attention
from mesocosm.studies.weight_decay.trials import arms, trials
from mesocosm.tasks.byte_pairs import BytePairs
from mesocosm.tasks.task import batch
from mesocosm.tasks.text import Text
from mesocosm.tasks.tokens import TokenExample

SMALL = Network(dim=8, heads=2)
TRAINING = Training(steps=5, learning_rate=0.5, batch_size=2, warmup=2)
RECALL = Recall(pairs=3, queries=2, network=SMALL, training=TRAINING)
LANGUAGE = Language(vocabulary=257, length=4, network=SMALL, training=TRAINING)
PICTURES = Pictures(patch=4, network=SMALL, training=TRAINING)
ATTENTION = {"query", "key", "value", "output"}


def task_of(of):
    return {Recall: recall_task, Language: lambda of: language_task(of, [0]), Pictures: lambda of: picture_sets(of, [1000])[0]}[type(of)](of)


@pytest.mark.whole
@pytest.mark.parametrize("of", [RECALL, LANGUAGE, PICTURES], ids=["recall", "language", "pictures"])
def test_attention_the_mlps_and_the_rest_decay_at_their_own_rates(of):
    """With a gradient of zero, an update is minus learning rate times decay times the parameter."""
    made = learner(Arm(of, 0.3, 0.7), task_of(of))
    params = eqx.filter(jax.tree.map(jnp.ones_like, build(Arm(of, 0.0, 0.0), jax.random.key(0))), eqx.is_inexact_array)
    transform = made.transform()
    state = transform.init(params)
    for _ in range(3):  # past the warm-up
        updates, state = transform.update(jax.tree.map(jnp.zeros_like, params), state, params)
    wanted = {"attention": -0.15, "elsewhere": -0.35, "others": -0.05, "none": 0.0}
    seen = set()
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        names = [getattr(part, "name", "") for part in path]
        weight = names[-1] in ATTENTION if "mixer" in names and "biases" not in names else names[-1] in {"inward", "outward", "table", "weight", "class_token"}
        part = "none" if not weight else "attention" if "mixer" in names else "elsewhere" if "feed_forward" in names or of is RECALL else "others"
        np.testing.assert_allclose(update, wanted[part], rtol=1e-5, err_msg=str(names))
        seen.add(part)
    assert seen == {"attention", "elsewhere", "none"} | ({"others"} if of is not RECALL else set())


@pytest.mark.parametrize(("steps", "warmup", "sums"), [(5, 2, 0.5 + 3), (3, 0, 3.0)])
def test_the_clock_is_decay_times_the_sum_of_learning_rates(steps, warmup, sums):
    arm = Arm(replace(RECALL, training=replace(TRAINING, steps=steps, warmup=warmup)), 0.4, 0.1)
    assert decay_clock(arm) == pytest.approx(0.4 * 0.5 * sums)


@pytest.mark.whole
def test_a_query_beside_others_is_a_sequence_of_its_own():
    """Each query's logits are those of the same network with this query alone, at this position."""
    model = build(Arm(RECALL, 0.0, 0.1), jax.random.key(0))
    example = recall_task(RECALL).sample(jax.random.key(1))
    together = model(example.inputs)
    assert together.shape == (2, 6)
    assert isinstance(model.blocks[0].mixer.mask, ContextAndSelf)
    for place in range(2):
        changed = example.inputs.at[6 + (1 - place)].set(2)
        np.testing.assert_allclose(model(changed)[place], together[place], rtol=1e-5, atol=1e-6)
        assert np.abs(model(example.inputs.at[1].set(example.inputs[1] ^ 1))[place] - together[place]).max() > 1e-4


@pytest.mark.whole
def test_the_loss_is_that_of_the_queries():
    model = build(Arm(RECALL, 0.0, 0.1), jax.random.key(0))
    example = recall_task(RECALL).sample(jax.random.key(1))
    logits = np.asarray(model(example.inputs), np.float64)
    losses = np.log(np.exp(logits).sum(-1)) - logits[[0, 1], np.asarray(example.targets)[-2:]]
    np.testing.assert_allclose(token_loss(model, example, jax.random.key(2)), losses.mean(), rtol=1e-5)


def test_head_means_are_those_of_the_products():
    """Against dense products, head by head; a rotation of the inner space changes neither rank nor balance."""
    random = np.random.default_rng(0)
    shapes = {"query": (3, 6), "key": (3, 6), "value": (3, 6), "output": (6, 3)}
    matrices = {name: random.standard_normal((2, 1, 1, 4, *shape)).astype(np.float32) for name, shape in shapes.items()}
    found = head_means(matrices)
    for name, product in (("QK", lambda one: one["key"].T @ one["query"]), ("VO", lambda one: one["output"] @ one["value"])):
        for seed in range(2):
            heads = [{part: array[seed, 0, 0, head].astype(np.float64) for part, array in matrices.items()} for head in range(4)]
            values = [np.linalg.svd(product(one), compute_uv=False)[:3] for one in heads]
            np.testing.assert_allclose(found[name]["rank"][seed, 0, 0], np.mean([rank_by_sum(spectrum) for spectrum in values]) / 3, rtol=1e-6)
            first, second = ("key", "query") if name == "QK" else ("output", "value")
            means = [(np.square(one[first]).sum() + np.square(one[second]).sum()) / 2 for one in heads]
            gaps = [mean - spectrum.sum() for mean, spectrum in zip(means, values, strict=True)]
            np.testing.assert_allclose(found[name]["gap"][seed, 0, 0], np.mean(gaps), rtol=1e-5)
            inner = [one["output"].T @ one["output"] - one["value"] @ one["value"].T for one in heads]
            if name == "VO":
                np.testing.assert_allclose(found[name]["difference"][seed, 0, 0], np.mean([np.linalg.norm(each) for each in inner]), rtol=1e-5)


@pytest.mark.whole
def test_the_probe_stacks_the_layers():
    made: Learner = learner(Arm(RECALL, 0.0, 0.1), recall_task(RECALL))
    state = made.init(jax.random.key(0))
    probed = attention_matrices(made, state, jax.random.key(1))
    np.testing.assert_array_equal(probed["output"][1], made.model(state).blocks[1].mixer.output)
    assert probed["query"].shape == (2, 2, 4, 8)


@pytest.mark.whole
def test_pilots_are_tested_on_training_pictures():
    (pilot, pilot_test), (train, test) = (picture_sets(PICTURES, seeds) for seeds in ([1000], [0]))
    assert pilot.labels.shape[0] + pilot_test.label.shape[0] == train.labels.shape[0] == 1297
    np.testing.assert_array_equal(np.argmax(train.pixels[0]), np.argmax(pilot_test.pixels[0]))
    assert test.pixels.shape == (500, 1, 8, 8)
    assert abs(float(train.pixels.mean())) < 1e-5


@pytest.mark.whole
def test_pilots_have_the_text_of_training_only():
    task, pilot = (language_task(LANGUAGE, seeds) for seeds in ([0], [1000]))
    assert task.vocabulary == pilot.vocabulary == 257
    assert batch(task, jax.random.key(0), 3, "iid").inputs.shape == (3, 4)
    corpus, stretch = np.asarray(task.corpus), len(task.corpus) // 10
    training = np.concatenate([corpus[start : start + stretch - task.held_out] for start in range(0, 10 * stretch, stretch)])
    np.testing.assert_array_equal(pilot.corpus, training)


def test_pairs_of_neighbours_are_estimated_from_the_text_of_training():
    """Against counts by hand: 0 is followed by 1 (twice), 1 by 0 (once) and by 2 (once); a new pair has the share of new successors."""
    text = jnp.asarray([0, 1, 0, 1, 2, 9, 9, 9] * 2)
    task = Text(text, BytePairs(()), 2, 2, 3)
    alone = (np.array([4, 4, 2]) + 0.5) / (10 + 0.5 * task.vocabulary)
    test = TokenExample(jnp.asarray([[0, 1], [1, 2]]), jnp.asarray([[1, 2], [1, 0]]), jnp.ones((2, 2)))
    wanted = [(4 + alone[1]) / 5, (2 + 2 * alone[2]) / 6, 2 * alone[1] / 6, alone[0]]
    assert pair_loss(task, test) == pytest.approx(-np.log(wanted).mean(), rel=1e-12)


@pytest.mark.whole
def test_without_attention_a_position_sees_itself_only():
    """Elsewhere nothing changes: the network is its embedding, MLPs and readout."""
    model = build(Arm(LANGUAGE, 0.0, 0.1), jax.random.key(0))
    tokens = jnp.asarray([3, 1, 4, 1])
    ablated = without_attention(model)
    assert np.abs(np.asarray(model(tokens) - model(tokens.at[0].set(7)))[1:]).max() > 1e-3
    np.testing.assert_array_equal(ablated(tokens)[1:], ablated(tokens.at[0].set(7))[1:])
    assert np.abs(np.asarray(ablated(tokens) - ablated(tokens.at[0].set(7)))[0]).max() > 1e-3
    np.testing.assert_array_equal(ablated.blocks[0].feed_forward.inward, model.blocks[0].feed_forward.inward)


def test_arms_differ_in_decays_only_and_have_their_controls():
    config = PRESETS["cpu"].config
    found = arms(config)
    for preset in PRESETS.values():
        names = [trial.name for trial in trials(preset.config)]
        assert len(set(names)) == len(names)
    for of in (config.recall, config.language, config.pictures):
        pairs = [(arm.attention, arm.elsewhere) for arm in found if arm.of is of]
        assert {(0.0, of.others), (of.judged, of.others), (0.0, of.moved)} <= set(pairs)
    assert not arms(PRESETS["quick"].config)


# --- rows can hold and can fail ----------------------------------------------------------------------------------------


def verdict(name, table, rows):
    """The verdict of one check at `cpu` on a made-up table."""
    claim, check = name.split(".")
    chosen = [replace(each, checks=[one for one in each.checks if one.name == check]) for each in claims.CLAIMS if each.id == claim]
    view = View(PRESETS["cpu"].config, "cpu", {table: pl.DataFrame(rows).with_columns(trial=pl.lit(table))})
    (row,) = judge("weight-decay", chosen, view, Circumstances("", fingerprints=fingerprints(chosen)), strict=True)
    return row.verdict


def products(task, product, by_attention, by_elsewhere, start=0.95):
    """Rows of two layers, whose columns fall with attention's decay, or with decay elsewhere, by these powers."""
    of = getattr(PRESETS["cpu"].config, task)
    random = np.random.default_rng(0)
    rows = []
    for seed in range(10):
        for attention, elsewhere in {(decay, of.others) for decay in of.decays} | {(0.0, of.moved)}:
            for layer in (1, 2):
                end = 0.9 / (1 + attention) ** by_attention / (1 + elsewhere - of.others) ** by_elsewhere * np.exp(0.01 * random.normal())
                where = {"seed": seed, "task": task, "attention": attention, "elsewhere": elsewhere, "layer": layer, "product": product}
                rows += [{**where, "step": step, **dict.fromkeys(COLUMNS, value)} for step, value in ((0, start), (9, end))]
    return rows


COLUMNS = ("interpolated_rank", "difference", "gap", "imbalance", "relative_gap")
RANKS = [
    (f"{claim}.{kind}", task, product)
    for claim, task in (("C4", "recall"), ("C5", "language"), ("C16", "pictures"))
    for kind, product in (("query", "QK"), ("value", "VO"))
]
FALLS = [(f"{name}-rank", task, product) for name, task, product in RANKS]
FALLS += [(f"C4.{name}", "recall", "VO") for name in ("imbalance", "gap", "balance", "relative-gap")]
VANISHES = ("C4.imbalance-vanishes", "C4.gap-vanishes")


@pytest.mark.parametrize(("by_attention", "by_elsewhere", "expected"), [(2, 0, "holds"), (0, 0, "fails"), (2, 2, "not judged")])
@pytest.mark.parametrize(("name", "task", "product"), FALLS)
def test_a_fall_counts_if_attention_decays_and_not_if_the_rest_does(name, task, product, by_attention, by_elsewhere, expected):
    assert verdict(name, "attention_products", products(task, product, by_attention, by_elsewhere)) == expected


@pytest.mark.parametrize(("power", "expected"), [(2, "holds"), (-1, "fails")])
@pytest.mark.parametrize(("name", "task", "product"), RANKS)
def test_the_order_of_decays_counts(name, task, product, power, expected):
    assert verdict(f"{name}-ordered", "attention_products", products(task, product, power, 0)) == expected


@pytest.mark.parametrize(("name", "task", "product"), RANKS)
def test_every_step_of_the_order_counts(name, task, product):
    """The rank at the middle decay is that without decay."""
    middle = getattr(PRESETS["cpu"].config, task).ordered[1]
    rows = products(task, product, 2, 0)
    noise = np.random.default_rng(1).normal(1, 0.01, len(rows))
    free = [(row, factor) for row, factor in zip(rows, noise, strict=True) if (row["attention"], row["elsewhere"]) == (0.0, 0.1)]
    same = [{**row, "attention": middle, "interpolated_rank": factor * row["interpolated_rank"]} for row, factor in free]
    assert verdict(f"{name}-ordered", "attention_products", [row for row in rows if row["attention"] != middle] + same) == "fails"


@pytest.mark.parametrize(("power", "start", "expected"), [(3, 2, "holds"), (0, 0.9, "fails"), (3, 9, "not judged")])
@pytest.mark.parametrize("name", VANISHES)
def test_imbalance_must_fall_in_training_and_not_without_decay(name, power, start, expected):
    assert verdict(name, "attention_products", products("recall", "VO", power, 0, start)) == expected


def held_out(task, learned, ablated):
    """Networks of ten seeds; at the decay judged, some only have learned."""
    of = getattr(PRESETS["cpu"].config, task)
    pairs = [(decay, of.others) for decay in of.decays] + [(0.0, of.moved)]
    rows = []
    for seed in range(10):
        for attention, elsewhere in pairs:
            good, bad = {"accuracy": 0.99, "loss": 2.8}, {"accuracy": 0.15, "loss": 3.4}
            whole, cut = (good if seed < count or attention != of.judged else bad for count in (learned, ablated))
            where = {"seed": seed, "task": task, "attention": attention, "elsewhere": elsewhere, "baseline": 3.5}
            rows.append({**where, **whole, "loss_error": 0.01, "accuracy_error": 0.001, **{f"ablated_{name}": value for name, value in cut.items()}})
    return rows


@pytest.mark.parametrize(("learned", "ablated", "expected"), [(10, 0, "holds"), (1, 0, "fails"), (10, 10, "not judged")])
@pytest.mark.parametrize(("name", "task"), [("C4", "recall"), ("C5", "language"), ("C16", "pictures")])
def test_all_networks_that_are_compared_must_have_learned_by_attention(name, task, learned, ablated, expected):
    assert verdict(f"{name}.learned", "held_out", held_out(task, learned, ablated)) == expected
