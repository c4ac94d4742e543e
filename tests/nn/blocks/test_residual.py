import equinox as eqx
import jax
import numpy as np
import pytest

from mesocosm.nn import LinearAttention, MesaAttention, ResidualStack
from nn.dense_reference import relative_error

DIM = 8


@eqx.filter_jit
def _layers():
    sizes = {"heads": 2, "key_dim": 4, "std": 0.4}
    return LinearAttention.create(DIM, **sizes, key=jax.random.key(0)), MesaAttention.create(DIM, **sizes, key=jax.random.key(1))


def _tokens():
    return np.random.default_rng(2).standard_normal((15, DIM), np.float32)


@pytest.mark.whole
def test_activations_are_the_running_sum():
    layers, x = _layers(), _tokens()
    stack = ResidualStack(layers)
    first = x + np.asarray(eqx.filter_jit(layers[0])(x))
    activations = np.asarray(eqx.filter_jit(stack.activations)(x))
    np.testing.assert_allclose(activations, np.stack([x, first, first + eqx.filter_jit(layers[1])(first)]), atol=1e-5)
    np.testing.assert_allclose(eqx.filter_jit(stack)(x), activations[-1], atol=1e-5)
    assert relative_error(activations[1], x) > 0.1


def test_the_stream_is_clipped_after_each_layer():
    activations = np.abs(eqx.filter_jit(ResidualStack(_layers(), clip=0.5).activations)(_tokens()))
    assert activations[0].max() > 0.5
    assert activations[1:].max() == 0.5


def test_hidden_channels_do_not_reach_the_layers():
    stack = eqx.filter_jit(ResidualStack(_layers(), visible=(False, False) + (True,) * 6))
    x = _tokens()
    hidden = np.arange(DIM) < 2
    assert np.array_equal(stack(x), stack(np.where(hidden, x + 3, x)))
    assert not np.array_equal(stack(x), stack(np.where(hidden, x, x + 3)))
    with pytest.raises(ValueError, match="8 channels, the tokens have 6"):
        stack(x[:, :6])


def test_stepping_is_the_parallel_form():
    stack, x = ResidualStack(_layers(), clip=1.0, visible=(True,) * 7 + (False,)), _tokens()
    _, y = eqx.filter_jit(lambda stack, x: jax.lax.scan(lambda *at: stack.step(*at), stack.init_state(), x))(stack, x)
    assert relative_error(y, eqx.filter_jit(stack)(x)) < 1e-5
