from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import mesocosm.nn
from mesocosm.nn import RegressionSums, gated_linear_attention
from nn.dense_reference import dense_mesa, relative_error

gated_mesa = jax.jit(mesocosm.nn.gated_mesa, static_argnames=("steps", "chunk", "unroll"))


def _problem(time, key_dim, value_dim, dtype=np.float32, low=0.9):
    random = np.random.default_rng(0)
    query, key = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in random.standard_normal((2, time, key_dim)))
    value = random.standard_normal((time, value_dim))
    log_forget, input_gate = np.log(random.uniform(low, 0.999, time)), random.uniform(0.1, 1.0, time)
    return tuple(x.astype(dtype) for x in (query, key, value, log_forget, input_gate, np.linspace(0.5, 1.5, key_dim)))


@jax.jit
def _dense(query, key, value, log_forget, input_gate, regulariser):
    return dense_mesa(query, key, value, regulariser, log_forget, input_gate)


@pytest.mark.whole
def test_the_chunked_solve_is_the_dense_solve():
    with jax.enable_x64(True):
        query, key, value, log_forget, input_gate, _ = _problem(512, 64, 8, dtype=np.float64)
        problem = (query, key, value, log_forget, input_gate, np.full(64, 0.5))
        expected = _dense(*problem)
        narrow = [x.astype(np.float32) for x in problem]
        for chunk in (64, 512):
            assert relative_error(gated_mesa(*narrow, steps=30, tolerance=0.0, chunk=chunk).output, expected) < 1e-5


@pytest.mark.whole
@pytest.mark.parametrize("chunk", [1, 16])
def test_the_chunk_size_does_not_matter(chunk):
    problem = _problem(100, 8, 5)
    assert relative_error(gated_mesa(*problem, chunk=chunk, tolerance=0.0).output, gated_mesa(*problem, chunk=37, tolerance=0.0).output) < 1e-5


def test_without_gates_it_is_ridge_regression():
    with jax.enable_x64(True):
        query, key, value, _, _, regulariser = _problem(30, 8, 5, dtype=np.float64)
        ours = gated_mesa(query, key, value, None, None, regulariser, steps=20, tolerance=0.0).output
        assert relative_error(ours, _dense(query, key, value, np.zeros(30), np.ones(30), regulariser)) < 1e-8


def test_as_many_steps_as_channels_are_exact():
    with jax.enable_x64(True):
        problem = _problem(30, 8, 5, dtype=np.float64)
        assert relative_error(gated_mesa(*problem, steps=8, tolerance=0.0).output, _dense(*problem)) < 1e-10
        assert relative_error(gated_mesa(*problem, steps=3, tolerance=0.0).output, _dense(*problem)) > 1e-5


@pytest.mark.whole
def test_no_steps_from_the_query_are_gated_linear_attention_also_in_the_gradient():
    *qkvgb, regulariser = _problem(70, 8, 5)
    mesa = jax.jit(lambda *p: gated_mesa(*p, regulariser, steps=0, initial_guess=p[0], unroll=True, chunk=16).output)
    linear = jax.jit(lambda *p: gated_linear_attention(*p, chunk=70)[0])
    np.testing.assert_allclose(mesa(*qkvgb), linear(*qkvgb), atol=1e-5)
    ours, theirs = (jax.jit(jax.grad(lambda *p, f=f: jnp.sum(jnp.sin(f(*p))), (0, 1, 2, 3, 4)))(*qkvgb) for f in (mesa, linear))
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a, b) < 1e-4


@pytest.mark.parametrize("tolerance", [1e-1, 1e-4])
def test_every_row_stops_when_its_own_residual_is_small(tolerance):
    problem = _problem(120, 16, 4)
    result = gated_mesa(*problem, tolerance=tolerance)
    residual, steps = np.asarray(result.residual), np.asarray(result.steps)
    assert ((residual <= tolerance) | (steps == 30)).all()
    assert steps.min() < steps.max() < 30
    assert relative_error(result.output, _dense(*problem)) < 20 * tolerance


