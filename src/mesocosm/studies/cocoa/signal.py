"""Signal-to-noise ratio by distance with exact models (Fig. 1B right): samples and closed forms, with one layout per replicate."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float

from mesocosm.analysis.tabular.gradient_statistics import decibels
from mesocosm.analysis.tabular.layered_programming import layered_action_values
from mesocosm.envs.key_to_door import APPLE_LEFT, APPLE_RIGHT, EMPTY, KeyToDoor, KeyToDoorParams, code_scale
from mesocosm.envs.tabular import LayeredMDP
from mesocosm.learning.exact_credit import (
    Credit,
    ExactAdvantage,
    ExactCocoa,
    ExactCounterfactualReturn,
    ExactHCAReturn,
    ExactQCritic,
    ExactTrajCV,
    Reinforce,
    Steps,
)
from mesocosm.learning.outcomes import reward_outcomes, state_outcomes
from mesocosm.studies.cocoa.closed_forms import Track, signal_to_noise
from mesocosm.studies.cocoa.config import Estimator, Signal
from mesocosm.studies.interface import Context, Tables

CLASSICAL: tuple[Estimator, ...] = ("cocoa-reward", "trajcv", "advantage", "hca-plus", "reinforce")
BY_RETURN: tuple[Estimator, ...] = ("cocoa-reward", "hca-return", "counterfactual-return")
CHUNK = 128  # episodes at once


def exact_credit(name: Estimator, env: KeyToDoor, params: KeyToDoorParams) -> Credit:
    """Build an estimator with exact models."""
    mdp = env.tabular(params)
    layered = LayeredMDP.of(mdp)
    unit = code_scale(env.length).apple[0]
    makers = {
        "cocoa-reward": lambda: ExactCocoa.of(layered, reward_outcomes(mdp)),
        "hca-plus": lambda: ExactCocoa.of(layered, state_outcomes(mdp)),
        "q-critic": lambda: ExactQCritic(layered),
        "advantage": lambda: ExactAdvantage(layered),
        "trajcv": lambda: ExactTrajCV(layered),
        "hca-return": lambda: ExactHCAReturn.of(mdp, unit),
        "counterfactual-return": lambda: ExactCounterfactualReturn.of(mdp, unit),
        "reinforce": Reinforce,
    }
    return makers[name]()


class Signals(NamedTuple):
    """Signal-to-noise ratio of each estimator, and its relative standard error."""

    snr: Float[Array, " estimators"]
    error: Float[Array, " estimators"]


def measure_signal(config: Signal, context: Context) -> Tables:
    """Measure every estimator at every distance under the uniform policy.

    Estimators that credit by the return are measured at the shortest distance only, also on the same tracks without apples.
    """
    rows = []
    for length in config.lengths:
        layouts = [KeyToDoor(length).params(layout=seed) for seed in context.seeds]
        forms = [signal_to_noise(_track(params)) for params in layouts]
        found = _measure(config, context, KeyToDoor(length), layouts, CLASSICAL)
        rows.append(_rows(context, length, CLASSICAL, found).with_columns(closed_form=_column([[form[name] for name in CLASSICAL] for form in forms])))
    env = KeyToDoor(min(config.lengths))
    drawn = [env.params(layout=seed) for seed in context.seeds]
    by_return = []
    for apples, layouts in ((True, drawn), (False, [_without_apples(params) for params in drawn])):
        found = _measure(config, context, env, layouts, BY_RETURN)
        by_return.append(_rows(context, env.length, BY_RETURN, found).with_columns(apples=pl.lit(apples)))
    return {"signal": pl.concat(rows), "signal_by_return": pl.concat(by_return)}


def _without_apples(params: KeyToDoorParams) -> KeyToDoorParams:
    """The same track with nothing between key and door."""
    cells = np.asarray(params.cells)
    return eqx.tree_at(lambda p: p.cells, params, np.where(np.isin(cells, [APPLE_LEFT, APPLE_RIGHT]), EMPTY, cells))


def _rows(context: Context, length: int, names: tuple[Estimator, ...], found: Signals) -> pl.DataFrame:
    """Rows in decibels."""
    return context.rows({"estimator": names}, length=length, snr=decibels(found.snr), snr_error=10 / np.log(10) * np.asarray(found.error))


def _column(ratios: list[list[float]]) -> pl.Series:
    """Ratios of every seed's estimators in decibels, in the order of the rows."""
    return pl.Series(decibels(ratios).reshape(-1))


def _track(params: KeyToDoorParams) -> Track:
    apples = int(np.isin(params.cells, [APPLE_LEFT, APPLE_RIGHT]).sum())
    return Track(apples, float(params.apple[0]), float(params.apple[1]), float(params.treasure))


def _measure(config: Signal, context: Context, env: KeyToDoor, layouts: list[KeyToDoorParams], names: tuple[Estimator, ...]) -> Signals:
    """All estimators on the same episodes, for each replicate."""
    policies = [jnp.full((2 * env.length, 4), 0.25) for _ in layouts]
    credits = [tuple(exact_credit(name, env, params) for name in names) for params in layouts]
    mdps = [LayeredMDP.of(env.tabular(params)) for params in layouts]
    layout, credit, mdp, policy = (jax.tree.map(lambda *leaves: np.stack(leaves), *parts) for parts in (layouts, credits, mdps, policies))
    return context.evaluate(Partial(first_step_signals, env, config.episodes), credit, mdp, layout, policy, context.keys("env"))


def first_step_signals(
    env: KeyToDoor, episodes: int, credits: tuple[Credit, ...], mdp: LayeredMDP, params: KeyToDoorParams, policy: Array, key: Array
) -> Signals:
    """Signal-to-noise ratios of the first step's gradient over the logits of the first state."""
    policy = jnp.asarray(policy, dtype=float)
    models = [credit.models(policy) for credit in credits]

    def gradient(contribution: Array) -> Array:
        return policy[0] * (contribution - contribution @ policy[0])

    def one(key: Array) -> Array:
        episode = env.episode(key, lambda state: policy[env.index(state)], params)
        states = jax.vmap(env.index)(episode.states)
        steps = Steps(states, episode.actions, episode.rewards, policy[states], episode.taken)
        return jnp.stack([gradient(credit.contributions(known, steps)[0]) for credit, known in zip(credits, models, strict=True)])

    true = gradient(layered_action_values(mdp, policy)[0])
    squares = jnp.sum((jax.lax.map(one, jax.random.split(key, episodes), batch_size=CHUNK) - true) ** 2, axis=-1)  # episodes, estimators
    mean = jnp.mean(squares, axis=0)
    return Signals(jnp.sum(true**2) / mean, jnp.std(squares, axis=0) / mean / jnp.sqrt(episodes))
