import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import mesocosm.nn
from mesocosm.nn import (
    LinearAttention,
    MesaAttention,
    continue_least_squares,
    delta_rule,
    initial_least_squares,
    least_squares_step,
)
from nn.dense_reference import dense_mesa, relative_error

recursive_least_squares = jax.jit(mesocosm.nn.recursive_least_squares)


def _problem(time, key_dim, value_dim, seed=0, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed), 5)
    query, key = (jax.random.normal(k, (time, key_dim), dtype) / np.sqrt(key_dim) for k in keys[:2])
    value = jax.random.normal(keys[2], (time, value_dim), dtype)
    regulariser = jax.random.uniform(keys[3], (key_dim,), dtype, 0.5, 2.0)
    log_forget = jnp.log(jax.random.uniform(keys[4], (time,), dtype, 0.9, 0.999))
    return query, key, value, regulariser, log_forget


def test_the_recursion_is_ridge_regression_at_every_token():
    with jax.enable_x64(True):
        problem = _problem(512, 64, 8, dtype=jnp.float64)[:4]
        expected = jax.jit(dense_mesa, static_argnames="decaying")(*problem)
        narrow = recursive_least_squares(*(x.astype(jnp.float32) for x in problem))
        assert narrow.dtype == jnp.float32
        assert relative_error(narrow, expected) < 1e-5
        assert relative_error(recursive_least_squares(*problem), expected) < 1e-12


def test_forgetting_wears_off_the_regulariser_too():
    with jax.enable_x64(True):
        query, key, value, regulariser, log_forget = _problem(200, 7, 4, dtype=jnp.float64)
        expected = jax.jit(dense_mesa, static_argnames="decaying")(query, key, value, regulariser, log_forget, decaying=True)
        assert relative_error(recursive_least_squares(query, key, value, regulariser, log_forget), expected) < 1e-10
        assert relative_error(jax.jit(dense_mesa)(query, key, value, regulariser, log_forget), expected) > 1e-3


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("time", [pytest.param(1, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow), 150])
def test_the_closed_form_gradient_is_that_of_the_dense_solve(forgets, time):
    with jax.enable_x64(True):
        *problem, log_forget = _problem(time, 6, 4, dtype=jnp.float64)
        problem = (*problem, log_forget) if forgets else tuple(problem)
        weights = jax.random.normal(jax.random.key(9), (time, 4), jnp.float64)
        arguments = tuple(range(len(problem)))
        ours = jax.jit(jax.grad(lambda *p: jnp.sum(weights * jnp.sin(recursive_least_squares(*p))), arguments))(*problem)
        theirs = jax.jit(jax.grad(lambda *p: jnp.sum(weights * jnp.sin(dense_mesa(*p, decaying=True))), arguments))(*problem)
        for a, b in zip(ours, theirs, strict=True):
            assert relative_error(a, b) < 1e-8 if jnp.abs(b).max() > 1e-12 else jnp.abs(a).max() < 1e-12


@pytest.mark.slow
def test_gradients_by_finite_differences():
    with jax.enable_x64(True):
        check_grads(jax.jit(lambda *p: recursive_least_squares(*map(jnp.asarray, p))), _problem(9, 3, 2, dtype=jnp.float64), order=1, modes=["rev"])


def test_each_step_is_a_newton_step():
    step = jax.jit(least_squares_step)
    _, key, value, regulariser, _ = _problem(20, 6, 4)
    state = initial_least_squares(regulariser, 4)
    for k, v in zip(key, value, strict=True):
        new, _, _ = step(state, k, v)
        newton = jnp.outer(v - state.map @ k, new.inverse @ k)
        np.testing.assert_allclose(new.map - state.map, newton, atol=1e-5)
        assert jnp.abs(newton).max() > 1e-3
        state = new
    np.testing.assert_allclose(state.map, value.T @ key @ state.inverse, atol=1e-5)


@pytest.mark.parametrize("cut", [17])
def test_two_segments_are_one_run(cut):
    query, key, value, regulariser, log_forget = _problem(50, 8, 5)
    whole = recursive_least_squares(query, key, value, regulariser, log_forget)
    state, first = continue_least_squares(initial_least_squares(regulariser, 5), query[:cut], key[:cut], value[:cut], log_forget[:cut])
    _, second = continue_least_squares(state, query[cut:], key[cut:], value[cut:], log_forget[cut:])
    assert relative_error(jnp.concatenate([first, second]), whole) < 1e-5


