"""States of a gated recurrence from any start, with fewer recurrent gates than inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.nn.recurrences.cells import recurrent_states


def _cell(state, gates):
    """Two parts that mix, and two gates of which the last gets the drive alone."""
    first = jnp.tanh(gates[0] + state[1])
    return jnp.stack([first, jax.nn.sigmoid(gates[1]) * state[1] + state[0] * first])


def _by_a_loop(drive, recurrent, start):
    def step(state, drive):
        state = _cell(state, drive.at[0].add(recurrent @ state[0]))
        return state, state

    return jax.lax.scan(step, start, drive)[1]


@pytest.mark.whole
def test_states_and_gradients_from_any_start_are_those_of_a_loop():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        given = tuple(jnp.asarray(random.standard_normal(shape)) for shape in ((5, 2, 3), (3, 3), (2, 3)))

        def both(states):
            return jax.jit(lambda *p: (states(*p), jax.grad(lambda *p: jnp.sum(jnp.sin(states(*p))), (0, 1, 2))(*p)))(*given)

        ours, theirs = both(lambda *p: recurrent_states(_cell, *p)), both(_by_a_loop)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
        assert np.abs(ours[1][2]).max() > 1e-3
