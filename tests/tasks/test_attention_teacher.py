"""The linear-attention teacher: its answers, its scale, and the closed form of its power."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.tasks.attention_teacher import LinearAttentionTeacher, answer_power
from mesocosm.tasks.task import batch


def test_answers_are_those_of_the_layer():
    teacher = LinearAttentionTeacher.draw(jax.random.key(0), 3)
    drawn = batch(teacher, jax.random.key(1), 5)
    assert drawn.tokens.shape == (5, 16, 3)
    np.testing.assert_allclose(drawn.targets, jax.vmap(teacher.attention)(drawn.tokens), rtol=1e-4, atol=1e-5)


def test_a_forgetful_teacher_follows_its_recurrence():
    with jax.enable_x64(True):
        teacher = LinearAttentionTeacher.draw(jax.random.key(0), 3, length=9, memory=0.7)
        drawn, layer = teacher.sample(jax.random.key(1)), teacher.attention
        state, wanted = np.zeros((3, 3)), []
        for x in np.asarray(drawn.tokens):
            state = 0.7 * state + np.outer(layer.value[0] @ x, layer.key[0] @ x)
            wanted.append(state @ (layer.query[0] @ x))
        np.testing.assert_allclose(drawn.targets, np.stack(wanted), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rank", [None, 1, 2])
def test_answers_have_variance_one(rank):
    """The closed form against 200,000 sequences: an independent estimate, three standard errors wide."""
    with jax.enable_x64(True):
        teacher = LinearAttentionTeacher.draw(jax.random.key(2), 3, rank=rank, length=6)
        np.testing.assert_allclose(answer_power(teacher.attention, 6), 3.0, rtol=1e-10)
        squares = jnp.sum(batch(teacher, jax.random.key(3), 200_000).targets ** 2, axis=(1, 2)) / 6
        assert abs(squares.mean() - 3.0) < 3 * squares.std() / 200_000**0.5
        assert np.linalg.matrix_rank(teacher.attention.output[0] @ teacher.attention.value[0]) == (rank or 3)


def test_splits():
    teacher = LinearAttentionTeacher.draw(jax.random.key(0), 3)
    train, iid, ood = (teacher.sample(jax.random.key(1), split) for split in ("train", "iid", "ood"))
    np.testing.assert_array_equal(train.tokens, iid.tokens)
    np.testing.assert_allclose(ood.tokens, 3 * train.tokens)
    np.testing.assert_allclose(ood.targets, 27 * train.targets, rtol=1e-4, atol=1e-4)
