"""In-context regressors: trained on prompts and compared with the best gradient step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.in_context.polynomial_coefficients import attention_coefficients, compare, fitted_coefficients
from mesocosm.analysis.log_ratio import log_ratio_of_means
from mesocosm.nn import Mixer
from mesocosm.studies.gated_rnn.config import Evaluation, Network, Prompts, Training
from mesocosm.studies.gated_rnn.networks import LAYERS
from mesocosm.studies.gated_rnn.students import learner
from mesocosm.studies.interface import Context, Tables
from mesocosm.tasks.regression_prompts import Prompt, RegressionPrompts, gradient_step, gradient_step_attention
from mesocosm.tasks.task import batch, digest


@dataclass(frozen=True)
class RegressorArm:
    """One network trained on in-context regression."""

    prompts: Prompts
    network: Network
    training: Training
    evaluation: Evaluation


def build_regressor(arm: RegressorArm, key: PRNGKeyArray) -> Mixer:
    """Build the network of an arm."""
    dim = arm.prompts.input_dim + arm.prompts.target_dim
    return LAYERS[arm.network.layer](dim, arm.network, arm.training.gain, key)


def answer(network: Mixer, tokens: Float[Array, "time width"], target_dim: int) -> Float[Array, " target_dim"]:
    """The prediction: the network's output in the last channels at the query."""
    return network(tokens)[-1, -target_dim:]


def prompt_loss(network: Mixer, example: Prompt, key: PRNGKeyArray) -> Float[Array, ""]:
    """Squared error at the query, mean over target dimensions."""
    return jnp.mean((answer(network, example.tokens, example.target.shape[-1]) - example.target) ** 2)


def regression_task(prompts: Prompts) -> RegressionPrompts:
    """The task of an arm."""
    return RegressionPrompts(prompts.input_dim, prompts.target_dim, prompts.pairs)


class Measured(NamedTuple):
    """Squared errors of one regressor and of the best gradient step for each prompt, and the regressor's similarity to gradient descent.

    Attributes:
        slope: of its predictions on the sums y_i (x_i . x_q).
        unexplained: fraction of its predictions' power that these sums leave unexplained.
        cosine: of its coefficients, fitted by least squares, with those of gradient descent.
        sensitivity: mean cosine of its prediction's derivative in the query with that of gradient descent.
    """

    losses: Array
    step_losses: Array
    out_of_distribution: Array
    step_out_of_distribution: Array
    slope: Array
    unexplained: Array
    cosine: Array
    sensitivity: Array


def measure_regressor(task: RegressionPrompts, network: Mixer, prompts: Prompt, large: Prompt) -> Measured:
    """Evaluate a regressor on fresh prompts, and on fewer prompts with inputs twice as large."""
    step, target_dim = task.optimal_step_size(), task.target_dim

    def predict(tokens: Array) -> Array:
        return answer(network, tokens, target_dim)

    def descend(tokens: Array) -> Array:
        return gradient_step(tokens, target_dim, step)

    found, steps = jax.vmap(predict)(prompts.tokens), jax.vmap(descend)(prompts.tokens)
    errors, step_errors = (jnp.mean((guess - prompts.target) ** 2, axis=1) for guess in (found, steps))
    far, step_far = (jnp.mean((jax.vmap(guess)(large.tokens) - large.target) ** 2) for guess in (predict, descend))
    slope = jnp.sum(found * steps) / jnp.sum(steps**2)
    unexplained = 1 - slope * jnp.sum(found * steps) / jnp.sum(found**2)
    few = prompts.tokens[: len(large.tokens)]
    wanted = attention_coefficients(gradient_step_attention(task.input_dim, target_dim, step))[-target_dim:]
    coefficients = fitted_coefficients(found, prompts.tokens).coefficients
    cosine, sensitivity = compare(coefficients, wanted).cosine, _sensitivity(predict, descend, few, task.input_dim)
    return Measured(errors, step_errors, far, step_far, slope * step, unexplained, cosine, sensitivity)


def _sensitivity(predict: Any, descend: Any, tokens: Float[Array, "batch time width"], input_dim: int) -> Float[Array, ""]:
    def derivative(guess: Any, one: Array) -> Array:
        return jax.jacfwd(lambda query: guess(one.at[-1, :input_dim].set(query)))(one[-1, :input_dim])

    ours, theirs = (jax.vmap(lambda one, guess=guess: derivative(guess, one))(tokens) for guess in (predict, descend))
    norms = jnp.sqrt(jnp.sum(ours**2, axis=(1, 2)) * jnp.sum(theirs**2, axis=(1, 2)))
    return jnp.mean(jnp.sum(ours * theirs, axis=(1, 2)) / jnp.maximum(norms, 1e-30))


def train_regressor(arm: RegressorArm, context: Context) -> Tables:
    """Train a network on prompts; measure its loss against the best gradient step's, and whether it computes that step."""
    task = regression_task(arm.prompts)
    fitted = context.fit("regressor", learner(arm.training, Partial(build_regressor, arm), task, prompt_loss), arm.training.steps)
    context.publish("regressor", fitted.model)
    test_key, other_key = jax.random.split(context.evaluation_key)
    prompts = batch(task, test_key, arm.evaluation.prompts, "iid")
    large = batch(task, other_key, arm.evaluation.held_out, "ood")
    found = context.evaluate(Partial(measure_regressor, task), fitted.model, shared=(prompts, large))
    versus, error = log_ratio_of_means(found.losses, found.step_losses)
    labels = {"layer": arm.network.layer, "neurons": arm.network.neurons, "digest": digest(prompts)}
    scalars = {name: getattr(found, name) for name in ("slope", "unexplained", "cosine", "sensitivity")}
    step_size, optimum = (np.asarray(float(value)) for value in (task.optimal_step_size(), task.one_step_loss()))
    return {
        "prompt_loss": context.rows(
            **labels,
            loss=found.losses.mean(1),
            step_loss=found.step_losses.mean(1),
            optimum=optimum,
            step_size=step_size,
            versus_step=versus,
            versus_step_error=error,
            out_of_distribution=found.out_of_distribution,
            step_out_of_distribution=found.step_out_of_distribution,
            **scalars,
        )
    }
