"""A user's own estimator: a check that it fits, and training with it."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from mesocosm.learning.actor_credit import ActorCredit
from mesocosm.learning.exact_credit import Credit, Steps
from mesocosm.numerics.programs import filter_jit
from mesocosm.studies.cocoa.config import USER_RATE, LearnedModels
from mesocosm.studies.cocoa.learned import learner_of, train_policy
from mesocosm.studies.cocoa.tables import USER
from mesocosm.studies.cocoa.track import ACTIONS, FEATURES, track_of
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.part_names import constructor


@dataclass(frozen=True)
class UserArm:
    """Training with the estimator of this name, package.module:Name."""

    estimator: str
    sizes: LearnedModels


def learn_with_users(arm: UserArm, context: Context) -> Tables:
    """Train all seeds as with ours."""
    track = track_of(arm.sizes)
    learner = learner_of(arm.sizes, USER_RATE, track, constructor(arm.estimator)(FEATURES, ACTIONS, track.rewards))
    return train_policy(USER, arm.sizes, track, learner, context)


def check_estimator(name: str, sizes: LearnedModels) -> None:
    """Make a user's estimator and let it learn from one batch.

    Raises:
        ValueError: it cannot be found or made, is not a `Credit`, fails where `fit` compiles it, or has contributions of another shape.
    """
    if ":" not in name:
        raise ValueError(f"{name} is not an estimator: name yours as package.module:Name")
    if "(" in name:
        raise ValueError(f"{name}: an estimator takes no options; name a function (features, actions, rewards) that sets them")
    make, track = constructor(name), track_of(sizes)
    try:
        credit = make(FEATURES, ACTIONS, track.rewards)
    except Exception as error:
        raise ValueError(f"{name} cannot be called as Name(features, actions, rewards): {type(error).__name__}: {error}") from error
    if not isinstance(credit, Credit):
        raise ValueError(f"{name} gives an object of type {type(credit).__name__}, which is not a Credit of mesocosm.learning")
    learner = learner_of(sizes, USER_RATE, track, credit)
    table = jnp.full((track.mdp.states, ACTIONS), 1 / ACTIONS)
    try:
        steps, contributions = filter_jit(_one_batch)(learner, table, jax.random.key(2))
    except Exception as error:
        raise ValueError(f"{name} cannot credit a batch: {type(error).__name__}: {error}") from error
    if contributions.shape != (*steps.actions.shape, ACTIONS):
        wanted = [*steps.actions.shape[1:], ACTIONS]
        raise ValueError(f"{name} does not fit: contributions of one episode have shape {list(contributions.shape[1:])}, not {wanted}")
    try:
        after, _ = filter_jit(learner.update)(filter_jit(learner.init)(jax.random.key(0)), jax.random.key(1))
    except Exception as error:
        raise ValueError(f"{name} cannot learn from a batch: {type(error).__name__}: {error}") from error
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(after) if eqx.is_inexact_array(leaf)):
        raise ValueError(f"{name} does not fit: after one batch, a parameter is not finite")


def _one_batch(learner: ActorCredit, table: Array, key: PRNGKeyArray) -> tuple[Steps, Array]:
    """Episodes of a policy, and the contributions that an estimator's first networks give them."""
    credit, observations, steps = learner.credit, jnp.asarray(learner.observations, dtype=float), learner.episodes(table, key)
    models = credit.models_of(learner.init(key).credit.model, observations, table)
    return steps, jax.vmap(credit.contributions, (None, 0))(models, steps)
