"""Evaluation sequences, and the losses of gradient descent, ridge regression and polynomials on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from mesocosm.analysis.in_context.regression import ChebyshevInverse, fit_inverse, gradient_step, least_squares, line_search
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.mesa.config import Evaluation, Systems
from mesocosm.tasks.linear_systems import LinearSystems
from mesocosm.tasks.task import batch, digest

GROUPS = 64


@dataclass(frozen=True)
class References:
    """Reference predictors: in-context regression without a network."""

    systems: Systems
    evaluation: Evaluation
    steps: int = 6


class Sequences(NamedTuple):
    """Evaluation data of one seed.

    Attributes:
        test: for measuring losses.
        tuning: for searching step sizes, fitting polynomials and fitting probes.
    """

    test: Array
    tuning: Array


def draw_sequences(evaluation: Evaluation, task: LinearSystems, key: PRNGKeyArray) -> Sequences:
    """Draw observations, shape (sequences, length + 1, dim)."""
    test_key, tuning_key = jax.random.split(key)
    test, tuning = (batch(task, k, n, "iid") for k, n in ((test_key, evaluation.sequences), (tuning_key, evaluation.tuning_sequences)))
    return Sequences(test.observations, tuning.observations)


def sequence_losses(predictor: Any, observations: Float[Array, "batch time_plus_1 dim"]) -> Float[Array, "batch time"]:
    """Half the squared error of every sequence at every position, computed for 128 sequences at a time."""

    def one(states: Float[Array, "time_plus_1 dim"]) -> Float[Array, " time"]:
        return 0.5 * jnp.sum((predictor(states[:-1]) - states[1:]) ** 2, axis=-1)

    return jax.lax.map(one, observations, batch_size=128)


def group_means(losses: Shaped[np.ndarray, "*arms sequences"]) -> Shaped[np.ndarray, "*arms groups"]:
    """Mean losses of at most 64 groups of test sequences: enough for the standard error of a paired difference, and few enough to be stored."""
    groups = np.array_split(losses, min(GROUPS, losses.shape[-1]), axis=-1)
    return np.stack([group.mean(-1) for group in groups], axis=-1)


def step_predictor(step_size: Array, inputs: Array) -> Array:
    """`gradient_step` with the step size as first argument."""
    return gradient_step(inputs, step_size)


def orthogonal_systems(systems: Systems) -> LinearSystems:
    """The main task: orthogonal systems."""
    return LinearSystems.orthogonal(systems.dim, length=systems.length, noise=systems.noise)


class ReferenceLosses(NamedTuple):
    """Half the squared errors on the test sequences, (sequences, time)."""

    ridge: Array
    ridge_without_last_pair: Array
    gradient_step: Array


def measure_references(config: References, context: Context) -> Tables:
    """Losses of a gradient step and of ridge regression, with and without the newest pair (the authors' code leaves it out)."""
    losses = context.evaluate(Partial(_reference_losses, config), shared=(context.evaluation_key,))
    positions = {"position": range(1, config.systems.length + 1)}
    return {"reference_position_loss": context.rows(positions, **{name: values.mean(1) for name, values in losses._asdict().items()})}


def _reference_losses(config: References, key: PRNGKeyArray) -> ReferenceLosses:
    sequences = draw_sequences(config.evaluation, orthogonal_systems(config.systems), key)
    return ReferenceLosses(
        sequence_losses(least_squares, sequences.test),
        sequence_losses(lambda inputs: least_squares(inputs, include_last_pair=False), sequences.test),
        sequence_losses(Partial(step_predictor, line_search(sequences.tuning)), sequences.test),
    )


def measure_polynomials(config: References, context: Context) -> Tables:
    """Losses of polynomials of one to six steps in place of the inverse: learned, fitted for each replicate, and the Neumann series from which it starts.

    The series is scaled by each Gram matrix's own norm: with the fixed norm of the authors' code, it diverges on rare sequences, which then make up its mean.
    """
    sequences = context.evaluate(Partial(draw_sequences, config.evaluation), shared=(orthogonal_systems(config.systems), context.evaluation_key))
    losses = context.evaluate(Partial(_polynomial_losses, config), sequences, context.keys("init"))
    learned, neumann = map(group_means, losses)
    axes = {"steps": range(1, config.steps + 1), "group": range(1, 1 + learned.shape[-1])}
    return {"polynomial": context.rows(axes, digest=[digest(test) for test in sequences.test], learned=learned, neumann=neumann)}


def _polynomial_losses(config: References, sequences: Sequences, seed_key: PRNGKeyArray) -> tuple[Array, Array]:
    """Mean over positions, (steps, sequences). Leaves out the newest pair, as the authors' code does for these curves."""

    def losses(inverse: Any) -> Array:
        return sequence_losses(lambda inputs: least_squares(inputs, inverse, include_last_pair=False), sequences.test).mean(-1)

    def fitted(steps: int) -> Any:
        start = ChebyshevInverse.neumann(steps)
        return fit_inverse(start, sequences.tuning, seed_key, steps=config.evaluation.polynomial_steps, include_last_pair=False)[0]

    degrees = range(1, config.steps + 1)
    return jnp.stack([losses(fitted(k)) for k in degrees]), jnp.stack([losses(ChebyshevInverse.neumann(k)) for k in degrees])
