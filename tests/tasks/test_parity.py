"""Parity, counted by a loop."""

import jax
import numpy as np
import pytest

from mesocosm.tasks.parity import Parity
from mesocosm.tasks.task import batch


def test_targets_count_the_ones_so_far():
    found = jax.jit(batch, static_argnums=(2, 3))(Parity(7), jax.random.key(0), 100, "train")
    for inputs, targets, weights in zip(*map(np.asarray, found), strict=True):
        assert inputs[0] == 2
        assert set(inputs[1:]) <= {0, 1}
        assert [sum(inputs[1 : t + 1]) % 2 for t in range(8)] == list(targets)
        assert list(weights) == [0] + [1] * 7
    assert abs(np.mean(np.asarray(found.inputs)[:, 1:]) - 0.5) < 0.08


def test_a_sequence_needs_a_bit():
    with pytest.raises(ValueError, match="length = 0"):
        Parity(0)
