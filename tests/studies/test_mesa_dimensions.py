"""The sweep over dimensions: its ridge regression is the dense one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mesocosm.analysis.in_context.regression import least_squares, softmax_regression
from mesocosm.studies.mesa.config import Dimensions
from mesocosm.studies.mesa.dimensions import _losses, ridge_regression
from mesocosm.tasks.linear_systems import LinearSystems, next_token_loss


@pytest.mark.whole
def test_the_mesa_layers_recursion_is_ridge_regression_in_context():
    states = LinearSystems.orthogonal(4, length=20).sample(jax.random.key(0)).observations
    for ridge in (1e-3, 2.0):
        np.testing.assert_allclose(ridge_regression(states[:-1], jnp.float32(ridge)), least_squares(states[:-1], ridge=ridge), atol=2e-4)


@pytest.mark.whole
def test_losses_are_per_component_at_the_parameters_found_on_other_sequences():
    """Whatever the test sequences are, the parameters are the same; and test losses at them are those of the two predictors."""
    task, key = LinearSystems.orthogonal(3, length=12), jax.random.key(0)
    few, many = (jax.jit(lambda key, n=n: _losses(Dimensions(sequences=n, tuning_sequences=16, values=12), 3, key, task))(key) for n in (1, 8))
    np.testing.assert_array_equal([few.ridge, few.inverse_temperature], [many.ridge, many.inverse_temperature])
    inputs, targets = many.test[:, :-1], many.test[:, 1:]
    ridge = jax.vmap(lambda s: least_squares(s, ridge=many.ridge))(inputs)
    kernel = jax.vmap(lambda s: softmax_regression(s, many.inverse_temperature))(inputs)
    for found, predicted in ((many.least_squares, ridge), (many.kernel, kernel)):
        np.testing.assert_allclose(found, next_token_loss(predicted, targets) / 3, rtol=1e-2)
