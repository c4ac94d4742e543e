import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mesocosm.nn import LinearAttention, SoftmaxAttention, sinusoidal_positions
from nn.dense_reference import relative_error

TIME, DIM = 23, 12


def _tokens(time=TIME, dim=DIM, seed=1):
    return np.random.default_rng(seed).standard_normal((time, dim), np.float32)


@eqx.filter_jit
def _layers():
    key = jax.random.key(0)
    return [
        LinearAttention.create(DIM, heads=3, key_dim=5, value_dim=4, std=0.3, key=key),
        SoftmaxAttention.create(DIM, heads=3, key_dim=5, value_dim=4, std=0.3, max_length=TIME, key=key),
        SoftmaxAttention.create(DIM, heads=3, key_dim=5, std=0.3, position_dim=6, unit_keys=True, max_length=TIME + 4, key=key),
    ]


LAYERS = _layers()


@eqx.filter_jit
def _stream(layer, x):
    return layer.stream(layer.init_state(), x)[1]


def test_linear_attention_is_its_double_sum():
    layer, x = LAYERS[0], np.asarray(_tokens(), np.float64)
    expected = np.zeros_like(x)
    for h in range(3):
        q, k, v, p = (np.asarray(w[h], np.float64) for w in (layer.query, layer.key, layer.value, layer.output))
        for t in range(TIME):
            for s in range(t + 1):
                expected[t] += p @ (v @ x[s]) * ((k @ x[s]) @ (q @ x[t]))
    np.testing.assert_allclose(eqx.filter_jit(layer)(_tokens()), expected, rtol=1e-4, atol=1e-4)


def test_softmax_attention_is_its_formula():
    layer, x = LAYERS[1], np.asarray(_tokens(), np.float64)
    expected = np.zeros_like(x)
    for h in range(3):
        q, k, v, p = (np.asarray(w[h], np.float64) for w in (layer.query, layer.key, layer.value, layer.output))
        for t in range(TIME):
            logits = (x[: t + 1] @ k.T) @ (q @ x[t]) / np.sqrt(5)
            weights = np.exp(logits) / np.exp(logits).sum()
            expected[t] += p @ (v @ x[: t + 1].T @ weights)
    np.testing.assert_allclose(eqx.filter_jit(layer)(_tokens()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS, ids=["linear", "softmax", "softmax-positions"])
def test_stepping_is_the_parallel_form(layer):
    x = _tokens()
    assert relative_error(_stream(layer, x), eqx.filter_jit(layer)(x)) < 1e-5


@pytest.mark.parametrize("layer", LAYERS, ids=["linear", "softmax", "softmax-positions"])
def test_the_future_does_not_reach_the_past(layer):
    x = _tokens()
    run = eqx.filter_jit(layer)
    y, other = np.asarray(run(x)), np.asarray(run(np.concatenate([x[:10], x[10:11] + 1, x[11:]])))
    np.testing.assert_array_equal(other[:10], y[:10])
    assert np.abs(other[10:] - y[10:]).max() > 1e-2


def test_long_sequences_in_chunks_equal_the_dense_map():
    layer, x = LAYERS[0], _tokens(time=300)
    assert relative_error(eqx.filter_jit(layer)(x), eqx.filter_jit(layer.explain)(x)[0]) < 1e-5


def test_attention_maps_are_the_weights_of_the_values():
    linear, softmax, _ = LAYERS
    x = _tokens()
    attention, of_linear = (eqx.filter_jit(layer.explain)(x)[1].attention for layer in (softmax, linear))
    np.testing.assert_allclose(np.sum(attention, axis=-1), 1, rtol=1e-5)
    wanted = np.einsum("hts,sd,hvd,hev->te", of_linear, x, linear.value, linear.output, optimize=True)
    np.testing.assert_allclose(wanted, eqx.filter_jit(linear)(x), rtol=1e-3, atol=1e-4)


def test_only_queries_and_keys_see_positions():
    layer = LAYERS[2]
    x = np.tile(_tokens()[0], (TIME, 1))  # equal tokens: only positions can make the maps differ, and equal values leave the output alone
    y, attention = map(np.asarray, eqx.filter_jit(lambda layer, x: (layer.explain(x)[0], layer.explain(x)[1].attention))(layer, x))
    assert np.std(attention[0, -1]) > 1e-4
    np.testing.assert_allclose(y, np.broadcast_to(y[0], y.shape), rtol=1e-4, atol=1e-6)


def test_a_full_cache_says_so():
    layer = eqx.filter_jit(SoftmaxAttention.create)(DIM, heads=1, key_dim=4, max_length=3, key=jax.random.key(0))
    y = np.asarray(_stream(layer, _tokens(time=4)))
    assert np.isfinite(y[:3]).all()
    assert np.isnan(y[3]).all()


def test_shapes_that_disagree_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would complain first
    layer = LAYERS[0]
    with pytest.raises(ValueError, match="Queries have 4 channels, keys 5"):
        LinearAttention(layer.query[:, :4], layer.key, layer.value, layer.output)
    with pytest.raises(ValueError, match="even, got 5"):
        sinusoidal_positions(jnp.arange(3), 5)


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS, ids=["linear", "softmax", "softmax-positions"])
def test_bfloat16_over_many_tokens_is_finite(layer):
    narrow = jax.tree.map(lambda w: w.astype(jnp.bfloat16), layer)
    x = _tokens(time=1024 if isinstance(layer, SoftmaxAttention) else 4096).astype(jnp.bfloat16)
    y = jax.jit(lambda m, x: m(x))(narrow, x)
    assert y.dtype == jnp.bfloat16
    y = np.asarray(y, np.float32)
    assert np.isfinite(y).all()
    assert np.abs(y).max() > 0