def test_recall_of_every_pair_while_keys_are_independent():
    with jax.enable_x64(True):
        _, key, value, *_ = _problem(6, 8, 5, dtype=jnp.float64)
        state = initial_least_squares(jnp.full(8, 1e-6), 5)
        for k, v in zip(key, value, strict=True):
            state, _, _ = jax.jit(least_squares_step)(state, k, v)
        np.testing.assert_allclose(key @ state.map.T, value, atol=1e-3)
        unit = key / jnp.linalg.norm(key, axis=1, keepdims=True)
        _, memory = delta_rule(unit, unit, value)
        assert jnp.abs(unit @ memory.T - value).max() > 0.1


def test_the_inverse_stays_symmetric_and_accurate_over_many_tokens():
    _, key, value, regulariser, _ = _problem(4096, 16, 3)
    state, _ = continue_least_squares(initial_least_squares(regulariser, 3), key, key, value)
    assert jnp.array_equal(state.inverse, state.inverse.T)
    exact = np.linalg.inv(np.asarray(key, np.float64).T @ np.asarray(key, np.float64) + np.diag(regulariser))
    assert relative_error(state.inverse, exact) < 1e-4


def _layer(**settings):
    return MesaAttention.create(12, heads=3, key_dim=5, value_dim=4, std=0.3, key=jax.random.key(0), **settings)


def _tokens(time=30):
    return jax.random.normal(jax.random.key(1), (time, 12))


def test_lambda_starts_where_asked_and_can_be_fixed():
    np.testing.assert_allclose(_layer().regulariser(jnp.float32), 1, rtol=1e-6)
    np.testing.assert_allclose(_layer(strength=4.0).regulariser(jnp.float32), 0.25, rtol=1e-6)
    learned, fixed = (eqx.filter_jit(_layer(strength=4.0, learn_strength=learn)) for learn in (True, False))
    np.testing.assert_allclose(learned(_tokens()), fixed(_tokens()), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"above 0, got 0\.0"):
        _layer(strength=0.0)


def test_a_weak_mesa_layer_is_linear_attention():
    layer = _layer(strength=1e-6)
    linear = LinearAttention(layer.query, layer.key, layer.value, layer.output)
    assert relative_error(eqx.filter_jit(layer)(_tokens()) / 1e-6, linear(_tokens())) < 1e-4


@pytest.mark.parametrize("unit_keys", [False, True])
def test_stepping_and_explaining_are_the_parallel_form(unit_keys):
    layer, x = _layer(unit_keys=unit_keys), _tokens()
    y = eqx.filter_jit(layer)(x)
    _, stepped = layer.stream(layer.init_state(), x)
    assert relative_error(stepped, y) < 1e-5
    explained, diagnostics = eqx.filter_jit(layer.explain)(x)
    assert relative_error(explained, y) < 1e-6
    _, _, values = layer.split(x)
    assert relative_error(layer.merge(jnp.einsum("hts,shv->thv", diagnostics.attention, values)), y) < 1e-5


def test_the_future_does_not_reach_the_past():
    layer, x = _layer(), _tokens()
    run = eqx.filter_jit(layer)
    other = run(x.at[20].add(1.0))
    assert jnp.array_equal(other[:20], run(x)[:20])
    assert jnp.abs(other[20:] - run(x)[20:]).max() > 1e-2


def test_bfloat16_over_many_tokens_is_finite():
    narrow = jax.tree.map(lambda w: w.astype(jnp.bfloat16) if isinstance(w, jax.Array) else w, _layer())
    x = _tokens(4096).astype(jnp.bfloat16)
    y = jax.jit(lambda m, x: m(x))(narrow, x)
    gradient = jax.jit(jax.grad(lambda x: jnp.mean(narrow(x).astype(jnp.float32) ** 2)))(x)
    assert y.dtype == gradient.dtype == jnp.bfloat16
    assert jnp.isfinite(y).all()
    assert jnp.isfinite(gradient).all()
    assert relative_error(y, eqx.filter_jit(_layer())(x.astype(jnp.float32))) < 0.05
