"""The linear-attention teacher: its answers, its scale, and the closed form of its power."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.tasks.attention_teacher import LinearAttentionTeacher, answer_power
from mesocosm.tasks.task import batch

drawn_teacher = eqx.filter_jit(LinearAttentionTeacher.draw)
sample = eqx.filter_jit(LinearAttentionTeacher.sample)


def test_answers_are_those_of_the_layer():
    teacher = drawn_teacher(jax.random.key(0), 3)

    @eqx.filter_jit
    def drawn_and_answered(teacher, key):
        drawn = batch(teacher, key, 5)
        return drawn, jax.vmap(teacher.attention)(drawn.tokens)

    drawn, answers = drawn_and_answered(teacher, jax.random.key(1))
    assert drawn.tokens.shape == (5, 16, 3)
    np.testing.assert_allclose(drawn.targets, answers, rtol=1e-4, atol=1e-5)


def test_a_forgetful_teacher_follows_its_recurrence():
    with jax.enable_x64(True):
        teacher = drawn_teacher(jax.random.key(0), 3, length=9, memory=0.7)
        drawn, layer = sample(teacher, jax.random.key(1)), jax.tree.map(np.asarray, teacher.attention)
        state, wanted = np.zeros((3, 3)), []
        for x in np.asarray(drawn.tokens):
            state = 0.7 * state + np.outer(layer.value[0] @ x, layer.key[0] @ x)
            wanted.append(state @ (layer.query[0] @ x))
        np.testing.assert_allclose(drawn.targets, np.stack(wanted), rtol=1e-10, atol=1e-12)


@eqx.filter_jit
def power_and_squares(teacher, key):
    return answer_power(teacher.attention, 6), jnp.sum(batch(teacher, key, 200_000).targets ** 2, axis=(1, 2)) / 6


@pytest.mark.whole
@pytest.mark.parametrize("rank", [None, 1, 2])
def test_answers_have_variance_one(rank):
    """The closed form against 200,000 sequences: an independent estimate, three standard errors wide."""
    with jax.enable_x64(True):
        teacher = drawn_teacher(jax.random.key(2), 3, rank=rank, length=6)
        power, squares = map(np.asarray, power_and_squares(teacher, jax.random.key(3)))
    np.testing.assert_allclose(power, 3.0, rtol=1e-10)
    assert abs(squares.mean() - 3.0) < 3 * squares.std() / 200_000**0.5
    assert np.linalg.matrix_rank(np.asarray(teacher.attention.output)[0] @ np.asarray(teacher.attention.value)[0]) == (rank or 3)


def test_splits():
    with jax.enable_x64(True):
        teacher = drawn_teacher(jax.random.key(0), 3)
        train, iid, ood = (sample(teacher, jax.random.key(1), split) for split in ("train", "iid", "ood"))
    np.testing.assert_array_equal(train.tokens, iid.tokens)
    np.testing.assert_allclose(ood.tokens, 3 * np.asarray(train.tokens))
    np.testing.assert_allclose(ood.targets, 27 * np.asarray(train.targets), rtol=1e-4, atol=1e-4)
