import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mesocosm.tasks.linear_systems import LinearSystems
from mesocosm.tasks.task import batch, digest


def test_batch_is_independent_single_samples():
    task = LinearSystems.orthogonal(dim=3, length=4)
    key = jax.random.key(0)
    observations = np.asarray(jax.jit(batch, static_argnums=2)(task, key, 5).observations)
    assert observations.shape == (5, 5, 3)
    sample = jax.jit(task.sample)
    for index, one_key in enumerate(jax.random.split(key, 5)):
        np.testing.assert_allclose(observations[index], sample(one_key).observations, rtol=1e-5, atol=1e-6)
    assert len({digest(row) for row in observations}) == 5


def test_numbers_are_leaves_and_sizes_are_not():
    traces = []

    @jax.jit
    def draw(task, key):
        traces.append(None)
        return task.sample(key).observations

    key = jax.random.key(0)
    quiet, loud = draw(LinearSystems.orthogonal(dim=3, length=4, noise=0.0), key), draw(LinearSystems.orthogonal(dim=3, length=4, noise=0.5), key)
    assert len(traces) == 1
    assert np.abs(np.asarray(quiet) - np.asarray(loud)).max() > 0.1
    assert draw(LinearSystems.orthogonal(dim=3, length=6), key).shape == (7, 3)
    assert len(traces) == 2


@settings(deadline=None)
@given(arrays(np.float32, (3, 2), elements=st.floats(-4, 4, width=32)), st.integers(0, 2), st.integers(0, 1))
def test_digest_sees_every_number(array, row, column):
    changed = array.copy()
    changed[row, column] += 1
    assert digest(array) == digest(array.copy()) == digest(jnp.asarray(array)) == digest(np.asfortranarray(array))
    assert digest(changed) != digest(array)


def test_digest_sees_shape_dtype_and_order_but_not_byte_order_or_names():
    array = np.arange(6, dtype=np.float32)
    assert digest(array.reshape(2, 3)) != digest(array.reshape(3, 2))
    assert digest(array.astype(np.float16)) != digest(array)
    assert digest(np.zeros(2, np.int32)) != digest(np.zeros(2, np.float32))
    assert digest((array, array + 1)) != digest((array + 1, array))
    assert digest(array.astype(">f4")) == digest(array)
    assert digest({"a": array}) == digest([array])
    assert digest(jax.random.key(0)) != digest(jax.random.key(1))


def test_digest_is_a_known_number():
    """A published record stays comparable: SHA-256 of `<f4(2,);` and the eight bytes of 1 and 2."""
    assert digest(np.array([1.0, 2.0], np.float32)) == "a33fc961eaf85056"


def test_a_task_without_the_split_says_so():
    with pytest.raises(ValueError, match="no split ood"):
        batch(LinearSystems.orthogonal(dim=2, length=2), jax.random.key(0), 2, "ood")
