"""The randomized study: success by brute force, networks that ignore their seed, and what the smoke run measured."""

from itertools import permutations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.studies.randomized import networks, theory, train
from mesocosm.studies.randomized.config import PRESETS, Colouring, Recall
from mesocosm.studies.randomized.networks import Arm, build_network, task_of
from mesocosm.tasks.task import batch

RECALL = Recall(pairs=4, bits=2, width=6, completions=2)
COLOURING = Colouring(vertices=5, layers=1, width=6, key_size=4, embedding_gain=1.0)
TRAINING = PRESETS["smoke"].config.recall_training


def arm(problem, randomised=True):
    return Arm(problem, TRAINING, 4.0, 2, randomised, 30)


@pytest.fixture
def smoke(smoke_of):
    return smoke_of("randomized")


@pytest.mark.parametrize("problem", [RECALL, COLOURING])
def test_a_fixed_network_answers_the_same_under_all_seeds_and_a_random_one_does_not(problem):
    for randomised in (True, False):
        network = build_network(arm(problem, randomised), jax.random.key(0))
        answers = [train.answer(arm(problem, randomised), network, jax.random.key(1)) for _ in range(2)]
        np.testing.assert_array_equal(answers[0].probabilities, answers[1].probabilities)
        assert answers[0].probabilities.shape[0] == (30 if randomised else 1)
        if randomised:
            assert np.ptp(answers[0].probabilities, axis=0).max() > 1e-3
    np.testing.assert_allclose(answers[0].probabilities.sum(axis=-1), 1, rtol=1e-5)


def test_without_weights_on_the_seed_all_seeds_agree():
    network = build_network(arm(RECALL), jax.random.key(0))
    blind = eqx.tree_at(lambda m: m.model.first.weight, network, network.model.first.weight.at[:, RECALL.pairs + RECALL.bits :].set(0))
    answers = train.answer(arm(RECALL), blind, jax.random.key(1))
    np.testing.assert_array_equal(np.ptp(answers.probabilities, axis=0), 0)


def test_a_vertex_hears_no_further_than_its_rounds():
    network = build_network(arm(Colouring(vertices=7, layers=1, width=6, key_size=4, embedding_gain=1.0)), jax.random.key(0)).model
    edges = jnp.roll(jnp.eye(7, dtype=bool), 1, axis=1) | jnp.roll(jnp.eye(7, dtype=bool), -1, axis=1)
    tokens = jax.random.normal(jax.random.key(1), (7, 8))
    change = np.abs(network(tokens.at[0].add(1.0), edges) - network(tokens, edges)).max(axis=1)
    assert (change[[0, 1, 6]] > 1e-6).all()
    np.testing.assert_array_equal(change[2:6], 0)


def test_success_is_what_the_rules_say():
    inputs = batch(task_of(RECALL), jax.random.key(0), 6)
    decisions = np.stack([np.asarray(inputs.target, int), np.asarray(inputs.target, int)])
    decisions[1, 3, 1] ^= 1
    np.testing.assert_array_equal(train.succeeds(RECALL, decisions, inputs), np.arange(12).reshape(2, 6) != 9)
    cycles = np.asarray(batch(task_of(COLOURING), jax.random.key(0), 6))
    colours = np.random.default_rng(0).integers(0, 3, (4, 6, 5))
    by_hand = [[all(c[u] != c[v] for u, v in permutations(range(5), 2) if edges[u, v]) for c, edges in zip(row, cycles, strict=True)] for row in colours]
    np.testing.assert_array_equal(train.succeeds(COLOURING, colours, cycles), by_hand)


def test_sampled_answers_follow_the_distribution():
    probabilities = np.array([[[0.7, 0.2, 0.1]], [[0.0, 0.5, 0.5]]])
    drawn = train._sampled(probabilities, 20000, 0)
    assert drawn.shape == (20000, 2, 1)
    for value in range(3):
        np.testing.assert_allclose((drawn == value).mean(axis=0)[:, 0], probabilities[:, 0, value], atol=0.02)


def test_the_probability_of_a_wrong_majority_is_that_of_counting():
    generator = np.random.default_rng(0)
    right = generator.random((40000, 9)) < 0.6
    assert theory._failure(9, 0.2) == pytest.approx(np.mean(right.sum(axis=1) <= 4), abs=0.01)


def test_initial_weights_have_the_spread_of_their_fan_in():
    weights = networks._normal(jax.random.key(0), (200, 50), 2.0)
    assert float(weights.std()) == pytest.approx(2 / 50**0.5, rel=0.02)
    assert float(jnp.abs(weights).max()) < 2.01 * 2 / 50**0.5 / networks._TRUNCATED


@pytest.mark.whole
def test_what_a_published_network_answers_is_what_was_measured(smoke):
    trial = next(trial for trial in smoke.study.trials(smoke.config) if trial.name == "recall-fixed-q1")
    network = smoke.model("recall-fixed-q1", seed=1)
    from mesocosm.learning.streams import stream_key

    answers = train.answer(trial.config, network, stream_key(1, "eval"))
    table = smoke.table("losses", trial="recall-fixed-q1")
    np.testing.assert_allclose(answers.losses.mean(), table.filter(table["seed"] == 1)["loss"][0], rtol=1e-5)
    decided = train.succeeds(trial.config.problem, np.argmax(answers.probabilities, axis=-1), answers.inputs)
    single = smoke.table("answers", trial="recall-fixed-q1", decision="single")
    assert decided.mean() == pytest.approx(single.filter(single["seed"] == 1)["average"][0])
