import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import LinearAttention, MesaAttention, ResidualStack
from nn.dense_reference import relative_error

DIM = 8


def _layers():
    sizes = {"heads": 2, "key_dim": 4, "std": 0.4}
    return LinearAttention.create(DIM, **sizes, key=jax.random.key(0)), MesaAttention.create(DIM, **sizes, key=jax.random.key(1))


def _tokens():
    return jax.random.normal(jax.random.key(2), (15, DIM))


def test_activations_are_the_running_sum():
    layers, x = _layers(), _tokens()
    stack = ResidualStack(layers)
    first = x + eqx.filter_jit(layers[0])(x)
    activations = eqx.filter_jit(stack.activations)(x)
    np.testing.assert_allclose(activations, jnp.stack([x, first, first + eqx.filter_jit(layers[1])(first)]), atol=1e-5)
    np.testing.assert_allclose(eqx.filter_jit(stack)(x), activations[-1], atol=1e-5)
    assert relative_error(activations[1], x) > 0.1


def test_the_stream_is_clipped_after_each_layer():
    activations = eqx.filter_jit(ResidualStack(_layers(), clip=0.5).activations)(_tokens())
    assert jnp.abs(activations[0]).max() > 0.5
    assert jnp.abs(activations[1:]).max() == 0.5


def test_hidden_channels_do_not_reach_the_layers():
    stack = eqx.filter_jit(ResidualStack(_layers(), visible=(False, False) + (True,) * 6))
    x = _tokens()
    assert jnp.array_equal(stack(x), stack(x.at[:, :2].add(3.0)))
    assert not jnp.array_equal(stack(x), stack(x.at[:, 2:].add(3.0)))
    with pytest.raises(ValueError, match="8 channels, the tokens have 6"):
        stack(x[:, :6])


def test_stepping_is_the_parallel_form():
    stack, x = ResidualStack(_layers(), clip=1.0, visible=(True,) * 7 + (False,)), _tokens()
    _, y = jax.lax.scan(lambda state, token: stack.step(state, token), stack.init_state(), x)
    assert relative_error(y, eqx.filter_jit(stack)(x)) < 1e-5
