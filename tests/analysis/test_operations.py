"""Operations are counted as one would by hand, and loops as often as they run."""

import jax
import jax.numpy as jnp
import pytest

from mesocosm.analysis.operations import count_operations
from mesocosm.nn import LSTM, Attention
from mesocosm.numerics.linear_algebra import solve


def matrix(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_a_product_of_matrices_counts_two_for_each_term():
    assert count_operations(lambda a, b: a @ b, matrix(3, 5), matrix(5, 7)) == 2 * 3 * 5 * 7
    assert count_operations(lambda a, b: jnp.einsum("bik,bkj->bij", a, b), matrix(4, 3, 5), matrix(4, 5, 7)) == 4 * 2 * 3 * 5 * 7


def test_elementwise_operations_count_numbers_and_copies_count_nothing():
    assert count_operations(lambda x: jnp.exp(x) + x, matrix(6)) == 12
    assert count_operations(lambda x: x.reshape(3, 2).T[::-1], matrix(6)) == 0
    assert count_operations(jnp.sum, matrix(6, 2)) == 12


def test_a_gradient_of_a_linear_map_costs_twice_the_map_again():
    def loss(weights, x):
        return jnp.vdot(weights @ x, weights @ x)

    forward = count_operations(lambda w, x: w @ x, matrix(8, 8), matrix(8, 16))
    both = count_operations(jax.grad(loss, argnums=(0, 1)), matrix(8, 8), matrix(8, 16))
    assert both >= 4 * forward


@pytest.mark.parametrize("rounds", [1, 10])
def test_a_loop_counts_as_often_as_it_runs(rounds):
    def power(a):
        return jax.lax.fori_loop(0, rounds, lambda _, x: a @ x, a)

    assert count_operations(power, matrix(4, 4)) - rounds * 2 * 4**3 in range(2 * rounds + 1)  # and the counter
    assert count_operations(lambda a: jax.lax.scan(lambda x, _: (a @ x, None), a, length=rounds)[0], matrix(4, 4)) == rounds * 2 * 4**3


def test_programs_inside_count_and_branches_by_the_dearest():
    inner = jax.jit(lambda a: a @ a)
    assert count_operations(lambda a: inner(a), matrix(4, 4)) == 2 * 4**3
    cond = count_operations(lambda a: jax.lax.cond(a[0, 0] > 0, lambda x: x @ x, lambda x: x + x, a), matrix(4, 4))
    assert 2 * 4**3 <= cond <= 2 * 4**3 + 4


def test_attention_grows_with_the_length_and_a_recurrence_does_not():
    def per_token(layer, length):
        return count_operations(lambda x: layer(x), matrix(length, 8)) / length

    attention, lstm = (kind.create(8, key=jax.random.key(0)) for kind in (Attention, LSTM))
    assert per_token(attention, 512) > 3 * per_token(attention, 64)
    assert per_token(lstm, 512) == pytest.approx(per_token(lstm, 64), rel=0.01)
    weights = sum(leaf.size for leaf in jax.tree.leaves(lstm) if leaf.ndim == 2)
    assert per_token(lstm, 64) == pytest.approx(2 * weights, rel=0.2)


def test_a_solve_is_counted():
    assert count_operations(solve, matrix(6, 6), matrix(6)) > 0
