from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mesocosm.nn import (
    Attention,
    LinearAttention,
    RelativeBias,
    Rotary,
    SinusoidalChannels,
    rms_over_heads,
    sinusoidal_positions,
    unnormalised,
)
from mesocosm.nn.mixers.projections import head_sizes, random_projections
from mesocosm.nn.mixers.scores import softmax
from nn.dense_reference import relative_error

TIME, DIM = 23, 12


def _tokens(time=TIME, dim=DIM, seed=1):
    return np.random.default_rng(seed).standard_normal((time, dim), np.float32)


@eqx.filter_jit
def _layers():
    key = jax.random.key(0)
    return [
        LinearAttention.create(DIM, heads=3, key_dim=5, value_dim=4, std=0.3, key=key),
        Attention.create(DIM, heads=3, key_dim=5, value_dim=4, std=0.3, max_length=TIME, key=key),
        Attention.create(DIM, heads=3, key_dim=5, std=0.3, position=partial(SinusoidalChannels.create, dim=6), unit_keys=True, max_length=TIME + 4, key=key),
        _biased(Attention.create(DIM, heads=3, key_dim=6, std=0.3, bias=True, position=Rotary.create, normalisation=rms_over_heads, key=key)),
        Attention.create(DIM, position=partial(RelativeBias.create, buckets=8, max_distance=16), normalisation=unnormalised, key=key),
    ]


def _biased(layer):
    return eqx.tree_at(lambda m: m.biases, layer, jax.tree.map(lambda b: b + jnp.linspace(-1, 1, b.size).reshape(b.shape), layer.biases))


NAMES = ("linear", "softmax", "softmax-channels", "rms-rotary", "unnormalised-relative")


@pytest.fixture(scope="module")
def layers():
    return _layers()


@pytest.fixture(params=NAMES)
def layer(request, layers):
    return layers[NAMES.index(request.param)]


@eqx.filter_jit
def _stream(layer, x):
    return layer.stream(layer.init_state(), x)[1]


@pytest.mark.whole
def test_linear_attention_is_its_double_sum(layers):
    layer, x = layers[0], np.asarray(_tokens(), np.float64)
    expected = np.zeros_like(x)
    for h in range(3):
        q, k, v, p = (np.asarray(w[h], np.float64) for w in (layer.query, layer.key, layer.value, layer.output))
        for t in range(TIME):
            for s in range(t + 1):
                expected[t] += p @ (v @ x[s]) * ((k @ x[s]) @ (q @ x[t]))
    np.testing.assert_allclose(eqx.filter_jit(layer)(_tokens()), expected, rtol=1e-4, atol=1e-4)


def test_softmax_attention_is_its_formula(layers):
    layer, x = layers[1], np.asarray(_tokens(), np.float64)
    expected = np.zeros_like(x)
    for h in range(3):
        q, k, v, p = (np.asarray(w[h], np.float64) for w in (layer.query, layer.key, layer.value, layer.output))
        for t in range(TIME):
            logits = (x[: t + 1] @ k.T) @ (q @ x[t]) / np.sqrt(5)
            weights = np.exp(logits) / np.exp(logits).sum()
            expected[t] += p @ (v @ x[: t + 1].T @ weights)
    np.testing.assert_allclose(eqx.filter_jit(layer)(_tokens()), expected, rtol=1e-4, atol=1e-5)


def test_linear_attention_on_a_graph_reads_the_neighbours_only(layers):
    layer, x = layers[0], jnp.asarray(_tokens(6))
    mask = jnp.roll(jnp.eye(6, dtype=bool), 1, axis=1) | jnp.roll(jnp.eye(6, dtype=bool), -1, axis=1)
    scores = np.einsum("hnd,td,hne,se->hts", layer.query, x, layer.key, x) * mask
    by_hand = np.einsum("hdv,hts,hve,se->td", layer.output, scores, layer.value, x)
    assert relative_error(layer(x, mask=mask), by_hand) < 1e-5
    np.testing.assert_array_equal(layer(x, mask=jnp.tril(jnp.ones((6, 6), bool))), layer(x))


def test_stepping_is_the_parallel_form(layer):
    x = _tokens()
    assert relative_error(_stream(layer, x), eqx.filter_jit(layer)(x)) < 1e-5


def test_the_future_does_not_reach_the_past(layer):
    x = _tokens()
    run = eqx.filter_jit(layer)
    y, other = np.asarray(run(x)), np.asarray(run(np.concatenate([x[:10], x[10:11] + 1, x[11:]])))
    np.testing.assert_array_equal(other[:10], y[:10])
    assert np.abs(other[10:] - y[10:]).max() > 1e-2


def test_long_sequences_in_chunks_equal_the_dense_map(layers):
    layer, x = layers[0], _tokens(time=300)
    assert relative_error(eqx.filter_jit(layer)(x), eqx.filter_jit(layer.explain)(x)[0]) < 1e-5