def test_rows_do_not_depend_on_other_systems_in_the_batch():
    query, *rest = _problem(40, 8, 5)
    alone = gated_mesa(query, *rest, tolerance=1e-2)
    harder = gated_mesa(np.concatenate([query[:20], query[20:] * 3 + 1]), *rest, tolerance=1e-2)
    (output, steps), (other_output, other_steps) = ((np.asarray(result.output), np.asarray(result.steps)) for result in (alone, harder))
    np.testing.assert_array_equal(output[:20], other_output[:20])
    np.testing.assert_array_equal(steps[:20], other_steps[:20])
    assert not np.array_equal(output[20:], other_output[20:])


@pytest.mark.parametrize(("time", "chunk"), [pytest.param(1, 64, marks=pytest.mark.slow), (45, 16), pytest.param(45, 45, marks=pytest.mark.slow)])
def test_the_closed_form_gradient_is_that_of_the_dense_solve(time, chunk):
    with jax.enable_x64(True):
        problem = _problem(time, 6, 4, dtype=np.float64, low=0.5)
        weights = np.random.default_rng(9).standard_normal((time, 4))
        ours = jax.jit(jax.grad(lambda *p: jnp.sum(weights * jnp.sin(gated_mesa(*p, tolerance=0.0, chunk=chunk).output)), tuple(range(6))))(*problem)
        theirs = jax.jit(jax.grad(lambda *p: jnp.sum(weights * jnp.sin(_dense(*p))), tuple(range(6))))(*problem)
        for a, b in zip(ours, theirs, strict=True):
            assert relative_error(a, b) < 1e-8 if np.abs(b).max() > 1e-12 else np.abs(a).max() < 1e-12


@pytest.mark.slow
def test_differentiating_through_the_steps_agrees_once_they_have_converged():
    with jax.enable_x64(True):
        problem = _problem(20, 5, 3, dtype=np.float64)

        def gradients(**settings):
            return jax.jit(jax.grad(lambda *p: jnp.sum(jnp.sin(gated_mesa(*p, tolerance=0.0, **settings).output)), tuple(range(6))))(*problem)

        converged, closed, truncated = gradients(steps=7, unroll=True), gradients(steps=7), gradients(steps=1, unroll=True)
        for a, b, c in zip(converged, closed, truncated, strict=True):
            assert relative_error(a, b) < 1e-6
            assert relative_error(c, b) > 1e-5


@pytest.mark.slow
def test_gradients_by_finite_differences_through_state_and_solution():
    with jax.enable_x64(True):
        problem = _problem(9, 3, 2, dtype=np.float64)
        root, cross = (np.random.default_rng(3).standard_normal(shape) for shape in ((3, 3), (2, 3)))

        def outputs(root, cross, *problem):
            result = gated_mesa(*problem, state=RegressionSums(root @ root.T, cross), tolerance=0.0, chunk=4)
            return result.output, result.solution, result.state

        check_grads(jax.jit(lambda *p: outputs(*map(jnp.asarray, p))), (root, cross, *problem), order=1, modes=["rev"])


@pytest.mark.parametrize("cut", [33])
def test_two_segments_are_one_run(cut):
    *tokens, regulariser = _problem(90, 8, 5)
    whole = gated_mesa(*tokens, regulariser, tolerance=0.0)
    first = gated_mesa(*(x[:cut] for x in tokens), regulariser, tolerance=0.0)
    second = gated_mesa(*(x[cut:] for x in tokens), regulariser, state=first.state, tolerance=0.0)
    assert relative_error(np.concatenate([first.output, second.output]), whole.output) < 1e-5
    assert relative_error(second.state.gram, whole.state.gram) < 1e-5


