"""The two orders of the diagonal recurrence against the sum written out, against each other, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn import associative_recurrence, linear_recurrence, sequential_recurrence

ORDERS = [sequential_recurrence, associative_recurrence, linear_recurrence]
every_order = jax.jit(lambda *given: [order(*given) for order in ORDERS])


def numbers(shape, *, complex_numbers, seed=0):
    random = np.random.default_rng(seed)
    drawn = random.standard_normal(shape)
    return drawn + 1j * random.standard_normal(shape) if complex_numbers else drawn


def written_out(decay, inputs, initial):
    """Step by step, in NumPy."""
    decay = np.broadcast_to(decay, inputs.shape)
    states, state = [], initial
    for factor, add in zip(decay, inputs, strict=True):
        state = factor * state + add
        states.append(state)
    return np.stack(states)


@pytest.mark.parametrize("complex_numbers", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("time", [1, 7, 300])
def test_every_order_is_the_recurrence(complex_numbers, per_step, time):
    n = 3
    decay = numbers((time, n) if per_step else (n,), complex_numbers=complex_numbers)
    decay = decay / np.maximum(1.0, np.abs(decay))
    inputs, initial = numbers((time, n), complex_numbers=complex_numbers, seed=1), numbers(n, complex_numbers=complex_numbers, seed=2)
    wanted = written_out(decay, inputs, initial)
    with jax.enable_x64(True):
        for found in every_order(decay, inputs, initial):
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)
    narrow = np.complex64 if complex_numbers else np.float32
    for found in every_order(*(x.astype(narrow) for x in (decay, inputs, initial))):
        assert found.dtype == narrow
        assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("per_step", [False, True])
def test_gradients_agree_with_finite_differences_and_each_other(per_step):
    decay = np.random.default_rng(0).uniform(0, 1, (9, 2) if per_step else 2)
    inputs, initial, weights = (numbers(s, complex_numbers=False, seed=i) for i, s in enumerate([(9, 2), (2,), (9, 2)]))

    @jax.jit
    def gradients(*given):
        return [jax.grad(lambda *given, f=f: jnp.sum(weights * f(*given)), argnums=(0, 1, 2))(*given) for f in ORDERS]

    def loss(change):
        changed = decay.copy()
        changed[(0,) * decay.ndim] += change
        return np.sum(weights * written_out(changed, inputs, initial))

    with jax.enable_x64(True):
        first, *others = gradients(decay, inputs, initial)
    for found in others:
        for a, b in zip(found, first, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    step = 1e-6
    np.testing.assert_allclose(np.asarray(first[0])[(0,) * decay.ndim], (loss(step) - loss(-step)) / (2 * step), rtol=1e-7)


def test_memory_of_one_is_a_sum_and_of_zero_the_newest_input():
    inputs = numbers((50, 2), complex_numbers=False)
    with jax.enable_x64(True):
        states = np.asarray(jax.jit(linear_recurrence)(np.array([1.0, 0.0]), inputs))
    np.testing.assert_allclose(states[-1, 0], inputs[:, 0].sum(), rtol=1e-13)
    assert (states[:, 1] == inputs[:, 1]).all()


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False)])
def test_the_order_is_that_of_the_device_on_which_it_runs(platform, loops):
    program = jax.jit(lambda g: linear_recurrence(jnp.ones(2), g)).trace(jnp.ones((5, 2))).lower(lowering_platforms=(platform,))
    assert ("stablehlo.while" in program.as_text()) == loops


@pytest.mark.parametrize("order", ORDERS)
def test_narrow_numbers_are_added_up_in_wide_ones(order):
    inputs = jnp.full((1000, 1), 1.0, jnp.bfloat16)
    found = jax.jit(order)(jnp.ones(1, jnp.bfloat16), inputs)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found[:, 0].astype(jnp.float32), np.arange(1, 1001), rtol=2**-8)


def test_decays_of_another_width_are_refused():
    with pytest.raises(Exception, match=r"3 channels, the inputs have 2|n"):
        linear_recurrence(jnp.ones(3), jnp.ones((4, 2)))
