"""Features from which the reward can be predicted, learned from episodes of a random policy and then frozen: the outcomes of COCOA-feature.

Reference: Meulemans et al. (2023), App. E.8.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.envs.key_to_door import KeyToDoor, KeyToDoorParams
from mesocosm.envs.tabular import TabularMDP
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.reward_features import FeatureLearner, RewardFeatures, RewardSamples, reward_error
from mesocosm.studies.cocoa.config import Features
from mesocosm.studies.interface import Context

WEIGHT_DECAY = 1e-4  # optax's default, as in the authors' code


class FeatureOutcomes(NamedTuple):
    """The outcomes that one replicate's features distinguish.

    Attributes:
        table: the outcome of each state and action, -1 for events without a reward.
        vectors: the features of each outcome.
        number: how many different vectors events with a reward have; further places of `vectors` repeat the first.
        separate: whether the treasure has other features than every apple.
    """

    table: Int[Array, "states actions"]
    vectors: Float[Array, "outcomes features"]
    number: Int[Array, ""]
    separate: Bool[Array, ""]


def learn_features(config: Features, context: Context, env: KeyToDoor, params: KeyToDoorParams, mdp: TabularMDP) -> tuple[FeatureOutcomes, pl.DataFrame]:
    """Learn every replicate's features, of several starts those that predict rewards best; returns their outcomes, and a row for each replicate.

    Raises:
        ValueError: a replicate has more different vectors than `config.outcomes`.
    """
    samples = context.evaluate(Partial(_samples, env, config.episodes), context.keys("env"), shared=(params, mdp))
    models, errors = [], []
    for start in range(config.starts):
        learner = FeatureLearner(
            build=Partial(_build, np.full(len(context.seeds), start), *mdp.observations.shape[1:], mdp.actions),
            samples=samples,
            optimizer=adamw,
            hyperparameters={"learning_rate": config.learning_rate, "weight_decay": WEIGHT_DECAY},
            mask_shrinkage=config.mask_shrinkage,
            readout_shrinkage=config.readout_shrinkage,
        )
        models.append(context.fit(f"features-{start}", learner, config.steps, per_seed=True).model)
        errors.append(context.evaluate(reward_error, models[-1], samples))
    model = best_start(models, np.asarray(errors))
    outcomes = with_places_for_all(context.evaluate(Partial(_outcomes, config.outcomes), model, shared=(mdp,)))
    return outcomes, context.rows(number=outcomes.number, separate=np.asarray(outcomes.separate).astype(int))


def best_start(models: Sequence[Any], errors: Float[np.ndarray, "starts seeds"]) -> Any:
    """Each seed's model with the smallest error."""
    best = (np.argmin(errors, axis=0), np.arange(errors.shape[1]))
    return jax.tree.map(lambda *leaves: np.stack(leaves)[best], *models)


def _build(start: Int[Array, ""], features: int, actions: int, key: PRNGKeyArray) -> RewardFeatures:
    """A positive readout, as rewards are positive: where it starts negative, the mask of an apple dies before the readout changes its sign."""
    model = RewardFeatures.create(features, actions, key=jax.random.fold_in(key, start))
    return eqx.tree_at(lambda each: each.readout, model, jnp.abs(model.readout))


def _samples(env: KeyToDoor, episodes: int, key: PRNGKeyArray, params: KeyToDoorParams, mdp: TabularMDP) -> RewardSamples:
    """Every state and action with its mean reward, over the largest one, and its share of the steps, in episodes of the uniform policy."""
    uniform = jnp.full(mdp.actions, 1.0 / mdp.actions)
    seen = jax.vmap(lambda key: env.episode(key, lambda state: uniform, params))(jax.random.split(key, episodes))
    states = jax.vmap(jax.vmap(env.index))(seen.states)
    empty = jnp.zeros((mdp.states, mdp.actions))
    counts, total = (empty.at[states, seen.actions].add(part) for part in (1.0, seen.rewards))
    state, action = (part.reshape(-1) for part in jnp.meshgrid(jnp.arange(mdp.states), jnp.arange(mdp.actions), indexing="ij"))
    means = jnp.where(counts > 0, total / jnp.maximum(counts, 1.0), 0.0) / jnp.max(jnp.asarray(mdp.reward_values))
    return RewardSamples(jnp.asarray(mdp.observations, float)[state], action, means.reshape(-1), (counts / counts.sum()).reshape(-1))


def with_places_for_all(outcomes: FeatureOutcomes) -> FeatureOutcomes:
    """The outcomes of all replicates with as many places as the replicate with the most vectors needs.

    Raises:
        ValueError: that are more than there are; an event of a vector without a place would get no credit.
    """
    most, places = int(np.max(outcomes.number)), outcomes.vectors.shape[1]
    if most > places:
        raise ValueError(f"events with a reward have {most} different feature vectors, and there are places for {places}: raise --config.features.outcomes")
    return outcomes._replace(vectors=outcomes.vectors[:, : most or places])  # a rehearsal, which computes nothing, has none


def _outcomes(places: int, model: RewardFeatures, mdp: TabularMDP) -> FeatureOutcomes:
    """Number the different vectors of events with a reward."""
    states, features = mdp.observations.shape
    actions = jnp.broadcast_to(jnp.arange(mdp.actions), (states, mdp.actions))
    bits = model.outcomes(jnp.broadcast_to(jnp.asarray(mdp.observations, float)[:, None], (states, mdp.actions, features)), actions)
    rewarded = jnp.asarray(mdp.mean_reward) != 0
    powers = 2 ** jnp.arange(features)
    codes = jnp.where(rewarded, (bits @ powers.astype(bits.dtype)).astype(jnp.int32), -1)
    different, table = jnp.unique(codes, size=places + 1, fill_value=-1, return_inverse=True)  # the first is -1, of events without a reward
    ordered = jnp.sort(codes.reshape(-1))
    number = jnp.sum((ordered[1:] != ordered[:-1]) & (ordered[1:] >= 0)) + (ordered[0] >= 0)
    treasure, apples = codes[-1], codes[:-1]  # the treasure is the last state
    separate = ~jnp.any((apples[..., None] == treasure) & (apples >= 0)[..., None])
    kept = jnp.where(different[1:] < 0, different[1], different[1:])
    vectors = ((jnp.maximum(kept, 0)[:, None] // powers) % 2).astype(float)
    return FeatureOutcomes(table.reshape(codes.shape).astype(jnp.int32) - 1, vectors, number.astype(jnp.int32), separate)


def of_seeds(part: Any, seeds: int) -> Any:
    """Repeat every array of a learner for each seed."""
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (seeds, *leaf.shape)) if isinstance(leaf, jax.Array | np.ndarray) else leaf, part)
