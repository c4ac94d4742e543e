"""Influence, pruning, snapping and blocks of a gated RNN whose structure is known: a construction hidden by idle neurons and by the invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.gated_structure import block_energies, neuron_influence, prune, silence, snap, state_sizes
from mesocosm.analysis.polynomial_coefficients import gated_coefficients
from mesocosm.nn import BilinearGate, FreeDecay, GatedLinearRNN, LinearAttention, SigmoidDecay, compact_construction


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def attention():
    return LinearAttention.create(3, heads=1, key_dim=3, std=0.5, key=jax.random.key(0))


def hidden_construction(leak=0.0):
    """The compact construction among two idle neurons that are scarcely read, permuted, rescaled, its memories leaking a little."""
    rnn = compact_construction(attention())
    idle = 0.3 * jax.random.normal(jax.random.key(1), (2, 2, 4))
    order, scale = np.random.default_rng(0).permutation(11), jnp.linspace(0.2, 3.0, 11)
    left, right = (jnp.concatenate([w, i])[order] for w, i in zip((rnn.input.left, rnn.input.right), idle, strict=True))
    reads = [jnp.concatenate([w, jnp.zeros((9, 2))], axis=1)[:, order] for w in (rnn.output.left, rnn.output.right)]
    decay = jnp.concatenate([rnn.decay() * (1 - leak), jnp.asarray([0.4, 0.6])])[order]
    hidden = GatedLinearRNN(BilinearGate(scale[:, None] * left, right), FreeDecay(decay), BilinearGate(reads[1] / scale, reads[0] / scale), rnn.readout)
    return hidden, order >= 9


def tokens():
    return jax.random.normal(jax.random.key(2), (64, 8, 3))


def loss(rnn):
    return jnp.mean((jax.vmap(rnn)(tokens()) - jax.vmap(attention())(tokens())) ** 2)


def test_the_idle_neurons_and_no_others_are_pruned():
    rnn, idle = hidden_construction()
    influence = neuron_influence(loss, rnn)
    assert np.abs(influence[idle]).max() < 1e-20
    assert influence[~idle].min() > 1e-4
    pruned, keep = prune(rnn, influence, 1e-6)
    np.testing.assert_array_equal(keep, ~idle)
    assert loss(pruned) < 1e-20
    assert loss(silence(rnn, jnp.asarray(idle))) > 1e-2


def test_influence_is_the_loss_without_the_neuron():
    rnn, _ = hidden_construction(leak=0.1)
    keep = jnp.ones(11).at[4].set(0.0)
    states = jax.vmap(rnn.states)(tokens()) * keep
    by_hand = jnp.mean((jax.vmap(rnn.read)(states, tokens()) - jax.vmap(attention())(tokens())) ** 2) - loss(rnn)
    np.testing.assert_allclose(neuron_influence(loss, rnn)[4], by_hand, rtol=1e-9)


def test_snapping_mends_what_leaks():
    leaking, _ = hidden_construction(leak=0.02)
    assert loss(leaking) > 1e-4
    assert loss(snap(leaking)) < 1e-20
    assert set(np.asarray(snap(leaking).decay())) == {0.0, 1.0}
    trained = GatedLinearRNN.create(3, neurons=4, key=jax.random.key(3), decay=SigmoidDecay.create)
    np.testing.assert_array_equal(snap(trained).decay(), trained.decay() > 0.5)


def test_all_energy_stands_between_memory_and_query():
    rnn, _ = hidden_construction()
    blocks = block_energies(rnn, state_sizes(rnn, tokens()))
    np.testing.assert_allclose(blocks, [0, 1, 0], atol=1e-12)
    other = GatedLinearRNN.create(3, neurons=8, key=jax.random.key(3))
    fractions = block_energies(other, state_sizes(other, tokens()))
    np.testing.assert_allclose(sum(fractions), 1.0)
    assert fractions.memory_query < 0.9


def test_energies_do_not_depend_on_scales_or_order_but_raw_weights_do():
    rnn = GatedLinearRNN.create(3, neurons=8, key=jax.random.key(3))
    order, scale = np.array([3, 1, 0, 2, 7, 6, 5, 4]), jnp.linspace(0.1, 4.0, 8)
    assert isinstance(rnn.input, BilinearGate)
    assert isinstance(rnn.output, BilinearGate)
    other = GatedLinearRNN(
        BilinearGate((scale[:, None] * rnn.input.left)[order], rnn.input.right[order]),
        FreeDecay(rnn.decay()[order]),
        BilinearGate((rnn.output.right / scale)[:, order], (rnn.output.left / scale)[:, order]),
        rnn.readout,
    )
    energies = [block_energies(layer, state_sizes(layer, tokens())) for layer in (rnn, other)]
    np.testing.assert_allclose(energies[0], energies[1], rtol=1e-10)
    np.testing.assert_allclose(gated_coefficients(rnn, 2), gated_coefficients(other, 2), rtol=1e-9, atol=1e-12)
    unscaled = [block_energies(layer, jnp.ones(8)) for layer in (rnn, other)]
    assert not np.allclose(unscaled[0], unscaled[1], rtol=1e-2)
