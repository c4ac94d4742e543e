"""LSTM and GRU against their equations written out, their streaming form, and PyTorch's from the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import GRU, LSTM
from nn.random_weights import with_random_weights


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_by_hand(layer, x):
    w, u, b, n = (np.asarray(p) for p in (layer.input_weight, layer.recurrent_weight, layer.bias, layer.recurrent_weight.shape[1]))
    h, c, out = np.zeros(n), np.zeros(n), []
    for token in np.asarray(x):
        i, f, g, o = (w[k * n : (k + 1) * n] @ token + u[k * n : (k + 1) * n] @ h + b[k * n : (k + 1) * n] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out)


def gru_by_hand(layer, x):
    w, u, b, n = (np.asarray(p) for p in (layer.input_weight, layer.recurrent_weight, layer.bias, layer.recurrent_weight.shape[1]))
    h, out = np.zeros(n), []
    for token in np.asarray(x):
        r, z = (sigmoid(w[k * n : (k + 1) * n] @ token + u[k * n : (k + 1) * n] @ h + b[k * n : (k + 1) * n]) for k in range(2))
        new = np.tanh(w[2 * n :] @ token + b[2 * n :] + r * (u[2 * n :] @ h + np.asarray(layer.recurrent_bias)))
        h = (1 - z) * new + z * h
        out.append(h)
    return np.stack(out)


CASES = [(LSTM, lstm_by_hand), (GRU, gru_by_hand)]


@pytest.mark.parametrize(("kind", "by_hand"), CASES)
def test_the_layer_is_its_equations_and_streams(kind, by_hand):
    with jax.enable_x64(True):
        layer, x = with_random_weights(lambda key: kind.create(3, out_dim=2, state_dim=5, key=key)), np.random.default_rng(2).standard_normal((11, 3))
        wanted = by_hand(layer, x)
        states, outputs, streamed = jax.jit(lambda layer, x: (layer.states(x), layer(x), layer.stream(layer.init_state(), x)[1]))(layer, x)
        np.testing.assert_allclose(states, wanted, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(outputs, wanted @ np.asarray(layer.readout).T, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(streamed, outputs, rtol=1e-11, atol=1e-13)


def _by_a_plain_loop(layer, x):
    return jax.lax.scan(lambda state, token: (after := layer.step(state, token)[0], jax.tree.leaves(after)[0]), layer.init_state(), x)[1]


@pytest.mark.whole
@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_derivatives_are_those_of_a_loop_over_single_steps(kind):
    """The gradient of everything, a derivative along a direction, and the gradient of a gradient's sum; the latter two in forward and in reverse mode."""
    with jax.enable_x64(True):
        layer, x = with_random_weights(lambda key: kind.create(3, state_dim=4, key=key)), jnp.asarray(np.random.default_rng(2).standard_normal((7, 3)))

        def every_kind(states):
            def loss(given):
                return jnp.sum(jnp.sin(states(*given)) * jnp.arange(1.0, 8)[:, None])

            given = layer, x
            moved = jax.tree.map(jnp.cos, given)
            along = jax.jvp(loss, (given,), (moved,))[1]
            twice = jax.grad(lambda given: sum(jnp.sum(jnp.cos(leaf)) for leaf in jax.tree.leaves(jax.grad(loss)(given))))(given)
            return along, jax.grad(loss)(given), jax.jvp(jax.grad(loss), (given,), (moved,))[1], twice

        ours, theirs = (jax.jit(lambda states=states: every_kind(states))() for states in (kind.states, _by_a_plain_loop))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_the_forget_bias_keeps_the_cell():
    @jax.jit
    def after_a_step(key):
        kept = LSTM.create(2, state_dim=3, forget_bias=30.0, key=key)
        return kept.step(kept.init_state()._replace(cell=jnp.ones(3)), jnp.zeros(2))[0]

    after = after_a_step(jax.random.key(0))
    np.testing.assert_allclose(after.cell, 1.0, atol=1e-6)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_pytorch_computes_the_same_from_the_same_weights(kind):
    torch = pytest.importorskip("torch", reason="torch is not installed: make peers")
    layer, x = with_random_weights(lambda key: kind.create(4, state_dim=6, key=key)), np.random.default_rng(2).standard_normal((3, 30, 4), np.float32)
    theirs = getattr(torch.nn, kind.__name__)(4, 6, batch_first=True)
    zeros = np.zeros_like(layer.bias)
    back = np.concatenate([zeros[:12], np.asarray(layer.recurrent_bias)]) if kind is GRU else zeros
    given = {"weight_ih_l0": layer.input_weight, "weight_hh_l0": layer.recurrent_weight, "bias_ih_l0": layer.bias, "bias_hh_l0": back}
    theirs.load_state_dict({name: torch.tensor(np.array(value)) for name, value in given.items()})
    with torch.no_grad():
        wanted = theirs(torch.tensor(x))[0].numpy()
    np.testing.assert_allclose(jax.jit(jax.vmap(layer.states))(x), wanted, rtol=2e-5, atol=2e-6)
