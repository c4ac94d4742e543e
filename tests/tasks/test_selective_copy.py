"""Selective copying: the symbols in their order, at uniform places."""

from itertools import combinations

import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from mesocosm.tasks.selective_copy import SelectiveCopy
from mesocosm.tasks.task import batch


def draw(task, size):
    return [np.asarray(field) for field in jax.jit(batch, static_argnums=2)(task, jax.random.key(0), size)]


@pytest.mark.parametrize(("vocabulary", "symbols", "length"), [(7, 3, 12), (4, 1, 2), (16, 5, 10), (16, 8, 64)])
def test_what_is_not_blank_is_copied_in_order(vocabulary, symbols, length):
    blank, marker = 0, vocabulary - 1
    for inputs, targets, weights in zip(*draw(SelectiveCopy(vocabulary, symbols, length), 200), strict=True):
        seen = [int(token) for token in inputs[: length - symbols] if token != blank]
        assert len(seen) == symbols
        assert marker not in seen
        assert (inputs[length - symbols :] == marker).all()
        assert targets[weights == 1].tolist() == seen
        assert weights.tolist() == [0] * (length - symbols) + [1] * symbols


def test_symbols_and_their_places_are_uniform():
    inputs, targets, _ = draw(SelectiveCopy(vocabulary=6, symbols=2, length=7), 6000)
    places = list(combinations(range(5), 2))
    counts = [((inputs[:, first] > 0) & (inputs[:, second] > 0)).sum() for first, second in places]
    assert sum(counts) == 6000
    assert chisquare(counts).pvalue > 1e-3
    pairs = np.bincount(4 * (targets[:, 5] - 1) + targets[:, 6] - 1, minlength=16)
    assert len(pairs) == 16
    assert chisquare(pairs).pvalue > 1e-3


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"symbols": 0}, "at least 1 symbol, but symbols = 0"),
        ({"vocabulary": 3}, "vocabulary of at least 4, but vocabulary = 3"),
        ({"length": 15}, "8 symbols and their markers need a length of at least 16, but length = 15"),
    ],
)
def test_impossible_sizes_are_named(sizes, told):
    with pytest.raises(ValueError, match=told):
        SelectiveCopy(**sizes)
    SelectiveCopy(vocabulary=4, length=16)