@pytest.mark.whole
def test_negative_forget_gates_are_those_of_the_recursion():
    """Token by token, with signed gates; values, gradients and two segments. Without the signs the result is another."""
    with jax.enable_x64(True):
        query, key, value, log_forget, input_gate, regulariser = map(jnp.asarray, _problem(20, 4, 3, dtype=np.float64, low=0.5))
        negative = jnp.asarray(np.random.default_rng(5).random(20) < 0.5)

        def recursion(query, key, value, log_forget):
            def step(sums, token):
                q, k, v, forget, gate = token
                sums = [forget * s + gate * x[:, None] * k for s, x in zip(sums, (k, v), strict=True)]
                return sums, sums[1] @ jnp.linalg.solve(sums[0] + jnp.diag(20 * regulariser), q)

            forget = jnp.where(negative, -1, 1) * jnp.exp(log_forget)
            return jax.lax.scan(step, [jnp.zeros((4, 4)), jnp.zeros((3, 4))], (query, key, value, forget, input_gate))[1]

        def ours(*p, part=slice(None), **state):
            return mesocosm.nn.gated_mesa(*p, input_gate[part], 20 * regulariser, negative=negative[part], tolerance=1e-14, chunk=6, **state)

        def with_gradients(solve):
            return jax.jit(lambda *p: (solve(*p), jax.grad(lambda *p: jnp.sum(jnp.sin(7 * solve(*p))), (0, 1, 2, 3))(*p)))

        given = (query, key, value, log_forget)
        found, wanted = (jax.tree.leaves(with_gradients(solve)(*given)) for solve in (lambda *p: ours(*p).output, recursion))
        for a, b in zip(found, wanted, strict=True):
            assert relative_error(a, b) < 1e-8
        first = ours(*(x[:13] for x in given), part=slice(13))
        second = ours(*(x[13:] for x in given), part=slice(13, 20), state=first.state)
        assert relative_error(second.output, wanted[0][13:]) < 1e-10
        assert relative_error(gated_mesa(*given, input_gate, 20 * regulariser).output, wanted[0]) > 0.1


def test_forgetting_everything_is_neither_nan_nor_overflow():
    query, key, value, log_forget, input_gate, regulariser = _problem(100, 6, 4)
    log_forget[50], log_forget[70:] = -np.inf, -60.0

    def loss(*p):
        output = gated_mesa(*p).output
        return jnp.sum(output**2), output

    problem = (query, key, value, log_forget, input_gate, regulariser)
    (value_after, output), gradients = jax.jit(jax.value_and_grad(loss, tuple(range(6)), has_aux=True))(*problem)
    assert np.isfinite(value_after)
    assert all(np.isfinite(g).all() for g in gradients)
    fresh = gated_mesa(query[50:], key[50:], value[50:], log_forget[50:], input_gate[50:], regulariser)
    assert relative_error(np.asarray(output)[50:], fresh.output) < 1e-4


def test_bfloat16_and_repeated_keys_over_many_tokens_are_finite():
    problem = _problem(4096, 16, 8)
    problem[1][1000:2000] = problem[1][0]
    narrow = [x.astype(jnp.bfloat16) for x in problem[:3]]

    def run(q, k, v):
        return gated_mesa(q, k, v, None, None, problem[5]).output

    output = jax.jit(run)(*narrow)
    gradient = jax.jit(jax.grad(lambda q, k, v: jnp.sum(run(q, k, v)), 1))(*narrow)
    assert output.dtype == gradient.dtype == jnp.bfloat16
    output, gradient = (np.asarray(x, np.float32) for x in (output, gradient))
    assert np.isfinite(output).all()
    assert np.isfinite(gradient).all()
    assert np.abs(output[3000:]).max() > 1e-3


@pytest.mark.parametrize("chunk", [7, 300])
def test_strong_forgetting_costs_the_later_tokens_no_digits(chunk):
    query, key, value, log_forget, input_gate, regulariser = _problem(300, 6, 4, dtype=np.float64)
    log_forget[::7], log_forget[100] = -90, 0
    problem = (query, key, value, log_forget, input_gate, regulariser)
    with jax.enable_x64(True):
        exact = np.concatenate([_dense(*(x[part] for x in problem[:5]), regulariser) for part in (slice(0, 100), slice(100, 300))])  # before the gate changes
    log_forget[100] = -np.inf
    narrow = [x.astype(np.float32) for x in problem]
    assert relative_error(gated_mesa(*narrow, tolerance=0.0, chunk=chunk).output, exact) < 3e-6
    linear = jax.jit(gated_linear_attention, static_argnames="chunk")
    whole, parts = linear(*narrow[:5], chunk=chunk)[0], linear(*(x[100:] for x in narrow[:5]), chunk=1)[0]
    assert relative_error(whole[100:], parts) < 3e-6


