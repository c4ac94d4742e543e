import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import InverseSeries, ResidualStack, gradient_descent_attention, gradient_descent_tokens, previous_observations, series_weights
from nn.dense_reference import relative_error


def _sequence(time, n):
    """s_{t+1} = W s_t with W orthogonal."""
    random = np.random.default_rng(0)
    teacher = np.linalg.qr(random.standard_normal((n, n)))[0]
    s = [random.uniform(-1.0, 1.0, n)]
    for _ in range(time - 1):
        s.append(teacher @ s[-1])
    return np.stack(s).astype(np.float32), teacher


def _run(series, s):
    """The tokens, the stream behind the layers, and what stands in block 1 of it."""

    @jax.jit
    def run(s):
        stream = ResidualStack(series.layers())(series.tokens(s))
        return series.tokens(s), stream, series.block(stream, 1)

    return run(s)


@pytest.mark.parametrize(("x64", "bound"), [(False, 1e-5), (True, 1e-12)])
def test_one_head_is_one_gradient_step(x64, bound):
    with jax.enable_x64(x64):
        n, time, step_size = 4, 15, 0.03
        random = np.random.default_rng(1)
        dtype = np.float64 if x64 else np.float32
        s, initial_map = random.standard_normal((time, n)).astype(dtype), (random.standard_normal((n, n)) / n).astype(dtype)

        def loss(phi, s, t):
            return 0.5 * jnp.sum(jnp.where(jnp.arange(time - 1)[:, None] < t, s[1:] - s[:-1] @ phi.T, 0) ** 2)

        @jax.jit
        def both(s, initial_map):
            tokens = gradient_descent_tokens(s, initial_map)
            updated = ResidualStack((gradient_descent_attention(n, step_size, initial_map),))(tokens)
            return tokens, updated, jax.vmap(jax.grad(loss), in_axes=(None, None, 0))(initial_map, s, jnp.arange(time))

        tokens, updated, gradients = map(np.asarray, both(s, initial_map))
        expected = np.einsum("tij,tj->ti", initial_map - step_size * gradients, s)
        np.testing.assert_allclose(updated[:, :n], expected, atol=bound)
        np.testing.assert_array_equal(updated[:, n:], tokens[:, n:])


def test_a_step_from_zero_always_points_at_the_next_observation():
    n, time = 5, 20
    s, teacher = _sequence(time + 1, n)
    prediction = np.asarray(jax.jit(lambda s: gradient_descent_attention(n, 0.1)(gradient_descent_tokens(s, jnp.zeros((n, n)))))(s))[:, :n]
    powers = [np.linalg.matrix_power(np.asarray(teacher, np.float64), j) for j in range(time)]
    first = np.asarray(s[0], np.float64)
    for t in range(2, time + 1):
        expected = 0.1 * sum((first @ powers[j] @ first) ** 2 for j in range(1, t))
        np.testing.assert_allclose(prediction[t - 1] @ s[t], expected, rtol=1e-4, atol=1e-6)


def _gram(s, t, ridge):
    """A_t for 0-based t: the observations before position t."""
    before = np.asarray(s[:t], np.float64)
    return before.T @ before + ridge * np.eye(s.shape[1])


def _polynomial(gram, step_sizes, momentum, norm):
    """The reference algorithm, as matrices."""
    gram = gram / norm
    x = term = before = np.eye(len(gram))
    for alpha, beta in zip(step_sizes, momentum, strict=True):
        term = term @ (np.eye(len(gram)) - alpha * gram)
        x, before = x + term + beta * (x - before), x
    return x / norm


STEPS = [0.9, 1.1, 1.3, 0.7, 1.0]


@pytest.mark.parametrize("momentum", [[0.0] * 5, [0.3, 0.5, -0.2, 0.1, 0.4]], ids=["plain", "momentum"])
def test_a_stack_is_the_truncated_series_at_every_position(momentum):
    n, time, ridge = 4, 12, 0.2
    s = _sequence(time, n)[0]
    norm = float(np.linalg.norm(_gram(s, time, ridge), 2))
    series = InverseSeries(n, STEPS, series_weights(momentum), ridge=ridge, norm=norm)
    tokens, stream, approximation = _run(series, s)
    expected = np.stack([_polynomial(_gram(s, t, ridge), STEPS, momentum, norm) @ np.asarray(s[t], np.float64) for t in range(time)])
    assert relative_error(approximation, expected) < 1e-5
    np.testing.assert_array_equal(np.asarray(stream)[:, 3 * n :], np.asarray(tokens)[:, 3 * n :])


def test_richardson_iteration_is_a_choice_of_weights():
    n, time, ridge, omega = 4, 12, 0.2, [0.08, 0.15, 0.05, 0.1]
    s = _sequence(time, n)[0]
    series = InverseSeries(n, omega[:-1], omega, ridge=ridge, norm=1.0)
    got = np.asarray(_run(series, s)[2])
    for t in range(time):
        x = np.zeros(n)
        for w in omega:
            x = x + w * (np.asarray(s[t], np.float64) - _gram(s, t, ridge) @ x)
        np.testing.assert_allclose(got[t], x, atol=1e-5)


def test_deeper_is_closer_to_the_inverse_and_one_more_layer_predicts():
    with jax.enable_x64(True):
        n, time, ridge = 3, 9, 0.5
        s, depth = np.random.default_rng(5).standard_normal((time, n)), 300
        norm = float(np.linalg.norm(_gram(s, time, ridge), 2))
        exact = np.stack([np.linalg.solve(_gram(s, t, ridge), s[t]) for t in range(time)])
        series = InverseSeries(n, [1.0] * depth, ridge=ridge, norm=norm)

        @jax.jit
        def run(layers, tokens):
            stream, _ = jax.lax.scan(lambda e, layer: (e + layer(e), None), tokens, layers)
            return series.block(stream, 1), series.block(stream + series.prediction_layer()(stream), 0)

        def through(series):
            """Layers of zeros, which add nothing, follow its own: one program for all depths."""
            layers = series.layers()
            stacked = jax.tree.map(lambda *w: np.concatenate([np.stack(w), np.zeros((depth - len(w), *w[0].shape))]), *layers)
            return map(np.asarray, run(stacked, series.tokens(jnp.asarray(s))))

        errors = []
        for k in (1, 2, 4, 8, 16):
            approximation, _ = through(InverseSeries(n, [1.0] * k, ridge=ridge, norm=norm))
            errors.append(np.linalg.norm(approximation - exact))
        assert all(later < earlier for earlier, later in itertools.pairwise(errors))

        approximation, prediction = through(series)
        np.testing.assert_allclose(approximation, exact, rtol=1e-4, atol=1e-8)
        before = np.asarray(previous_observations(jnp.asarray(s)))
        for t in range(time):
            ridge_map = s[: t + 1].T @ before[: t + 1] @ np.linalg.inv(_gram(s, t, ridge))
            np.testing.assert_allclose(prediction[t], ridge_map @ s[t], rtol=1e-3, atol=1e-6)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="2 step sizes make 3 terms, got 2 weights"):
        InverseSeries(3, [1.0, 1.0], [1.0, 1.0], ridge=0.1, norm=1.0)
    with pytest.raises(ValueError, match=r"ridge 1\.0 equals the norm 1\.0"):
        InverseSeries(3, [1.0], ridge=1.0, norm=1.0)
