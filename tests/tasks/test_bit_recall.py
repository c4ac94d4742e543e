"""The sequences of bit recall, its balanced evaluation set, and its loss at chance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.tasks.bit_recall import BitRecall, bit_loss
from mesocosm.tasks.task import batch

TASK = BitRecall(6, 3)


def test_a_sequence_shows_every_pair_and_asks_for_one():
    examples = batch(TASK, jax.random.key(0), 50)
    assert examples.tokens.shape == (50, 7, 9)
    for tokens, target, query in zip(*map(np.asarray, examples), strict=True):
        np.testing.assert_array_equal(tokens[:6, :6], np.eye(6))
        np.testing.assert_array_equal(tokens[6], np.concatenate([np.eye(6)[query], np.zeros(3)]))
        np.testing.assert_array_equal(target, tokens[query, 6:])
    assert set(np.unique(examples.target)) == {0.0, 1.0}
    assert set(np.asarray(examples.query)) == set(range(6))
    with pytest.raises(ValueError, match="ood"):
        TASK.sample(jax.random.key(0), "ood")


@pytest.mark.whole
def test_the_balanced_set_has_each_query_with_each_target():
    examples = TASK.balanced(jax.random.key(1), 4)
    pairs, counts = np.unique(np.column_stack([examples.query, examples.target @ np.array([4, 2, 1])]), axis=0, return_counts=True)
    assert len(pairs) == 6 * 8
    assert (counts == 4).all()
    words = np.asarray(examples.tokens[:, :6, 6:])
    np.testing.assert_array_equal(words[np.arange(len(words)), examples.query], examples.target)
    assert words.mean() == pytest.approx(0.5, abs=0.05)


def test_the_loss_of_a_guess_is_ln_2_and_that_of_certainty_0():
    target = jnp.array([1.0, 0.0, 1.0])
    assert bit_loss(jnp.zeros(3), target) == pytest.approx(np.log(2))
    for size in (20.0, 50.0, np.inf):
        assert bit_loss(size * (2 * target - 1), target) == pytest.approx(np.exp(-size), rel=1e-5)
    logits = np.random.default_rng(0).normal(size=3)
    p = 1 / (1 + np.exp(-logits))
    assert bit_loss(jnp.asarray(logits), target) == pytest.approx(-np.mean(np.where(target == 1, np.log(p), np.log(1 - p))), rel=1e-5)
