import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import InverseSeries, ResidualStack, gradient_descent_attention, gradient_descent_tokens, previous_observations, series_weights
from nn.dense_reference import relative_error


def _sequence(time, n, dtype=jnp.float32, seed=0):
    """s_{t+1} = W s_t with W orthogonal."""
    rotation, start = jax.random.split(jax.random.key(seed))
    teacher = jnp.linalg.qr(jax.random.normal(rotation, (n, n), dtype))[0]
    s = [jax.random.uniform(start, (n,), dtype, -1.0, 1.0)]
    for _ in range(time - 1):
        s.append(teacher @ s[-1])
    return jnp.stack(s), teacher


@pytest.mark.parametrize(("x64", "bound"), [(False, 1e-5), (True, 1e-12)])
def test_one_head_is_one_gradient_step(x64, bound):
    with jax.enable_x64(x64):
        n, time, step_size = 4, 15, 0.03
        s = jax.random.normal(jax.random.key(1), (time, n))
        initial_map = jax.random.normal(jax.random.key(2), (n, n)) / n
        tokens = gradient_descent_tokens(s, initial_map)
        updated = ResidualStack((gradient_descent_attention(n, step_size, initial_map),))(tokens)

        def loss(phi, t):
            return 0.5 * jnp.sum(jnp.where(jnp.arange(time - 1)[:, None] < t, s[1:] - s[:-1] @ phi.T, 0) ** 2)

        gradients = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(initial_map, jnp.arange(time))
        expected = jnp.einsum("tij,tj->ti", initial_map - step_size * gradients, s)
        np.testing.assert_allclose(updated[:, :n], expected, atol=bound)
        assert jnp.array_equal(updated[:, n:], tokens[:, n:])


def test_a_step_from_zero_always_points_at_the_next_observation():
    n, time = 5, 20
    s, teacher = _sequence(time + 1, n)
    prediction = gradient_descent_attention(n, 0.1)(gradient_descent_tokens(s, jnp.zeros((n, n))))[:, :n]
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
    stream = ResidualStack(series.layers())(series.tokens(s))
    expected = np.stack([_polynomial(_gram(s, t, ridge), STEPS, momentum, norm) @ np.asarray(s[t], np.float64) for t in range(time)])
    assert relative_error(series.block(stream, 1), expected) < 1e-5
    assert jnp.array_equal(stream[:, 3 * n :], series.tokens(s)[:, 3 * n :])


def test_richardson_iteration_is_a_choice_of_weights():
    n, time, ridge, omega = 4, 12, 0.2, [0.08, 0.15, 0.05, 0.1]
    s = _sequence(time, n)[0]
    series = InverseSeries(n, omega[:-1], omega, ridge=ridge, norm=1.0)
    got = series.block(ResidualStack(series.layers())(series.tokens(s)), 1)
    for t in range(time):
        x = np.zeros(n)
        for w in omega:
            x = x + w * (np.asarray(s[t], np.float64) - _gram(s, t, ridge) @ x)
        np.testing.assert_allclose(got[t], x, atol=1e-5)


def test_deeper_is_closer_to_the_inverse_and_one_more_layer_predicts():
    with jax.enable_x64(True):
        n, time, ridge = 3, 9, 0.5
        s = jax.random.normal(jax.random.key(5), (time, n), jnp.float64)
        norm = float(np.linalg.norm(_gram(s, time, ridge), 2))
        exact = np.stack([np.linalg.solve(_gram(s, t, ridge), np.asarray(s[t])) for t in range(time)])
        series = InverseSeries(n, [1.0] * 300, ridge=ridge, norm=norm)
        errors = []
        for k in (1, 2, 4, 8, 16):
            part = InverseSeries(n, [1.0] * k, ridge=ridge, norm=norm)
            errors.append(np.linalg.norm(part.block(ResidualStack(part.layers())(part.tokens(s)), 1) - exact))
        assert all(later < earlier for earlier, later in itertools.pairwise(errors))

        layers = series.layers()
        stacked = jax.tree.map(lambda *w: jnp.stack(w), *layers)
        stream, _ = jax.lax.scan(lambda e, layer: (e + layer(e), None), series.tokens(s), stacked)
        np.testing.assert_allclose(series.block(stream, 1), exact, rtol=1e-4, atol=1e-8)
        prediction = series.block(stream + series.prediction_layer()(stream), 0)
        before = np.asarray(previous_observations(s))
        for t in range(time):
            ridge_map = np.asarray(s[: t + 1]).T @ before[: t + 1] @ np.linalg.inv(_gram(s, t, ridge))
            np.testing.assert_allclose(prediction[t], ridge_map @ np.asarray(s[t]), rtol=1e-3, atol=1e-6)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="2 step sizes make 3 terms, got 2 weights"):
        InverseSeries(3, [1.0, 1.0], [1.0, 1.0], ridge=0.1, norm=1.0)
    with pytest.raises(ValueError, match=r"ridge 1\.0 equals the norm 1\.0"):
        InverseSeries(3, [1.0], ridge=1.0, norm=1.0)
