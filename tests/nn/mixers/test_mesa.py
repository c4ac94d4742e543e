import itertools
from functools import partial

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


start = jax.jit(initial_least_squares, static_argnums=1)
step = jax.jit(least_squares_step)
run_on = jax.jit(continue_least_squares)
dense = jax.jit(dense_mesa, static_argnames="decaying")


def _problem(time, key_dim, value_dim, dtype=np.float32):
    random = np.random.default_rng(0)
    query, key = random.standard_normal((2, time, key_dim)) / np.sqrt(key_dim)
    value = random.standard_normal((time, value_dim))
    regulariser, log_forget = random.uniform(0.5, 2.0, key_dim), np.log(random.uniform(0.9, 0.999, time))
    return tuple(x.astype(dtype) for x in (query, key, value, regulariser, log_forget))


def test_the_recursion_is_ridge_regression_at_every_token():
    with jax.enable_x64(True):
        problem = _problem(512, 64, 8, dtype=np.float64)[:4]
        expected = dense(*problem)
        narrow = recursive_least_squares(*(x.astype(np.float32) for x in problem))
        assert narrow.dtype == jnp.float32
        assert relative_error(narrow, expected) < 1e-5
        assert relative_error(recursive_least_squares(*problem), expected) < 1e-12


def test_forgetting_wears_off_the_regulariser_too():
    with jax.enable_x64(True):
        query, key, value, regulariser, log_forget = _problem(200, 7, 4, dtype=np.float64)
        expected = dense(query, key, value, regulariser, log_forget, decaying=True)
        assert relative_error(recursive_least_squares(query, key, value, regulariser, log_forget), expected) < 1e-10
        assert relative_error(dense(query, key, value, regulariser, log_forget), expected) > 1e-3


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("time", [pytest.param(1, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow), 150])
def test_the_closed_form_gradient_is_that_of_the_dense_solve(forgets, time):
    with jax.enable_x64(True):
        *problem, log_forget = _problem(time, 6, 4, dtype=np.float64)
        problem = (*problem, log_forget) if forgets else tuple(problem)
        weights = np.random.default_rng(9).standard_normal((time, 4))
        arguments = tuple(range(len(problem)))
        ours = jax.jit(jax.grad(lambda *p: jnp.sum(weights * jnp.sin(recursive_least_squares(*p))), arguments))(*problem)
        theirs = jax.jit(jax.grad(lambda *p: jnp.sum(weights * jnp.sin(dense_mesa(*p, decaying=True))), arguments))(*problem)
        for a, b in zip(ours, theirs, strict=True):
            assert relative_error(a, b) < 1e-8 if np.abs(b).max() > 1e-12 else np.abs(a).max() < 1e-12


@pytest.mark.slow
def test_gradients_by_finite_differences():
    with jax.enable_x64(True):
        check_grads(jax.jit(lambda *p: recursive_least_squares(*map(jnp.asarray, p))), _problem(9, 3, 2, dtype=np.float64), order=1, modes=["rev"])


def test_each_step_is_a_newton_step():
    _, key, value, regulariser, _ = _problem(20, 6, 4)
    state = start(regulariser, 4)
    for k, v in zip(key, value, strict=True):
        new, _, _ = step(state, k, v)
        before, after, inverse = (np.asarray(x) for x in (state.map, new.map, new.inverse))
        newton = np.outer(v - before @ k, inverse @ k)
        np.testing.assert_allclose(after - before, newton, atol=1e-5)
        assert np.abs(newton).max() > 1e-3
        state = new
    np.testing.assert_allclose(after, value.T @ key @ inverse, atol=1e-5)


@pytest.mark.parametrize("cut", [17])
def test_two_segments_are_one_run(cut):
    query, key, value, regulariser, log_forget = _problem(50, 8, 5)
    whole = recursive_least_squares(query, key, value, regulariser, log_forget)
    state, first = run_on(start(regulariser, 5), query[:cut], key[:cut], value[:cut], log_forget[:cut])
    _, second = run_on(state, query[cut:], key[cut:], value[cut:], log_forget[cut:])
    assert relative_error(np.concatenate([first, second]), whole) < 1e-5


def test_recall_of_every_pair_while_keys_are_independent():
    with jax.enable_x64(True):
        _, key, value, *_ = _problem(6, 8, 5, dtype=np.float64)
        state = start(np.full(8, 1e-6), 5)
        for k, v in zip(key, value, strict=True):
            state, _, _ = step(state, k, v)
        np.testing.assert_allclose(key @ np.asarray(state.map).T, value, atol=1e-3)
        unit = key / np.linalg.norm(key, axis=1, keepdims=True)
        _, memory = jax.jit(delta_rule)(unit, unit, value)
        assert np.abs(unit @ np.asarray(memory).T - value).max() > 0.1


def test_the_inverse_stays_symmetric_and_accurate_over_many_tokens():
    _, key, value, regulariser, _ = _problem(4096, 16, 3)
    state, _ = run_on(start(regulariser, 3), key, key, value)
    inverse, key = np.asarray(state.inverse), key.astype(np.float64)
    np.testing.assert_array_equal(inverse, inverse.T)
    assert relative_error(inverse, np.linalg.inv(key.T @ key + np.diag(regulariser))) < 1e-4


