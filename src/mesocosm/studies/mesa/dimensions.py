"""Ridge regression and softmax-kernel regression in context, over the systems' dimension and noise, without training."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.in_context.regression import grid_search, softmax_regression
from mesocosm.nn import previous_observations, recursive_least_squares
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import Dimensions
from mesocosm.tasks.linear_systems import LinearSystems
from mesocosm.tasks.task import batch, digest

_UNBOUNDED = 1e6


class RegressionLosses(NamedTuple):
    """Test losses per component, the parameters that were found, and the test sequences."""

    least_squares: Array
    kernel: Array
    ridge: Array
    inverse_temperature: Array
    test: Array


def measure_dimensions(config: Dimensions, context: Context) -> Tables:
    """Losses of both algorithms on sequences of four times the dimension. Each replicate draws its own systems."""
    rows = []
    for dim in config.dims:
        for noise in config.noises:
            task = LinearSystems.orthogonal(dim, length=4 * dim, noise=jnp.float32(noise), clip=_UNBOUNDED)
            found = context.evaluate(Partial(_losses, config, dim), context.keys("data"), shared=(task,))
            columns = {name: values for name, values in found._asdict().items() if name != "test"}
            rows.append(context.rows(dim=dim, noise=noise, digest=[digest(test) for test in found.test], **columns))
    return {"dimension": pl.concat(rows)}


def ridge_regression(inputs: Float[Array, "time dim"], ridge: Float[Array, ""]) -> Float[Array, "time dim"]:
    """`analysis.in_context.regression.least_squares` by the mesa layer's recursion, whose work per token is quadratic in the dimension."""
    return recursive_least_squares(inputs, previous_observations(inputs), inputs, jnp.full(inputs.shape[1], ridge))


def _losses(config: Dimensions, dim: int, key: PRNGKeyArray, task: LinearSystems) -> RegressionLosses:
    """Both parameters are searched on other sequences (the paper: on the test sequences), over values evenly spaced in the logarithm. The paper's are in steps
    of 0.25 and 0.1, among which noisy systems of many dimensions find no small inverse temperature but 0."""
    test_key, tuning_key = jax.random.split(key)
    test, tuning = (batch(task, k, n, "iid").observations for k, n in ((test_key, config.sequences), (tuning_key, config.tuning_sequences)))

    def tuned(predictor: Callable[[Array, Array], Array], largest: float) -> tuple[Array, Array]:
        values = jnp.geomspace(1e-4, largest, config.values)
        best = values[jnp.argmin(grid_search(predictor, values, tuning))]
        return grid_search(predictor, best[None], test)[0] / dim, best

    (least_squares, ridge), (kernel, inverse_temperature) = tuned(ridge_regression, 10.0), tuned(softmax_regression, 4.0)
    return RegressionLosses(least_squares, kernel, ridge, inverse_temperature, test)
