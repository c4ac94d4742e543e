from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import DeltaNet, GatedLinearAttention, GatedMesaAttention
from nn.dense_reference import dense_mesa, relative_error

DIM, TIME = 12, 40
SIZES = {"heads": 3, "key_dim": 6, "value_dim": 5, "std": 0.5}


@eqx.filter_jit
def _drawn(create, **settings):
    return create(DIM, **SIZES, **settings, key=jax.random.key(0))


LAYERS = {
    "mesa": lambda: _drawn(GatedMesaAttention.create, chunk=16, tolerance=1e-6),
    "signed-mesa": lambda: _drawn(GatedMesaAttention.create, chunk=16, tolerance=1e-6, regulariser=50.0, smallest_regulariser=49.0, signed=True),
    "linear": lambda: _drawn(GatedLinearAttention.create),
    "gated-delta": lambda: _drawn(DeltaNet.create),
    "delta": lambda: _drawn(DeltaNet.create, forgets=False),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]()


def _tokens(time=TIME):
    return np.random.default_rng(1).standard_normal((time, DIM), np.float32)


@pytest.mark.whole
def test_stepping_is_the_parallel_form_at_any_cut(layer):
    x = _tokens()
    stream = eqx.filter_jit(lambda layer, state, x: layer.stream(layer.init_state() if state is None else state, x))
    state, first = stream(layer, None, x[:20])
    _, second = stream(layer, state, x[20:])
    assert relative_error(np.concatenate([first, second]), eqx.filter_jit(layer)(x)) < 1e-5


def test_the_future_does_not_reach_the_past(layer):
    x, run = _tokens(), eqx.filter_jit(layer)
    y, other = np.asarray(run(x)), np.asarray(run(np.concatenate([x[:20], x[20:21] + 1, x[21:]])))
    np.testing.assert_array_equal(other[:20], y[:20])
    assert np.abs(other[20:] - y[20:]).max() > 1e-2


@pytest.mark.slow
def test_bfloat16_over_many_tokens_is_finite(layer):
    narrow = jax.tree.map(lambda w: w.astype(jnp.bfloat16) if isinstance(w, jax.Array) else w, layer)
    y = eqx.filter_jit(lambda m, x: m(x))(narrow, _tokens(4096).astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    y = np.asarray(y, np.float32)
    assert np.isfinite(y).all()
    assert np.abs(y).max() > 0


def test_the_front_end_is_its_formula():
    front, x = LAYERS["mesa"]().front, np.asarray(_tokens(), np.float64)
    tokens = eqx.filter_jit(front)(_tokens())
    normal = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    filters, weights = np.asarray(front.filters, np.float64), np.asarray(front.key, np.float64)
    raw = np.einsum("td,hnd->thn", normal, weights)
    convolved = sum(filters[3 - lag, 1] * np.concatenate([np.zeros_like(raw[:lag]), raw[: TIME - lag]]) for lag in range(4))
    activated = convolved / (1 + np.exp(-convolved))
    np.testing.assert_allclose(tokens.key, activated / np.linalg.norm(activated, axis=-1, keepdims=True), atol=1e-5)
    forgets = normal @ np.asarray(front.forget_gate).T + np.asarray(front.forget_bias)
    np.testing.assert_allclose(np.exp(tokens.log_forget), 1 / (1 + np.exp(-forgets)), atol=1e-6)
    np.testing.assert_allclose(tokens.input_gate, 1 / (1 + np.exp(-(normal @ np.asarray(front.input_gate).T))), atol=1e-6)
    capped = replace(front, write_forgets=0.0025)
    capped = eqx.filter_jit(capped)(_tokens())
    np.testing.assert_allclose(np.asarray(capped.log_forget) - np.asarray(tokens.log_forget), np.log(1 - 0.0025 * np.square(tokens.input_gate)), atol=1e-6)


def test_signed_gates_are_twice_a_sigmoid_minus_one():
    layer = LAYERS["signed-mesa"]().front
    front, unsigned = (eqx.filter_jit(replace(layer, signed=signed))(_tokens()) for signed in (True, False))
    gates = np.where(front.negative, -1, 1) * np.exp(front.log_forget)
    np.testing.assert_allclose(gates, 2 * np.exp(unsigned.log_forget) - 1, atol=1e-6)
    assert 0.3 < np.mean(gates < 0) < 0.7
    assert unsigned.negative is None


@pytest.mark.whole
def test_the_mesa_layer_solves_what_its_front_end_poses():
    layer, x = LAYERS["mesa"](), _tokens()
    y, diagnostics = eqx.filter_jit(layer.explain)(x)
    tokens = eqx.filter_jit(layer.front)(x)
    regulariser = eqx.filter_jit(lambda layer: layer.regulariser(jnp.float32))(layer)
    np.testing.assert_allclose(regulariser, 1.0, rtol=1e-5)
    dense = jax.jit(jax.vmap(lambda t, r: dense_mesa(t.query, t.key, t.value, r, t.log_forget, t.input_gate), in_axes=(1, 0), out_axes=1))(tokens, regulariser)
    dense = np.asarray(dense)
    expected = dense / np.sqrt(np.mean(dense**2, axis=-1, keepdims=True) + 1e-6)
    assert relative_error(y, np.einsum("thv,hdv->td", expected, layer.output)) < 1e-4
    assert relative_error(np.einsum("hts,shv->thv", diagnostics.attention, tokens.value), dense) < 1e-5
    assert np.max(diagnostics.residual) <= 1e-6
    assert 1 <= np.min(diagnostics.steps) < np.max(diagnostics.steps) <= 30


@pytest.mark.whole
def test_weights_of_values_have_the_signs_of_forget_gates():
    layer, x = LAYERS["signed-mesa"](), _tokens()
    (y, diagnostics), tokens = eqx.filter_jit(lambda layer, x: (layer.explain(x), layer.front(x)))(layer, x)
    read = np.einsum("hts,shv->thv", diagnostics.attention, tokens.value)
    normal = read / np.sqrt(np.mean(read**2, axis=-1, keepdims=True) + 1e-6)
    assert relative_error(np.einsum("thv,hdv->td", normal, layer.output), y) < 1e-4


def test_the_three_memories_differ_and_nothing_else_does():
    layers = [made() for name, made in LAYERS.items() if name != "signed-mesa"]  # whose gates start elsewhere
    fronts = [jax.tree.leaves(layer.front) for layer in layers]
    assert all(np.array_equal(a, b) for front in fronts[1:] for a, b in zip(front, fronts[0], strict=True))
    outputs = [eqx.filter_jit(layer)(_tokens()) for layer in layers]
    assert all(relative_error(a, b) > 1e-3 for i, a in enumerate(outputs) for b in outputs[:i])


def test_a_regulariser_below_its_bound_is_refused():
    with pytest.raises(ValueError, match=r"got 0\.2, bound 0\.25"):
        GatedMesaAttention.create(DIM, **SIZES, regulariser=0.2, key=jax.random.key(0))
    for wrong in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"at least 0 and finite, got|finite and start above its lower bound"):
            GatedMesaAttention.create(DIM, **SIZES, smallest_regulariser=wrong, key=jax.random.key(0))
    with pytest.raises(ValueError, match="must be finite"):
        GatedMesaAttention.create(DIM, **SIZES, regulariser=np.inf, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        replace(LAYERS["mesa"]().front, write_forgets=1.5)