@pytest.mark.parametrize("size", [1.0, 4.0])
def test_a_repeated_key_costs_no_digits(size):
    """At keys of norm 4, the inverse's own recursion has an error of 4e-3 after 4096 tokens, and the root's 5e-4 after 16384 if it rounds at each of them."""
    random = np.random.default_rng(0)
    key = random.standard_normal(16)
    key = np.tile(size * key / np.linalg.norm(key), (16384, 1))
    value = random.standard_normal((16384, 3))
    narrow = recursive_least_squares(*(x.astype(np.float32) for x in (key, key, value, np.ones(16))))
    counts = np.arange(1, 16385)[:, None] * size**2
    exact = np.cumsum(value, axis=0) * size**2 / (counts + 1)
    assert np.abs(narrow - exact).max() < 1e-5 * np.abs(value).max()


@pytest.mark.parametrize("repeats", [1, 64])
def test_large_keys_cost_half_of_the_digits_that_their_squares_would(repeats):
    """At lambda = 100, one Cholesky factor of the chunk's products has errors of 3e-4 (other keys) and 2e-4 (keys that repeat)."""
    random = np.random.default_rng(0)
    key = np.repeat(random.standard_normal((256 // repeats, 16)), repeats, axis=0)
    problem = (random.standard_normal((256, 16)) if repeats == 1 else key, key, random.standard_normal((256, 4)))
    with jax.enable_x64(True):
        exact = recursive_least_squares(*problem, np.full(16, 0.01))
    narrow = tuple(x.astype(np.float32) for x in problem)
    assert relative_error(recursive_least_squares(*narrow, np.full(16, 0.01, np.float32)), exact) < 2e-5
    with jax.enable_x64(True):
        exact = recursive_least_squares(*problem, np.full(16, 1e-6))
    assert relative_error(recursive_least_squares(*narrow, np.full(16, 1e-6, np.float32)), exact) < 1e-3  # one refinement leaves 0.2
    assert np.isfinite(recursive_least_squares(*narrow, np.full(16, 1e-12, np.float32))).all()


RESETS = [0, 11, 12, 30]


def _with_resets(query, key, value, regulariser, log_forget):
    """Every stretch from a reset to the next as a problem of its own, whose first token forgets nothing."""
    stretches = [slice(*ends) for ends in itertools.pairwise([*RESETS, len(query)])]
    forgets = log_forget.at[jnp.array(RESETS)].set(0)
    return jnp.concatenate([dense_mesa(query[s], key[s], value[s], regulariser, forgets[s], decaying=True) for s in stretches])


@pytest.mark.whole
def test_a_forget_gate_of_zero_starts_again_with_the_whole_regulariser():
    with jax.enable_x64(True):
        *problem, log_forget = map(jnp.asarray, _problem(40, 5, 3, dtype=np.float64))
        problem = (*problem, log_forget.at[jnp.array(RESETS)].set(-jnp.inf))
        weights = np.random.default_rng(9).standard_normal((40, 3))

        @partial(jax.jit, static_argnums=0)
        def result(solve, *problem):
            return solve(*problem), jax.grad(lambda *p: jnp.sum(weights * jnp.sin(solve(*p))), range(5))(*problem)

        (ours, our_gradients), (theirs, their_gradients) = (result(solve, *problem) for solve in (mesocosm.nn.recursive_least_squares, _with_resets))
        assert relative_error(ours, theirs) < 1e-12
        for a, b in zip(our_gradients, their_gradients, strict=True):
            assert relative_error(a, b) < 1e-10
        query, key, value, regulariser, log_forget = problem
        _, continued = run_on(start(regulariser, 3), query, key, value, jnp.maximum(log_forget, -100))
        assert relative_error(continued, theirs) < 1e-12


def test_a_long_continued_run_has_the_same_gradient():
    with jax.enable_x64(True):
        query, key, value, regulariser, _ = map(jnp.asarray, _problem(150, 5, 3, dtype=np.float64))

        def gradient(run):
            return jax.jit(jax.grad(lambda k, r: jnp.sum(jnp.sin(run(k, r))), (0, 1)))(key, regulariser)

        continued = gradient(lambda k, r: continue_least_squares(initial_least_squares(r, 3), query, k, value)[1])
        for a, b in zip(continued, gradient(lambda k, r: dense_mesa(query, k, value, r)), strict=True):
            assert relative_error(a, b) < 1e-9


@pytest.mark.whole
def test_the_gradient_can_be_differentiated_again():
    with jax.enable_x64(True):
        query, key, value, regulariser, log_forget = map(jnp.asarray, _problem(8, 3, 2, dtype=np.float64))

        def twice(solve):
            inner = jax.grad(lambda k, g: jnp.sum(jnp.sin(solve(query, k, value, regulariser, g))), (0, 1))
            return jax.jit(jax.grad(lambda k, g: sum(jnp.sum(jnp.cos(x)) for x in inner(k, g)), (0, 1)))(key, log_forget)

        for a, b in zip(twice(recursive_least_squares), twice(lambda *p: dense_mesa(*p, decaying=True)), strict=True):
            assert relative_error(a, b) < 1e-9


@pytest.mark.parametrize("wrong", [*({"regulariser": x} for x in (-1.0, 0.0, np.inf, np.nan)), *({"log_forget": x} for x in (0.1, np.inf, np.nan))])
def test_a_wrong_sign_or_no_number_is_refused(wrong):
    query, key, value, regulariser, log_forget = map(jnp.asarray, _problem(4, 3, 2))
    given = {"regulariser": regulariser, "log_forget": log_forget}
    given.update((name, jnp.full_like(given[name], x)) for name, x in wrong.items())
    with pytest.raises(ValueError, match=r"(above 0 and finite|at most 0), got"):
        mesocosm.nn.recursive_least_squares(query, key, value, **given)


@pytest.mark.parametrize("strength", [-1.0, 0.0, np.inf, np.nan])
def test_a_strength_is_a_positive_number(strength):
    with pytest.raises(ValueError, match="above 0 and finite, got"):
        MesaAttention(*(jnp.ones((1, 2, 2)),) * 4, raw_strength=None, fixed_strength=strength)
    with pytest.raises(ValueError, match="above 0 and finite, got"):
        MesaAttention.create(4, strength=strength, key=jax.random.key(0))


@eqx.filter_jit
def _layer(**settings):
    return MesaAttention.create(12, heads=3, key_dim=5, value_dim=4, std=0.3, key=jax.random.key(0), **settings)


def _tokens(time=30):
    return np.random.default_rng(1).standard_normal((time, 12), np.float32)


@pytest.mark.whole
def test_lambda_starts_where_asked_and_can_be_fixed():
    regulariser = eqx.filter_jit(lambda layer: layer.regulariser(jnp.float32))
    np.testing.assert_allclose(regulariser(_layer()), 1, rtol=1e-6)
    np.testing.assert_allclose(regulariser(_layer(strength=4.0)), 0.25, rtol=1e-6)
    learned, fixed = (eqx.filter_jit(_layer(strength=4.0, learn_strength=learn)) for learn in (True, False))
    np.testing.assert_allclose(learned(_tokens()), fixed(_tokens()), rtol=1e-4, atol=1e-5)


def test_a_weak_mesa_layer_is_linear_attention():
    layer = _layer(strength=1e-6)
    linear = LinearAttention(layer.query, layer.key, layer.value, layer.output)
    assert relative_error(np.asarray(eqx.filter_jit(layer)(_tokens())) / 1e-6, eqx.filter_jit(linear)(_tokens())) < 1e-4


@pytest.mark.parametrize("unit_keys", [False, True])
def test_stepping_and_explaining_are_the_parallel_form(unit_keys):
    @eqx.filter_jit
    def every_form(layer, x):
        explained, diagnostics = layer.explain(x)
        merged = layer.merge(jnp.einsum("hts,shv->thv", diagnostics.attention, layer.split(x)[2]))
        return layer(x), layer.stream(layer.init_state(), x)[1], explained, merged

    y, stepped, explained, merged = every_form(_layer(unit_keys=unit_keys), _tokens())
    assert relative_error(stepped, y) < 1e-5
    assert relative_error(explained, y) < 1e-6
    assert relative_error(merged, y) < 1e-5


def test_the_future_does_not_reach_the_past():
    run, x = eqx.filter_jit(_layer()), _tokens()
    y, other = np.asarray(run(x)), np.asarray(run(np.concatenate([x[:20], x[20:21] + 1, x[21:]])))
    np.testing.assert_array_equal(other[:20], y[:20])
    assert np.abs(other[20:] - y[20:]).max() > 1e-2


@pytest.mark.whole
def test_bfloat16_over_many_tokens_is_finite():
    narrow = jax.tree.map(lambda w: jnp.asarray(np.asarray(w).astype(jnp.bfloat16)) if isinstance(w, jax.Array) else w, _layer())
    x = _tokens(4096).astype(jnp.bfloat16)
    y = jax.jit(lambda m, x: m(x))(narrow, x)
    gradient = jax.jit(jax.grad(lambda x: jnp.mean(narrow(x).astype(jnp.float32) ** 2)))(x)
    assert y.dtype == gradient.dtype == jnp.bfloat16
    assert np.isfinite(np.asarray(y, np.float32)).all()
    assert np.isfinite(np.asarray(gradient, np.float32)).all()
    assert relative_error(y, eqx.filter_jit(_layer())(x.astype(np.float32))) < 0.05


@pytest.mark.parametrize("strength", [1e-30, 1e-3, 1.0, 1000.0, 1e30])
def test_any_strength_is_the_start_of_a_learned_one(strength):
    layer = MesaAttention.create(4, strength=strength, key=jax.random.key(0))
    np.testing.assert_allclose(layer.regulariser("float32"), 1 / strength, rtol=1e-4)
