"""Exact statements about two factors: the law of one step, and minima of the regularised losses."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from mesocosm.analysis.spectra.factor_spectra import numerical_rank, product_spectrum
from mesocosm.analysis.spectra.low_rank_law import Factors, imbalance, imbalance_after_step, l2_penalty
from mesocosm.analysis.spectra.nuclear_norm import nuclear_norm, subgradient_error
from mesocosm.studies.identity_trials import Errors
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.weight_decay.config import Minima
from mesocosm.studies.weight_decay.parameterised import Measurements, accelerated_descent, measurement_loss, product_of
from mesocosm.studies.weight_decay.train import draw_problem, random_factors, train


def check_step(config: Minima, context: Context) -> Tables:
    """Check one step of gradient descent on random factors, with a random matrix as the loss's gradient."""
    errors = context.evaluate(Partial(_step_errors, config), context.keys("init"))
    return {"step": context.rows(error=errors.error, mutant=errors.mutant)}


def _step_errors(config: Minima, key: PRNGKeyArray) -> Errors:
    """Errors of the imbalance after a step. Mutant: without the law's source of order eta^2."""
    factors_key, gradient_key = jax.random.split(key)
    factors = random_factors(factors_key, config.rows, config.columns, config.columns, 1.0)
    gradient = jax.random.normal(gradient_key, (config.rows, config.columns))
    rate, decay = 0.1, 0.3
    a = factors.a - rate * (gradient @ factors.b + decay * factors.a)
    b = factors.b - rate * (gradient.T @ factors.a + decay * factors.b)
    after = imbalance(Factors(a, b))
    expected = imbalance_after_step(factors, gradient, rate, decay)
    mutant = (1 - rate * decay) ** 2 * imbalance(factors)
    size = jnp.linalg.norm(after)
    return Errors(jnp.linalg.norm(after - expected) / size, jnp.linalg.norm(after - mutant) / size)


def find_minima(config: Minima, context: Context) -> Tables:
    """Solve one random problem per replicate, with both factors regularised and with one; measure each distance from a minimum of the nuclear problem."""
    tables = []
    for arm, decay_b, steps in (("both", config.decay, config.steps), ("one", 0.0, config.one_steps)):
        hyperparameters = {"learning_rate": config.learning_rate, "a": config.decay, "b": decay_b, "momentum": config.momentum}
        fitted = train(context, arm, (Partial(draw_problem, config), measurement_loss, accelerated_descent), hyperparameters, steps)
        found = context.evaluate(Partial(_optimality, config.decay), fitted.model, fitted.state.model.problem)
        tables.append(context.rows(arm=arm, **found._asdict(), rank=numerical_rank(product_spectrum(fitted.model.a, fitted.model.b))))
    return {"minima": pl.concat(tables)}


class Optimality(NamedTuple):
    """Distance of factors from a minimum of the nuclear problem.

    Attributes:
        subgradient: `subgradient_error` of their product, 0 at a minimum.
        difference: relative difference between the regularised losses of factors and product.
        gradient: norm of the regularised loss's gradient, which shows whether the search has converged.
    """

    subgradient: Array
    difference: Array
    gradient: Array


def _optimality(decay: Any, factors: Factors, problem: Measurements) -> Optimality:
    product = product_of(factors)
    loss, slope = jax.value_and_grad(measurement_loss)(product, problem)
    nuclear = loss + decay * nuclear_norm(factors.a, factors.b)
    descent = jnp.concatenate([slope @ factors.b + decay * factors.a, slope.T @ factors.a + decay * factors.b])
    return Optimality(subgradient_error(slope, product, decay), (loss + decay * l2_penalty(factors)) / nuclear - 1, jnp.linalg.norm(descent))
