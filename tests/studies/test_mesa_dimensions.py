"""The sweep over dimensions: its ridge regression is the dense one."""

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.analysis.in_context.regression import least_squares
from mesocosm.studies.mesa.dimensions import ridge_regression
from mesocosm.tasks.linear_systems import LinearSystems


def test_the_mesa_layers_recursion_is_ridge_regression_in_context():
    states = LinearSystems.orthogonal(4, length=20).sample(jax.random.key(0)).observations
    for ridge in (1e-3, 2.0):
        np.testing.assert_allclose(ridge_regression(states[:-1], jnp.float32(ridge)), least_squares(states[:-1], ridge=ridge), atol=2e-4)
