"""Influence, pruning, snapping and blocks of a gated RNN whose structure is known: a construction hidden by idle neurons and by the invariances."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.in_context.gated_structure import (
    block_energies,
    keep_products,
    memory_with_query,
    neuron_influence,
    prune,
    silence,
    snap,
    state_sizes,
)
from mesocosm.analysis.in_context.polynomial_coefficients import bilinear_forms, gated_coefficients
from mesocosm.nn import BilinearGate, FreeDecay, GatedLinearRNN, LinearAttention, compact_construction


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@cache
def attention():
    return jax.jit(lambda key: LinearAttention.create(3, heads=1, key_dim=3, std=0.5, key=key))(jax.random.key(0))


@cache
def hidden_construction(leak=0.0):
    """The compact construction among two idle neurons that are scarcely read, permuted, rescaled, its memories leaking a little."""
    rnn = jax.tree.map(np.asarray, jax.jit(compact_construction)(attention()))
    random = np.random.default_rng(0)
    idle, order, scale = 0.3 * random.standard_normal((2, 2, 4)), random.permutation(11), np.linspace(0.2, 3.0, 11)
    left, right = (np.concatenate([w, i])[order] for w, i in zip((rnn.input.left, rnn.input.right), idle, strict=True))
    reads = [np.concatenate([w, np.zeros((9, 2))], axis=1)[:, order] for w in (rnn.output.left, rnn.output.right)]
    decay = np.concatenate([rnn.decay.value * (1 - leak), [0.4, 0.6]])[order]
    weights = (scale[:, None] * left, right, decay, reads[1] / scale, reads[0] / scale, rnn.readout)
    a, b, decay, c, d, readout = map(jnp.asarray, weights)
    return GatedLinearRNN(BilinearGate(a, b), FreeDecay(decay), BilinearGate(c, d), readout), order >= 9


TOKENS = np.random.default_rng(2).standard_normal((64, 8, 3))


def loss(rnn):
    return jnp.mean((jax.vmap(rnn)(jnp.asarray(TOKENS)) - jax.vmap(attention())(jnp.asarray(TOKENS))) ** 2)


loss_of = jax.jit(loss)
influences = jax.jit(partial(neuron_influence, loss))
energies = jax.jit(lambda rnn, tokens: block_energies(rnn, state_sizes(rnn, tokens)))


@cache
def random_rnn():
    return jax.jit(lambda key: GatedLinearRNN.create(3, state_dim=8, key=key))(jax.random.key(3))


def test_the_idle_neurons_and_no_others_are_pruned():
    rnn, idle = hidden_construction()
    influence = np.asarray(influences(rnn))
    assert np.abs(influence[idle]).max() < 1e-20
    assert influence[~idle].min() > 1e-4
    pruned, keep = jax.jit(prune)(rnn, influence, 1e-6)
    np.testing.assert_array_equal(keep, ~idle)
    assert loss_of(pruned) < 1e-20
    assert loss_of(jax.jit(silence)(rnn, idle)) > 1e-2


def test_influence_is_the_loss_without_the_neuron():
    rnn, _ = hidden_construction(leak=0.1)

    @jax.jit
    def without(rnn, keep, tokens):
        states = jax.vmap(rnn.states)(tokens) * keep
        return jnp.mean((jax.vmap(rnn.read)(states, tokens) - jax.vmap(attention())(tokens)) ** 2)

    by_hand = without(rnn, 1.0 * (np.arange(11) != 4), TOKENS) - loss_of(rnn)
    np.testing.assert_allclose(np.asarray(influences(rnn))[4], by_hand, rtol=1e-9)


def test_snapping_mends_what_leaks():
    leaking, _ = hidden_construction(leak=0.02)
    snapped = jax.jit(snap)(leaking)
    assert loss_of(leaking) > 1e-4
    assert loss_of(snapped) < 1e-20
    assert set(np.asarray(snapped.decay())) == {0.0, 1.0}
    trained = random_rnn()
    decays, snapped = jax.jit(lambda rnn: (rnn.decay(), snap(rnn).decay()))(trained)
    np.testing.assert_array_equal(snapped, np.asarray(decays) > 0.5)


def test_a_construction_needs_its_products_of_a_memory_and_a_query_and_no_others():
    rnn, _ = hidden_construction()
    pairs = np.asarray(memory_with_query(rnn.decay()))
    kept = jax.jit(lambda rnn, pairs: loss(keep_products(rnn, pairs)))
    assert kept(rnn, pairs) < 1e-20
    assert kept(rnn, ~pairs) > 1e-2
    assert kept(rnn, np.roll(pairs, 1, axis=(0, 1))) > 1e-2
    np.testing.assert_array_equal(memory_with_query(jnp.array([0.99, 0.4, 0.0])), [[False, True, True], [True, False, False], [True, False, False]])


def test_kept_products_are_those_entries_of_the_forms():
    random = np.random.default_rng(6)
    pairs = random.random((8, 8)) < 0.5
    pairs |= pairs.T
    found, wanted = jax.jit(lambda rnn, pairs: (bilinear_forms(keep_products(rnn, pairs)), bilinear_forms(rnn)))(random_rnn(), pairs)
    np.testing.assert_allclose(found, wanted * pairs, rtol=1e-10, atol=1e-12)


def test_all_energy_stands_between_memory_and_query():
    rnn, _ = hidden_construction()
    np.testing.assert_allclose(energies(rnn, TOKENS), [0, 1, 0], atol=1e-12)
    fractions = energies(random_rnn(), TOKENS)
    np.testing.assert_allclose(np.sum(fractions), 1.0)
    assert fractions.memory_query < 0.9


def test_energies_do_not_depend_on_scales_or_order_but_raw_weights_do():
    rnn = random_rnn()
    order, scale = np.array([3, 1, 0, 2, 7, 6, 5, 4]), np.linspace(0.1, 4.0, 8)
    assert isinstance(rnn.input, BilinearGate)
    assert isinstance(rnn.output, BilinearGate)

    @jax.jit
    def transformed(rnn):
        return GatedLinearRNN(
            BilinearGate((scale[:, None] * rnn.input.left)[order], rnn.input.right[order]),
            FreeDecay(rnn.decay()[order]),
            BilinearGate((rnn.output.right / scale)[:, order], (rnn.output.left / scale)[:, order]),
            rnn.readout,
        )

    @jax.jit
    def closed_form_and_unscaled(rnn, sizes):
        return gated_coefficients(rnn, 2), block_energies(rnn, sizes)

    other = transformed(rnn)
    np.testing.assert_allclose(energies(rnn, TOKENS), energies(other, TOKENS), rtol=1e-10)
    found = closed_form_and_unscaled(other, np.ones(8))
    wanted, unscaled = closed_form_and_unscaled(rnn, np.ones(8))
    np.testing.assert_allclose(wanted, found[0], rtol=1e-9, atol=1e-12)
    assert not np.allclose(unscaled, found[1], rtol=1e-2)