@pytest.mark.slow
def test_derivatives_of_any_order_and_mode_are_those_of_the_dense_solve():
    with jax.enable_x64(True):
        problem = tuple(map(jnp.asarray, _problem(8, 3, 2, dtype=np.float64, low=0.5)))
        moved = tuple(jnp.cos(7 * x) for x in problem)

        def every_kind(solve):
            def loss(*p):
                return jnp.sum(jnp.sin(solve(*p)))

            along = jax.jvp(loss, problem, moved)[1]
            twice = jax.jvp(lambda *p: jax.jvp(loss, p, moved)[1], problem, moved)[1]
            gradient = jax.grad(lambda *p: sum(jnp.sum(jnp.cos(x)) for x in jax.grad(loss, range(6))(*p)), range(6))
            forward = jax.vmap(lambda x: jax.jvp(loss, problem, (*problem[:5], x))[1])(jnp.eye(3))
            return along, twice, forward, *gradient(*problem)

        ours = jax.jit(lambda: every_kind(lambda *p: mesocosm.nn.gated_mesa(*p, tolerance=1e-14, chunk=3).output))()
        for a, b in zip(ours, jax.jit(lambda: every_kind(_dense))(), strict=True):
            assert relative_error(a, b) < 1e-8


@pytest.mark.whole
def test_the_residual_has_a_gradient_only_where_the_steps_do():
    query, *rest = _problem(5, 4, 3)

    def residual(query, **settings):
        return jnp.sum(gated_mesa(query, *rest, steps=2, **settings).residual)

    assert np.isnan(jax.grad(residual)(query)).all()
    assert np.isnan(jax.jvp(residual, (query,), (query,))[1])
    moved = np.random.default_rng(1).standard_normal(query.shape).astype(np.float32)
    differences = (residual(query + 1e-2 * moved, unroll=True) - residual(query - 1e-2 * moved, unroll=True)) / 2e-2
    np.testing.assert_allclose(jnp.sum(jax.grad(partial(residual, unroll=True))(query) * moved), differences, rtol=0.02)
    assert abs(differences) > 1e-4


def test_a_start_given_by_the_caller_has_no_derivative():
    query, *rest = _problem(5, 4, 3)
    gradient = jax.grad(lambda guess: jnp.sum(gated_mesa(query, *rest, initial_guess=guess, steps=2).output))(query)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(("argument", "value"), [(3, 0.1), (4, -0.1), (5, 0.0), *((n, np.inf) for n in (3, 4, 5)), *((n, np.nan) for n in (3, 4, 5))])
def test_a_gate_or_regulariser_that_has_the_wrong_sign_or_is_no_number_is_refused(argument, value):
    problem = list(map(jnp.asarray, _problem(10, 4, 3)))
    problem[argument] = jnp.full_like(problem[argument], value)
    with pytest.raises(ValueError, match=r"must be (at most 0|at least 0 and finite|above 0 and finite), got"):
        mesocosm.nn.gated_mesa(*problem)


def test_a_wrong_chunk_or_step_count_is_named():
    problem = _problem(10, 4, 3)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        gated_mesa(*problem, chunk=0)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        gated_mesa(*problem, steps=-1)


def test_a_solver_step_costs_a_multiple_of_the_squared_key_size_per_token():
    """Operations as the compiler counts them, for one chunk of 8 tokens; a Newton-Schulz step for each token would cost the cube."""

    def operations(size, steps):
        tokens = (jnp.ones((8, size)),) * 3
        layer = jax.jit(lambda q, k, v: mesocosm.nn.gated_mesa(q, k, v, None, None, jnp.ones(size), steps=steps, unroll=True, chunk=8).solution)
        return layer.lower(*tokens).compile().cost_analysis()["flops"]

    small, large = (operations(size, 1) - operations(size, 0) for size in (32, 128))
    assert 1.5 < np.log(large / small) / np.log(4) < 2.2