def test_attention_maps_are_the_weights_of_the_values(layers):
    linear, softmax = layers[:2]
    x = _tokens()
    attention, of_linear = (eqx.filter_jit(layer.explain)(x)[1].attention for layer in (softmax, linear))
    np.testing.assert_allclose(np.sum(attention, axis=-1), 1, rtol=1e-5)
    wanted = np.einsum("hts,sd,hvd,hev->te", of_linear, x, linear.value, linear.output, optimize=True)
    np.testing.assert_allclose(wanted, eqx.filter_jit(linear)(x), rtol=1e-3, atol=1e-4)


def test_only_queries_and_keys_see_positions(layers):
    layer = layers[2]
    x = np.tile(_tokens()[0], (TIME, 1))  # equal tokens: only positions can make the maps differ, and equal values leave the output alone
    y, attention = map(np.asarray, eqx.filter_jit(lambda layer, x: (layer.explain(x)[0], layer.explain(x)[1].attention))(layer, x))
    assert np.std(attention[0, -1]) > 1e-4
    np.testing.assert_allclose(y, np.broadcast_to(y[0], y.shape), rtol=1e-4, atol=1e-6)


def dense(layer, x, valid=None):
    """The layer's formula in float64, pair by pair."""
    x, time, heads = np.asarray(x, np.float64), len(x), layer.query.shape[0]
    biases = [np.asarray(b, np.float64) for b in layer.biases] if layer.biases else [np.zeros((heads, 1))] * 3 + [0.0]
    q, k, v = (np.einsum("td,hnd->htn", x, np.asarray(w, np.float64)) + b[:, None] for w, b in zip((layer.query, layer.key, layer.value), biases, strict=False))
    if isinstance(layer.position, Rotary):
        half = q.shape[-1] // 2
        turn = np.exp(1j * np.arange(time)[:, None] * 10000.0 ** (-np.arange(half) / half))
        q, k = (np.concatenate([z.real, z.imag], -1) for z in ((a[..., :half] + 1j * a[..., half:]) * turn for a in (q, k)))
    scores = np.einsum("hqn,hkn->hqk", q, k) / np.sqrt(q.shape[-1])
    if isinstance(layer.position, RelativeBias):
        scores += np.asarray(layer.position.bias(jnp.arange(time), jnp.arange(time)), np.float64)
    seen = np.tril(np.ones((time, time), bool)) if layer.causal else np.ones((time, time), bool)
    seen = seen & (True if valid is None else np.asarray(valid)[None])
    if layer.normalisation is unnormalised:
        weights = scores * seen
    elif layer.normalisation is rms_over_heads:
        weights = scores * seen
        weights /= np.sqrt(np.mean(weights**2, axis=0) + 1e-6)
    else:
        weights = np.exp(scores) * seen
        weights /= weights.sum(-1, keepdims=True)
    return np.einsum("hqk,hkv,hdv->qd", weights, v, np.asarray(layer.output, np.float64)) + biases[3]


@pytest.mark.parametrize("layer", ["softmax", "rms-rotary", "unnormalised-relative"], indirect=True)
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "everywhere"])
def test_masks_normalisations_and_positions_are_their_formulas(layer, causal):
    layer, x = replace(layer, causal=causal), jnp.asarray(_tokens())
    valid = jnp.arange(TIME) % 5 != 2
    np.testing.assert_allclose(layer(x), dense(layer, x), rtol=1e-3, atol=2e-4)
    found = layer(x, valid=valid)
    np.testing.assert_allclose(found, dense(layer, x, valid), rtol=1e-3, atol=2e-4)
    changed = layer(jnp.where(valid[:, None], x, 7.0), valid=valid)
    assert jnp.array_equal(changed[valid], found[valid])  # padding is not looked at


def test_some_positions_alone_equal_those_of_the_whole(layer):
    x, chosen = jnp.asarray(_tokens()), jnp.array([TIME - 1, 3, 4])
    np.testing.assert_allclose(layer.at(x, chosen), layer(x)[chosen], rtol=1e-5, atol=1e-5)


def test_weights_over_heads_have_the_length_of_their_number(layers):
    attention = layers[3].explain(jnp.asarray(_tokens()))[1].attention
    lower = np.tril_indices(TIME)
    np.testing.assert_allclose(np.sum(np.asarray(attention) ** 2, axis=0)[lower], 3, rtol=1e-3)
    assert np.all(np.asarray(attention)[:, 0, 1:] == 0)


@pytest.mark.slow
def test_masked_pairs_give_finite_gradients(layers):
    for layer in layers:
        gradient = eqx.filter_grad(lambda layer: jnp.sum(layer(jnp.zeros((4, DIM))) ** 2))(layer)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_layers_that_see_the_future_do_not_stream(layers):
    with pytest.raises(ValueError, match="causal=True"):
        replace(layers[1], causal=False).init_state()


