"""Coefficients of attention, of gated RNNs and of any model: closed forms, automatic differentiation and least squares agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.polynomial_coefficients import (
    attention_coefficients,
    bilinear_forms,
    compare,
    derivative_coefficients,
    fitted_coefficients,
    gated_coefficients,
)
from mesocosm.nn import LSTM, GatedLinearRNN, GatedLinearUnit, LinearAttention, compact_construction, full_construction, lstm_limit


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def attention(dim=3, heads=1):
    return LinearAttention.create(dim, heads=heads, key_dim=dim, std=0.5, key=jax.random.key(0))


def random_rnn(**more):
    return GatedLinearRNN.create(3, out_dim=2, neurons=6, products=5, key=jax.random.key(1), **more)


@pytest.mark.parametrize("heads", [1, 2])
def test_of_attention_by_hand_and_by_autodiff(heads):
    layer = attention(heads=heads)
    wanted = attention_coefficients(layer)
    assert np.abs(wanted - np.swapaxes(wanted, 1, 2)).max() == 0
    for source in (1, 3):
        np.testing.assert_allclose(derivative_coefficients(layer, 3, time=4, source=source), wanted, rtol=1e-9, atol=1e-10)
    x = np.asarray(jax.random.normal(jax.random.key(2), (5, 3)))
    past, now = x[:-1], x[-1]
    crossed = np.einsum("cijk,si,sj,k->c", wanted, past, past, now)
    np.testing.assert_allclose(layer(jnp.asarray(x))[-1] - layer(jnp.asarray(x[-1:]))[-1], crossed, rtol=1e-10)


@pytest.mark.parametrize("construction", [full_construction, compact_construction])
def test_of_a_construction_are_those_of_its_attention(construction):
    for lag in (1, 7):
        np.testing.assert_allclose(gated_coefficients(construction(attention()), lag), attention_coefficients(attention()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("lag", [1, 2])
def test_of_any_bilinear_rnn_by_autodiff(lag):
    """Neurons with affine parts, decays between 0 and 1: the closed form is that of the whole family."""
    rnn = random_rnn()
    found = derivative_coefficients(rnn, 3, time=4, source=4 - lag)
    np.testing.assert_allclose(gated_coefficients(rnn, lag), found, rtol=1e-9, atol=1e-10)
    assert np.abs(found).max() > 1e-3


def test_forms_are_the_output():
    rnn = random_rnn()
    x = jax.random.normal(jax.random.key(3), (4, 3))
    states = rnn.states(x)
    np.testing.assert_allclose(np.einsum("cab,ta,tb->tc", bilinear_forms(rnn), states, states), rnn(x), rtol=1e-10, atol=1e-12)


def test_by_least_squares_on_samples():
    layer = attention()
    tokens = jax.random.normal(jax.random.key(4), (400, 6, 3))
    fitted = fitted_coefficients(jax.vmap(layer)(tokens)[:, -1], tokens)
    np.testing.assert_allclose(fitted.coefficients, attention_coefficients(layer), rtol=1e-8, atol=1e-9)
    assert fitted.explained > 1 - 1e-12
    other = fitted_coefficients(jnp.sum(tokens, axis=1), tokens)
    assert other.explained < 0.8  # a linear function of the tokens is not of this form


def test_of_a_black_box():
    """An LSTM near the limit in which it is attention has attention's coefficients; one with random weights has not."""
    layer = attention(2)
    found = derivative_coefficients(lstm_limit(layer, 1e-2), 2, time=4, source=2)
    assert compare(found, attention_coefficients(layer)).relative_error < 1e-2
    untrained = derivative_coefficients(LSTM.create(2, hidden=6, key=jax.random.key(5)), 2, time=4, source=2)
    assert abs(compare(untrained, attention_coefficients(layer)).cosine) < 0.9


def test_comparison():
    wanted = attention_coefficients(attention())
    same, double, opposite = compare(wanted, wanted), compare(2 * wanted, wanted), compare(-wanted, wanted)
    np.testing.assert_allclose([same.relative_error, double.relative_error, opposite.relative_error], [0, 1, 2], atol=1e-12)
    np.testing.assert_allclose([same.cosine, double.cosine, opposite.cosine], [1, 1, -1], rtol=1e-12)
    assert compare(0 * wanted, wanted).cosine == 0


def test_what_has_no_closed_form_is_refused():
    with pytest.raises(TypeError, match="use `derivative_coefficients`"):
        gated_coefficients(random_rnn(output_gate=GatedLinearUnit), 1)
    with pytest.raises(ValueError, match="lag is 1 or more"):
        gated_coefficients(random_rnn(), 0)
    with pytest.raises(ValueError, match="from 1 to 3"):
        derivative_coefficients(random_rnn(), 3, time=4, source=4)
