"""Each noise by width: a linear network against its closed forms, a ReLU network against one-neuron and infinite-width predictions, and networks trained by
gradient descent against the kernel models that they should approach."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.tangent.infinite_width import infinite_width_kernels
from mesocosm.analysis.tangent.kernel import kernel_block, of_module
from mesocosm.analysis.tangent.kernel_regression import dual_weights, gaussian_process, interpolation_weights, with_jitter
from mesocosm.analysis.tangent.variance_decomposition import (
    VarianceParts,
    function_noise_limit,
    linear_network_variances,
    single_neuron_prediction,
    variance_parts,
)
from mesocosm.learning.ensemble import EnsembleLearner, TrainedEnsemble, VariantName, arms_of, call, squared_error
from mesocosm.nn.tangent_parametrisation import TangentMLP
from mesocosm.studies.ensembles.config import LinearNetwork, Scaling, Wide
from mesocosm.studies.ensembles.kernels import JITTER, Draws, draw_networks, models_of, weights_of
from mesocosm.studies.interface import Context, Tables


class Problem(NamedTuple):
    """Points and labels, +1 and -1 in halves."""

    train: Float[Array, "n dim"]
    test: Float[Array, "t dim"]
    labels: Float[Array, " n"]


def draw_problem(config: Scaling | LinearNetwork, key: PRNGKeyArray) -> Problem:
    """Draw training points of unit norm and normal test points."""
    train_key, test_key = jax.random.split(key)
    train = jax.random.normal(train_key, (config.train, config.dim))
    labels = jnp.where(jnp.arange(config.train) < config.train / 2, 1.0, -1.0)
    return Problem(train / jnp.linalg.norm(train, axis=1, keepdims=True), jax.random.normal(test_key, (config.test, config.dim)), labels)


def means(parts: VarianceParts) -> VarianceParts:
    """Average over test points."""
    return VarianceParts(*(part.mean() for part in parts))


# --- a linear network -------------------------------------------------------------------------------------------------


class LinearMeasured(NamedTuple):
    """Variances found and predicted, means over test points."""

    found: VarianceParts
    predicted: VarianceParts


def measure_linear(config: LinearNetwork, context: Context) -> Tables:
    """Variances of one hidden layer without nonlinearity and their closed forms, one row per width and part."""
    results = [context.evaluate(Partial(linear_variances, config, width), context.keys("env"), context.keys("init")) for width in config.widths]
    parts = ("function", "kernel", "interaction", "function_interaction")
    found, predicted = (np.stack([np.stack([getattr(r[side], part) for part in parts], -1) for r in results], 1) for side in (0, 1))
    return {"linear": context.rows({"width": config.widths, "part": parts}, found=found, predicted=predicted)}


def linear_variances(config: LinearNetwork, width: int, data_key: PRNGKeyArray, member_key: PRNGKeyArray) -> LinearMeasured:
    """One replicate. f = a W x / sqrt(n d); its kernel needs only W^T W, W^T a and |a|^2."""
    problem = draw_problem(config, data_key)
    points = jnp.concatenate([problem.test, problem.train])

    def one(key: PRNGKeyArray) -> tuple[Array, Array]:
        drawn = jax.random.normal(key, (width, config.dim + 1))
        inner, a = drawn[:, :-1], drawn[:, -1]
        gram = (inner.T @ inner + (a @ a) * jnp.eye(config.dim)) / (width * config.dim)
        return points @ (inner.T @ a) / jnp.sqrt(width * config.dim), points @ gram @ problem.train.T

    start, kernel = jax.lax.map(one, jax.random.split(member_key, config.members), batch_size=500)
    mean = weights_of(points @ problem.train.T)
    found = means(variance_parts(models_of(Draws(start, kernel), mean, problem.labels)))
    closed = linear_network_variances(problem.test, problem.train, problem.labels, width)
    predicted = found._replace(**{name: getattr(closed, name).mean() for name in closed._fields})
    return LinearMeasured(found, predicted)


# --- a ReLU network ---------------------------------------------------------------------------------------------------


class Limits(NamedTuple):
    """Predictions for one replicate, means over test points: width times variance from one neuron, and variances at infinite width."""

    kernel: Array
    interaction: Array
    function: Array
    nngp: Array
    ntk_gp: Array


def measure_widths(config: Scaling, context: Context) -> Tables:
    """Variances of one hidden ReLU layer at each width, and their predictions."""
    results = [context.evaluate(Partial(width_variances, config, width), context.keys("env"), context.keys("init")) for width in config.widths]
    names = ("full", "function", "kernel", "interaction", "function_interaction")
    columns = {name: np.stack([getattr(r, name) for r in results], 1) for name in names}
    limits = context.evaluate(Partial(limits_of, config), context.keys("env"), context.keys("eval"))
    return {"widths": context.rows({"width": config.widths}, **columns), "limits": context.rows(**limits._asdict())}


def rectifiers(config: Scaling, width: int, key: PRNGKeyArray) -> TangentMLP:
    """One hidden ReLU layer without biases."""
    return TangentMLP.create(config.dim, 1, width=width, depth=1, key=key)


def width_variances(config: Scaling, width: int, data_key: PRNGKeyArray, member_key: PRNGKeyArray) -> VarianceParts:
    """One replicate at one width. The averaged kernel is the analytic one, which is the mean at any width for one hidden layer."""
    problem = draw_problem(config, data_key)
    kernel = infinite_width_kernels(jnp.concatenate([problem.test, problem.train]), problem.train, depth=1).ntk
    keys = jax.random.split(member_key, config.members)
    draws = draw_networks(Partial(rectifiers, config, width), keys, problem.test, problem.train, at_once=config.at_once)
    return means(variance_parts(models_of(draws, weights_of(kernel), problem.labels)))


def limits_of(config: Scaling, data_key: PRNGKeyArray, neuron_key: PRNGKeyArray) -> Limits:
    """One replicate."""
    problem = draw_problem(config, data_key)
    test, train = (infinite_width_kernels(x, problem.train, depth=1) for x in (problem.test, problem.train))
    prior = jnp.diagonal(infinite_width_kernels(problem.test, problem.test, depth=1).nngp)
    prior_ntk = jnp.diagonal(infinite_width_kernels(problem.test, problem.test, depth=1).ntk)
    ntk_train, nngp_train = (with_jitter(kernel, JITTER) for kernel in (train.ntk, train.nngp))
    mean = interpolation_weights(test.ntk, ntk_train)
    neuron = single_neuron_prediction(
        neuron_key, problem.test, problem.train, problem.labels, ntk_train=ntk_train, nngp_train=nngp_train, mean_weights=mean, samples=config.neurons
    )
    labels = problem.labels[:, None]
    return Limits(
        kernel=neuron.kernel.mean(),
        interaction=neuron.interaction.mean(),
        function=function_noise_limit(prior, test.nngp, nngp_train, mean).mean(),
        nngp=gaussian_process(test.nngp, nngp_train, prior, labels)[1].mean(),
        ntk_gp=gaussian_process(test.ntk, ntk_train, prior_ntk, labels)[1].mean(),
    )


# --- trained by gradient descent --------------------------------------------------------------------------------------

TRAINED: tuple[VariantName, ...] = ("gd", "gd-c", "gd-a")


class Distances(NamedTuple):
    """Root mean square distance of trained members from their kernel models, relative to the spread of the full kernel model."""

    gd: Array
    gd_c: Array
    gd_a: Array
    mismatched: Array


def train_wide(config: Wide, context: Context) -> Tables:
    """Train all variants by full-batch gradient descent; measure each one's distance from its kernel model, and gd's from that of gd-c."""
    problems = context.evaluate(Partial(draw_problem, config.problem), context.keys("env"))
    time = 2 * config.learning_rate * config.steps / config.problem.train  # of the flow on half the summed squared error
    rows = []
    for width in config.widths:
        learner = EnsembleLearner(
            Partial(rectifiers, config.problem, width),
            call,
            problems.train,
            problems.labels[:, :, None],
            arms_of(TRAINED),
            squared_error,
            optax.sgd,
            {"learning_rate": config.learning_rate},
            members=config.members,
            check_every=config.steps,
        )
        ensembles = context.fit(f"width-{width}", learner, config.steps, per_seed=True).model
        rows.append(context.evaluate(Partial(distances, time), ensembles, problems))
    return {"wide": context.rows({"width": config.widths}, **{name: np.stack([getattr(row, name) for row in rows], 1) for name in Distances._fields})}


def distances(time: float, ensemble: TrainedEnsemble, problem: Problem) -> Distances:
    """One replicate at one width. The kernel models are taken at the same training time, not in the limit, which flat directions never reach."""
    points, labels = jnp.concatenate([problem.test, problem.train]), problem.labels
    tests = len(problem.test)

    def draw(arrays: Any) -> Draws:
        function, params = of_module(eqx.combine(arrays, ensemble.static))
        return Draws(jax.vmap(lambda x: function(params, x)[0])(points), kernel_block(function, params, points, problem.train)[:, 0, :, 0])

    def learned(kernel: Array, residuals: Array) -> Array:
        dual = dual_weights(kernel[..., tests:, :], residuals[..., None], time=time)
        return (kernel[..., :tests, :] @ dual)[..., 0]

    draws, reference = jax.vmap(draw)(ensemble.drawn), draw(ensemble.reference)
    start, missing = draws.start[:, :tests], labels - draws.start[:, tests:]
    full = start + learned(draws.kernel, missing)
    kernel_noise = learned(draws.kernel, jnp.broadcast_to(labels, missing.shape))
    function_noise = start + learned(jnp.broadcast_to(reference.kernel, draws.kernel.shape), missing)
    gd, gd_c, gd_a = ensemble.outputs(problem.test)[..., 0]
    spread = jnp.sqrt(jnp.mean(jnp.var(full, axis=0)))

    def distance(found: Array, model: Array) -> Array:
        return jnp.sqrt(jnp.mean((found - model) ** 2)) / spread

    return Distances(distance(gd, full), distance(gd_c, kernel_noise), distance(gd_a, function_noise), distance(gd, kernel_noise))
