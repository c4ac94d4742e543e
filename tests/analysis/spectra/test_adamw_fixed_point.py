"""Where AdamW rests: the closed forms against optax's own AdamW run until it stands still, and against SciPy's minimum of the barrier."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from mesocosm.analysis.spectra.adamw_fixed_point import Line, barrier, fixed_point_error, gradient_at_rest

LINE, DECAY, EPSILON = Line((2.0, 1.0), 1.0), 0.05, 1.0


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def point(factored, parameters):
    return parameters[0] * parameters[1] if factored else parameters[0]


def descend(rule, factored, decay=DECAY, epsilon=EPSILON, steps=60_000):
    """optax's AdamW, or its Adam on the loss with L2 of strength epsilon times decay; (the point, the error of the fixed point)."""
    if rule == "adamw":
        optimizer = optax.adamw(3e-2, eps=epsilon, weight_decay=decay)
    else:
        optimizer = optax.chain(optax.add_decayed_weights(epsilon * decay), optax.adam(3e-2, eps=epsilon))
    slope = jax.grad(lambda p: LINE.loss(point(factored, p)))

    def step(carry, _):
        p, state = carry
        updates, state = optimizer.update(slope(p), state, p)
        return (optax.apply_updates(p, updates), state), None

    @jax.jit
    def run(p):
        (p, _), _ = jax.lax.scan(step, (p, optimizer.init(p)), None, length=steps)
        return point(factored, p), jnp.max(fixed_point_error(p, slope(p), decay, epsilon))

    start = jnp.array([[0.5, 0.6], [0.4, 0.7]] if factored else [[0.5, 0.6]])
    return map(np.asarray, run(start))


@pytest.mark.parametrize("factored", [False, True])
def test_adamw_and_adam_with_l2_rest_where_the_closed_forms_say(factored):
    found, error = descend("adamw", factored)
    told = LINE.rest(DECAY, EPSILON, rule="adamw", factored=factored)
    np.testing.assert_allclose(found, told, atol=1e-6)
    assert error < 1e-6
    plain, _ = descend("adam_l2", factored)
    np.testing.assert_allclose(plain, LINE.rest(DECAY, EPSILON, rule="adam_l2", factored=factored), atol=2e-4)
    assert np.linalg.norm(plain - found) < 0.02 * np.linalg.norm(found)  # the paper's equivalence
    if factored:
        assert told[1] == 0
    else:
        assert told[1] == pytest.approx(told[0] / 2, rel=0.01)  # the L2-nearest point lies along the slope


def test_the_equivalence_needs_small_weights_beside_the_inverse_decay():
    """At decay 1, AdamW's point is no longer that of L2 of strength epsilon times decay."""
    given = {"decay": 1.0, "epsilon": 0.01, "factored": False}
    adamw, plain = (LINE.rest(rule=rule, **given) for rule in ("adamw", "adam_l2"))
    np.testing.assert_allclose(adamw, [0.379, 0.234], atol=2e-3)
    np.testing.assert_allclose(plain, [0.398, 0.199], atol=2e-3)


@pytest.mark.whole
def test_rest_is_the_minimum_of_the_loss_with_the_barrier():
    """SciPy finds it without knowing Adam."""
    for factored in (False, True):

        def objective(p, factored=factored):
            return float(LINE.loss(point(factored, jnp.asarray(p).reshape(-1, 2)))) + float(barrier(jnp.asarray(p), 0.4, 0.3))

        start = np.full(4 if factored else 2, 0.5) + 0.1 * np.arange(4 if factored else 2)
        found = minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000}).x.reshape(-1, 2)
        np.testing.assert_allclose(point(factored, found), LINE.rest(0.4, 0.3, rule="adamw", factored=factored), atol=1e-5)


def test_the_gradient_at_rest_is_the_barriers_slope_and_has_no_error():
    weights = jnp.array([-1.5, -0.2, 0.0, 0.3, 1.9])
    gradient = gradient_at_rest(weights, 0.5, 0.1)
    np.testing.assert_allclose(gradient, -jax.grad(barrier)(weights, 0.5, 0.1), atol=1e-12)
    np.testing.assert_allclose(fixed_point_error(weights, gradient, 0.5, 0.1), 0, atol=1e-12)
    assert np.isnan(gradient_at_rest(jnp.array(2.0), 0.5, 0.1))
    assert np.isinf(barrier(jnp.array([2.0]), 0.5, 0.1))
    small = 1e-4 * weights
    assert barrier(small, 0.5, 0.1) == pytest.approx(0.1 * 0.5 / 2 * float(jnp.sum(small**2)), rel=1e-3)


def test_what_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"must be positive, not \(2.0, -1.0\)"):
        Line((2.0, -1.0), 1.0).rest(DECAY, EPSILON, rule="adamw", factored=False)
