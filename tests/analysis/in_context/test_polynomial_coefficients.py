"""Coefficients of attention, of gated RNNs and of any model: closed forms, automatic differentiation and least squares agree."""

from functools import cache

import equinox as eqx
import jax
import numpy as np
import pytest

from mesocosm.analysis.in_context.polynomial_coefficients import (
    attention_coefficients,
    bilinear_forms,
    compare,
    derivative_coefficients,
    fitted_coefficients,
    gated_coefficients,
)
from mesocosm.nn import LSTM, GatedLinearRNN, GatedLinearUnit, LinearAttention, MesaAttention, compact_construction, full_construction, lstm_limit


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@cache
def attention(dim=3, heads=1):
    return jax.jit(lambda key: LinearAttention.create(dim, heads=heads, key_dim=dim, std=0.5, key=key))(jax.random.key(0))


@eqx.filter_jit
def random_rnn(**more):
    return GatedLinearRNN.create(3, out_dim=2, state_dim=6, products=5, key=jax.random.key(1), **more)


by_hand = jax.jit(attention_coefficients)


@pytest.mark.parametrize("heads", [1, 2])
def test_of_attention_by_hand_and_by_autodiff(heads):
    layer = attention(heads=heads)
    wanted = np.asarray(attention_coefficients(layer))  # exactly symmetric only if no compiler rearranges it
    assert np.abs(wanted - np.swapaxes(wanted, 1, 2)).max() == 0
    for found in jax.jit(lambda layer: [derivative_coefficients(layer, 3, time=4, source=source) for source in (1, 3)])(layer):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)
    x = np.random.default_rng(2).standard_normal((5, 3))
    past, now = x[:-1], x[-1]
    crossed = np.einsum("cijk,si,sj,k->c", wanted, past, past, now)
    difference = jax.jit(lambda layer, x: layer(x)[-1] - layer(x[-1:])[-1])(layer, x)
    np.testing.assert_allclose(difference, crossed, rtol=1e-10)


@pytest.mark.parametrize("construction", [full_construction, compact_construction])
def test_of_a_construction_are_those_of_its_attention(construction):
    for found in jax.jit(lambda layer: [gated_coefficients(construction(layer), lag) for lag in (1, 7)])(attention()):
        np.testing.assert_allclose(found, by_hand(attention()), rtol=1e-10, atol=1e-12)


@pytest.mark.whole
def test_of_any_bilinear_rnn_by_autodiff():
    """Neurons with affine parts, decays between 0 and 1: the closed form is that of the whole family."""

    @jax.jit
    def both_ways(rnn):
        return [(gated_coefficients(rnn, lag), derivative_coefficients(rnn, 3, time=4, source=4 - lag)) for lag in (1, 2)]

    for found, wanted in both_ways(random_rnn()):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)
        assert np.abs(wanted).max() > 1e-3


@pytest.mark.whole
def test_of_a_layer_with_a_backward_pass_of_its_own():
    """The mesa layer is linear attention times its strength lambda to lowest order."""
    layer = attention(heads=2)
    mesa = MesaAttention(layer.query, layer.key, layer.value, layer.output, raw_strength=None, fixed_strength=0.5)
    found = jax.jit(lambda: derivative_coefficients(mesa, 3, time=3, source=1))()
    np.testing.assert_allclose(found, 0.5 * by_hand(layer), rtol=1e-9, atol=1e-10)


def test_forms_are_the_output():
    x = np.random.default_rng(3).standard_normal((4, 3))
    forms, states, outputs = jax.jit(lambda rnn, x: (bilinear_forms(rnn), rnn.states(x), rnn(x)))(random_rnn(), x)
    np.testing.assert_allclose(np.einsum("cab,ta,tb->tc", forms, states, states), outputs, rtol=1e-10, atol=1e-12)


def test_by_least_squares_on_samples():
    layer, tokens = attention(), np.random.default_rng(4).standard_normal((400, 6, 3))
    fit = jax.jit(fitted_coefficients)
    fitted = fit(jax.jit(jax.vmap(lambda x: layer(x)[-1]))(tokens), tokens)
    np.testing.assert_allclose(fitted.coefficients, by_hand(layer), rtol=1e-8, atol=1e-9)
    assert fitted.explained > 1 - 1e-12
    assert fit(np.sum(tokens, axis=1), tokens).explained < 0.8  # a linear function of the tokens is not of this form


@pytest.mark.whole
def test_of_a_black_box():
    """An LSTM near the limit in which it is attention has attention's coefficients; one with random weights has not."""

    @jax.jit
    def agreements(layer, key):
        limit, untrained = lstm_limit(layer, 1e-2), LSTM.create(2, state_dim=6, key=key)
        return [compare(derivative_coefficients(model, 2, time=4, source=2), attention_coefficients(layer)) for model in (limit, untrained)]

    near, untrained = agreements(attention(2), jax.random.key(5))
    assert near.relative_error < 1e-2
    assert abs(untrained.cosine) < 0.9


def test_comparison():
    wanted = np.asarray(by_hand(attention()))
    agreement = jax.jit(compare)
    same, double, opposite, zero = (agreement(scale * wanted, wanted) for scale in (1, 2, -1, 0))
    np.testing.assert_allclose([same.relative_error, double.relative_error, opposite.relative_error], [0, 1, 2], atol=1e-12)
    np.testing.assert_allclose([same.cosine, double.cosine, opposite.cosine], [1, 1, -1], rtol=1e-12)
    assert zero.cosine == 0


def test_what_has_no_closed_form_is_refused():
    closed_form = jax.jit(gated_coefficients, static_argnums=1)
    with pytest.raises(TypeError, match="use `derivative_coefficients`"):
        closed_form(random_rnn(output_gate=GatedLinearUnit), 1)
    with pytest.raises(ValueError, match="lag must be 1 or more"):
        closed_form(random_rnn(), 0)
    with pytest.raises(ValueError, match="from 1 to 3"):
        derivative_coefficients(random_rnn(), 3, time=4, source=4)