def test_a_full_cache_says_so():
    layer = eqx.filter_jit(Attention.create)(DIM, heads=1, key_dim=4, max_length=3, key=jax.random.key(0))
    y = np.asarray(_stream(layer, _tokens(time=4)))
    assert np.isfinite(y[:3]).all()
    assert np.isnan(y[3]).all()


def test_shapes_that_disagree_are_named(layers, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would complain first
    layer = layers[0]
    with pytest.raises(ValueError, match="Queries have 4 channels, keys 5"):
        LinearAttention(layer.query[:, :4], layer.key, layer.value, layer.output)
    with pytest.raises(ValueError, match="even, got 5"):
        sinusoidal_positions(jnp.arange(3), 5)


@pytest.mark.slow
def test_bfloat16_over_many_tokens_is_finite(layer):
    narrow = jax.tree.map(lambda w: w.astype(jnp.bfloat16), layer)
    x = _tokens(time=1024 if isinstance(layer, Attention) else 4096).astype(jnp.bfloat16)
    y = jax.jit(lambda m, x: m(x))(narrow, x)
    assert y.dtype == jnp.bfloat16
    y = np.asarray(y, np.float32)
    assert np.isfinite(y).all()
    assert np.abs(y).max() > 0


@pytest.mark.whole
def test_negative_positions_are_counted_from_the_end():
    layer, x = Attention.create(DIM, position=Rotary.create, heads=2, key=jax.random.key(0)), jnp.asarray(_tokens(5))
    np.testing.assert_allclose(layer.at(x, jnp.array([-1, 2, -4])), layer(x)[jnp.array([4, 2, 1])], rtol=1e-4, atol=1e-5)


def test_padding_is_hidden_from_chosen_positions_and_from_the_weights_shown():
    layer, x, valid = Attention.create(DIM, heads=2, key=jax.random.key(0)), jnp.asarray(_tokens(7)), jnp.arange(7) >= 2
    cut = layer(x[2:])
    np.testing.assert_allclose(layer.at(x, jnp.array([6, 3]), valid=valid), cut[jnp.array([4, 1])], rtol=1e-4, atol=1e-5)
    y, shown = layer.explain(x, valid=valid)
    np.testing.assert_allclose(y[2:], cut, rtol=1e-4, atol=1e-5)
    assert np.all(shown.attention[:, 2:, :2] == 0)


@pytest.mark.parametrize("unit_keys", [False, True])
def test_biases_are_added_to_their_own_maps_before_normalisation(unit_keys):
    """Softmax does not see the bias of keys; unnormalised weights do."""
    layer = Attention.create(DIM, heads=2, bias=True, normalisation=unnormalised, causal=False, unit_keys=unit_keys, key=jax.random.key(0))
    drawn = (np.random.default_rng(k).standard_normal(b.shape) for k, b in enumerate(jax.tree.leaves(layer.biases)))
    layer = replace(layer, biases=type(layer.biases)(*(jnp.asarray(b, jnp.float32) for b in drawn)))
    x, wanted = _tokens(5), np.asarray(layer.biases.output, np.float64)
    for head in range(2):
        q, k, v = (x @ np.asarray(w[head]).T + np.asarray(b[head]) for w, b in zip((layer.query, layer.key, layer.value), layer.biases[:3], strict=True))
        if unit_keys:
            q, k = (z / np.linalg.norm(z, axis=-1, keepdims=True) for z in (q, k))
        wanted = wanted + q @ k.T / np.sqrt(DIM / 2) @ v @ np.asarray(layer.output[head]).T
    np.testing.assert_allclose(layer(jnp.asarray(x)), wanted, rtol=1e-3, atol=1e-3)


def test_a_position_part_has_a_key_of_its_own():
    seen = []

    def position(heads, *, key):
        seen.append(key)
        return RelativeBias.create(heads, buckets=8, key=key)

    layer = Attention.create(DIM, heads=2, position=position, key=jax.random.key(0))
    assert not jnp.array_equal(jax.random.key_data(seen[0]), jax.random.key_data(jax.random.key(0)))
    weights = random_projections(DIM, *head_sizes(DIM, 2, None, None), None, seen[0])
    assert not any(np.allclose(mine, other) for mine, other in zip(weights, (layer.query, layer.key, layer.value, layer.output), strict=True))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_scores_are_normalised_in_wide_numbers(dtype):
    """Rounded once, at the end: each weight is off by at most half a unit in the last place."""
    scores = jnp.asarray(np.random.default_rng(0).uniform(-3, 3, (2, 4, 300)), dtype)
    mask = jnp.ones((1, 300), bool)
    wide = np.asarray(scores, np.float64)
    for normalisation, exact in (
        (softmax, np.exp(wide) / np.exp(wide).sum(-1, keepdims=True)),
        (rms_over_heads, wide / np.sqrt((wide**2).mean(0, keepdims=True) + 1e-6)),
    ):
        found = normalisation(scores, mask)
        assert found.dtype == dtype
        np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=0.51 * float(jnp.finfo(dtype).eps), atol=2.0**-24)
