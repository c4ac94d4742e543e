"""Associative recall with one query or several, read by loops that know only the definition (I18)."""

import jax
import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from mesocosm.tasks.recall import AssociativeRecall
from mesocosm.tasks.task import batch


def draw(task, size, seed=0, split="train"):
    return [np.asarray(field) for field in jax.jit(batch, static_argnums=(2, 3))(task, jax.random.key(seed), size, split)]


@pytest.mark.parametrize(("pairs", "queries"), [(20, 1), (5, 5), (1, 1), (8, 3)])
def test_each_key_occurs_once_and_the_target_is_its_value(pairs, queries):
    for inputs, targets, weights in zip(*draw(AssociativeRecall(pairs, queries), 100, split="iid"), strict=True):
        assert inputs.shape == (2 * pairs + queries,)
        bound = {int(inputs[place]): int(inputs[place + 1]) for place in range(0, 2 * pairs, 2)}
        assert sorted(bound) == list(range(pairs))
        assert all(pairs <= value < 2 * pairs for value in bound.values())
        asked = inputs[2 * pairs :].tolist()
        assert len(set(asked)) == queries
        assert targets[2 * pairs :].tolist() == [bound[key] for key in asked]
        np.testing.assert_array_equal(weights, [0] * (2 * pairs) + [1] * queries)


def test_one_label_in_twenty_is_random_in_training_only():
    """A random label is right once in N times."""
    task = AssociativeRecall(pairs=4, queries=1)
    noisy, clean = (draw(task, 20000, split=split) for split in ("train", "iid"))
    np.testing.assert_array_equal(noisy[0], clean[0])
    wrong = int((noisy[1] != clean[1]).sum())
    assert binomtest(wrong, 20000, 0.05 * 3 / 4).pvalue > 1e-3
    labels = noisy[1][:, -1][(noisy[1] != clean[1]).any(axis=1)] - 4
    assert chisquare(np.bincount(labels, minlength=4)).pvalue > 1e-3


def test_queries_values_and_order_are_uniform():
    inputs, _, _ = draw(AssociativeRecall(pairs=4, queries=1), 8000)
    counts = np.zeros((4, 4, 4))
    np.add.at(counts, (inputs[:, 0], inputs[:, 1] - 4, inputs[:, -1]), 1)
    assert chisquare(counts.ravel()).pvalue > 1e-3


def test_impossible_numbers_of_queries_are_named():
    for queries in (0, 4):
        with pytest.raises(ValueError, match=f"3 pairs can be asked for by 1 to 3 different queries, not {queries}"):
            AssociativeRecall(3, queries)
    with pytest.raises(ValueError, match="no split ood"):
        AssociativeRecall().sample(jax.random.key(0), "ood")
