"""Statements about finite games, on random instances: Yao's inequality, mixtures of algorithms that fail apart, the limits of the q-norm, and votes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import binom

from mesocosm.analysis.matrix_games import yao_bounds
from mesocosm.analysis.randomized_decisions import voters_needed
from mesocosm.learning.relaxed_adversary import q_norm
from mesocosm.studies.identity_trials import Errors, check_statements, relative_error
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.randomized.config import Theory

MARGINS = (0.05, 0.1, 0.2, 0.4, 0.8)
CONFIDENCES = (0.3, 0.1, 0.03, 0.01, 0.001)
FEWER = 20
SIMULATED = 20_000


def check_theory(config: Theory, context: Context) -> Tables:
    """All statements that need no training."""
    return {
        "identities": check_statements(context, config, IDENTITIES),
        "games": _games(config, context),
        "votes": _votes(context),
    }


def norm_is_its_formula(config: Theory, key: PRNGKeyArray) -> Errors:
    """The q-norm over inputs of the mean over seeds, against logarithms. Mutant: the norm over seeds and inputs at once."""
    losses, q = _losses(config, key)
    wanted = jnp.exp((jax.nn.logsumexp(q * jnp.log(losses.mean(axis=0))) - jnp.log(config.columns)) / q)
    return Errors(relative_error(q_norm(losses.mean(axis=0), q), wanted), relative_error(q_norm(losses.ravel(), q), wanted))


def norm_at_its_ends(config: Theory, key: PRNGKeyArray) -> Errors:
    """q = 1 is the mean and q = infinity the largest. Mutant: the ends exchanged."""
    losses = _losses(config, key)[0].mean(axis=0)
    ends = jnp.stack([losses.mean(), losses.max()])
    found = jnp.stack([q_norm(losses, 1.0), q_norm(losses, jnp.inf)])
    return Errors(relative_error(found, ends), relative_error(found[::-1], ends))


def norm_has_its_gradient(config: Theory, key: PRNGKeyArray) -> Errors:
    """The gradient is (1/n) (l_i / L)^(q-1). Mutant: the power q."""
    losses, q = _losses(config, key)
    losses = losses.mean(axis=0)
    value, gradient = jax.value_and_grad(q_norm)(losses, q)
    wanted = (losses / value) ** (q - 1) / losses.size
    return Errors(relative_error(gradient, wanted), relative_error(gradient * losses / value, wanted))


IDENTITIES = {"C4 norm": norm_is_its_formula, "C4 ends": norm_at_its_ends, "C4 gradient": norm_has_its_gradient}


def _losses(config: Theory, key: PRNGKeyArray) -> tuple[Float[Array, "rows columns"], Float[Array, ""]]:
    """Losses over four orders of magnitude, and an exponent from 2 to 100."""
    loss_key, q_key = jax.random.split(key)
    losses = 10 ** jax.random.uniform(loss_key, (config.rows, config.columns), minval=-2.0, maxval=2.0)
    return losses, 10 ** jax.random.uniform(q_key, (), minval=jnp.log10(2.0), maxval=2.0)


def _games(config: Theory, context: Context) -> pl.DataFrame:
    """Slack of Yao's inequalities under random distributions, and the gain of a mixture of algorithms whose worst inputs differ.

    Mutants: the mean must be above the best row *against the worst input*; and all algorithms fail worst on one common input.
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(context.evaluation_key)).astype(np.uint64))
    rows = []
    for _ in range(config.instances):
        loss = generator.exponential(size=(config.rows, config.columns))
        bounds = yao_bounds(loss, generator.dirichlet(np.ones(config.rows)), generator.dirichlet(np.ones(config.columns)))
        # Every algorithm attains the same worst loss, each on an input of its own, or all on the first.
        apart, together = (_equally_bad(generator, config, common) for common in (False, True))
        rows.append(
            (min(bounds.mean - bounds.best_row, bounds.worst_column - bounds.mean), bounds.mean - loss.max(axis=1).min(), _gain(apart), _gain(together))
        )
    slack, mutant, gain, no_gain = np.array(rows).T[:, None]
    return context.rows({"instance": range(config.instances)}, slack=slack, mutant=mutant, gain=gain, common_failure=no_gain)


def _equally_bad(generator: np.random.Generator, config: Theory, common: bool) -> Float[np.ndarray, "rows columns"]:
    loss = generator.uniform(0.0, 0.9, size=(config.rows, config.columns))
    loss[np.arange(config.rows), 0 if common else generator.permutation(config.columns)[: config.rows]] = 1.0
    return loss


def _gain(loss: Float[np.ndarray, "rows columns"]) -> float:
    """By how much the uniform mixture's worst expected loss is below the best deterministic worst loss."""
    return float(loss.max(axis=1).min() - yao_bounds(loss).worst_column)


def _votes(context: Context) -> pl.DataFrame:
    """How often the vote is wrong at the number of voters of Prop. 2, and at a twentieth of it, as log10 of its share of delta: the exact probability that the
    wrong one of two answers gets half the votes or more, and the frequency in simulated votes on three answers, both wrong ones equally probable.
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(context.evaluation_key)).astype(np.uint64))
    rows = []
    for margin in MARGINS:
        for delta in CONFIDENCES:
            two, three = (voters_needed(margin, wrong, delta) for wrong in (1, 2))
            exact = [_failure(n, margin) for n in (two, max(1, two // FEWER))]
            simulated = [_simulated_failure(generator, n, margin) for n in (three, max(1, three // FEWER))]
            rows.append(np.log10(np.array(exact + simulated) / delta))
    excess, fewer, simulated, simulated_fewer = np.array(rows).T.reshape(4, 1, len(MARGINS), len(CONFIDENCES))
    return context.rows({"margin": MARGINS, "delta": CONFIDENCES}, excess=excess, fewer=fewer, simulated=simulated, simulated_fewer=simulated_fewer)


def _simulated_failure(generator: np.random.Generator, voters: int, margin: float) -> float:
    """Share of votes on three answers that the right one does not win alone; one vote that fails is added to those drawn, so that it is above 0."""
    wrong = (1 - margin) / 3
    counts = generator.multinomial(voters, [wrong + margin, wrong, wrong], size=SIMULATED)
    return float((np.sum(counts[:, 0] <= counts[:, 1:].max(axis=1)) + 1) / (SIMULATED + 1))


def _failure(voters: int, margin: float) -> float:
    return float(binom.cdf(voters // 2, voters, (1 + margin) / 2))
