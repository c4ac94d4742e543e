"""Induction: the target is the token that followed the earlier occurrence."""

import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from mesocosm.tasks.induction import Induction, RepeatedSequence
from mesocosm.tasks.task import batch


def draw(task, size):
    return [np.asarray(field) for field in jax.jit(batch, static_argnums=2)(task, jax.random.key(0), size)]


@pytest.mark.parametrize(("vocabulary", "length"), [(5, 9), (3, 3), (16, 64)])
def test_the_target_is_the_token_after_the_trigger(vocabulary, length):
    for inputs, targets, weights in zip(*draw(Induction(vocabulary, length), 200), strict=True):
        first, last = [place for place in range(length) if inputs[place] == vocabulary - 1]
        assert last == length - 1
        assert targets[last] == inputs[first + 1] != vocabulary - 1
        assert weights.tolist() == [0] * last + [1]


def test_the_place_of_the_trigger_and_the_other_tokens_are_uniform():
    inputs, targets, _ = draw(Induction(vocabulary=5, length=8), 6000)
    places = (inputs == 4).argmax(1)
    counts = np.zeros((6, 4))
    np.add.at(counts, (places, targets[:, -1]), 1)
    assert chisquare(counts.ravel()).pvalue > 1e-3
    assert chisquare(np.bincount(inputs[:, 1][places > 1], minlength=4)).pvalue > 1e-3


@pytest.mark.parametrize(("vocabulary", "length"), [(10, 12), (6, 12), (2, 4), (64, 64)])
def test_each_target_followed_the_same_token_before(vocabulary, length):
    for inputs, targets, weights in zip(*draw(RepeatedSequence(vocabulary, length), 200), strict=True):
        assert weights.tolist() == [0] * (length // 2) + [1] * (length // 2)
        for place in range(length // 2, length):
            (before,) = [earlier for earlier in range(place) if inputs[earlier] == inputs[place]]
            assert targets[place] == inputs[before + 1]
            assert place == length - 1 or targets[place] == inputs[place + 1]


def test_repeated_tokens_are_uniform():
    inputs, _, _ = draw(RepeatedSequence(vocabulary=5, length=6), 6000)
    for place in range(3):
        assert chisquare(np.bincount(inputs[:, place], minlength=5)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("task", "sizes", "told"),
    [
        (Induction, {"vocabulary": 2}, "vocabulary of at least 3, but vocabulary = 2"),
        (Induction, {"length": 2}, "length of at least 3, but length = 2"),
        (RepeatedSequence, {"length": 7}, "even length of at least 4, but length = 7"),
        (RepeatedSequence, {"length": 2}, "even length of at least 4, but length = 2"),
        (RepeatedSequence, {"vocabulary": 31}, "32 distinct tokens need a vocabulary of at least 32, but vocabulary = 31"),
    ],
)
def test_impossible_sizes_are_named(task, sizes, told):
    with pytest.raises(ValueError, match=told):
        task(**sizes)
