"""Trains policies on key-to-door with models that learn beside them, and measures how far these models are from the exact ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.tabular.gradient_statistics import decibels
from mesocosm.analysis.tabular.layered_programming import layered_action_values
from mesocosm.envs.key_to_door import OPEN_DOOR, TAKE_KEY, KeyToDoor, KeyToDoorParams
from mesocosm.envs.tabular import LayeredMDP, TabularMDP
from mesocosm.learning.actor_credit import ActorCredit, ActorCreditState
from mesocosm.learning.exact_credit import Credit, ExactCocoa, Reinforce, Steps
from mesocosm.learning.hindsight_losses import CONTRASTIVE
from mesocosm.learning.learned_credit import (
    LearnedAdvantage,
    LearnedCocoa,
    LearnedCounterfactualReturn,
    LearnedCredit,
    LearnedHCAReturn,
    LearnedQCritic,
    LearnedTrajCV,
)
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.outcome_credit import LearnedCocoaOfOutcomes, LearnedCocoaOfStates, LearnedCocoaOfVectors, LearnedHCAOfStates, reachable_pairs
from mesocosm.learning.outcomes import reward_outcomes
from mesocosm.nn.policy import NetworkPolicy
from mesocosm.numerics.programs import filter_jit
from mesocosm.studies.cocoa.config import Features, LearnedEstimator, LearnedModels
from mesocosm.studies.cocoa.expectations import expected_contributions, relative_bias
from mesocosm.studies.cocoa.features import WEIGHT_DECAY, FeatureOutcomes, learn_features, of_seeds
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.part_names import constructor

FEATURES, ACTIONS = 9, 4


@dataclass(frozen=True)
class LearnedArm:
    """Training with one estimator; `user` names a user's."""

    estimator: LearnedEstimator
    sizes: LearnedModels
    features: Features
    user: str = ""


class Track(NamedTuple):
    """Key-to-door with one layout for all seeds, as in the paper."""

    env: KeyToDoor
    params: KeyToDoorParams
    mdp: TabularMDP

    @property
    def rewards(self) -> tuple[float, ...]:
        """The rewards other than 0."""
        return tuple(float(value) for value in self.mdp.reward_values if value)


def track_of(sizes: LearnedModels) -> Track:
    """The track of these sizes."""
    env = KeyToDoor(sizes.length)
    params = env.params(aliasing=sizes.aliasing)
    return Track(env, params, env.tabular(params))


def build_network_policy(arm: Any, key: PRNGKeyArray) -> NetworkPolicy:
    """Two hidden layers of 64 units (paper)."""
    return NetworkPolicy.create(FEATURES, ACTIONS, key=key)


# --- estimators ----------------------------------------------------------------------------------------------------------


def same_outcome(observation: Array, action: Array, reward: Array) -> int:
    """One outcome for all rewards, which does not tell the treasure from an apple."""
    return 0


def learned_credit(name: LearnedEstimator, sizes: LearnedModels, track: Track, features: FeatureOutcomes | None = None, user: str = "") -> Credit:
    """Build an estimator for a track; COCOA-feature needs the features of one seed.

    Raises:
        ValueError: it is COCOA-feature, without features, or a user's that cannot be found.
    """
    seen, width = (FEATURES, ACTIONS), sizes.width
    hindsight: Any = {"width": width, "gain": sizes.gain, "by_episode": sizes.by_episode}
    makers: dict[str, Callable[[], Credit]] = {
        "cocoa-reward": lambda: LearnedCocoa(*seen, track.rewards, **hindsight),
        "cocoa-feature": lambda: _of_features(features, hindsight),
        "cocoa-merged": lambda: LearnedCocoaOfOutcomes(*seen, same_outcome, 1, **hindsight),
        "cocoa-contrastive": lambda: LearnedCocoa(*seen, track.rewards, objective=CONTRASTIVE, **hindsight),
        "q-critic": lambda: LearnedQCritic(*seen, width=width),
        "advantage": lambda: LearnedAdvantage(*seen, width=width),
        "trajcv": lambda: LearnedTrajCV(*seen, width=width),
        "hca-plus": lambda: LearnedCocoaOfStates(*seen, track.mdp.states, reachable_pairs(track.mdp), rewarded_only=False, **hindsight),
        "hca": lambda: LearnedHCAOfStates(*seen, track.mdp.states, reachable_pairs(track.mdp), rewarded_only=False, **hindsight),
        "hca-return": lambda: LearnedHCAReturn(*seen, **hindsight),
        "counterfactual-return": lambda: LearnedCounterfactualReturn(*seen, **hindsight),
        "reinforce": Reinforce,
        "user": lambda: constructor(user)(*seen, track.rewards),
    }
    return makers[name]()


def _of_features(features: FeatureOutcomes | None, hindsight: Any) -> Credit:
    if features is None:
        raise ValueError("COCOA-feature needs features")
    return LearnedCocoaOfVectors(FEATURES, ACTIONS, features.table, features.vectors, **hindsight)


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
    learner = learner_of("user", sizes, track, credit)
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
    models = credit.models_of(credit.build(key), observations, table) if isinstance(credit, LearnedCredit) else credit.models(table)
    return steps, jax.vmap(credit.contributions, (None, 0))(models, steps)


# --- training ------------------------------------------------------------------------------------------------------------


def learner_of(name: LearnedEstimator, sizes: LearnedModels, track: Track, credit: Credit) -> ActorCredit:
    """The learner of a policy with this credit."""
    policy_rate, models_rate = next((ours, models) for estimator, ours, models in sizes.learning_rates if estimator == name)
    return ActorCredit(
        build=Partial(build_network_policy, None),
        env=track.env,
        params=track.params,
        observations=track.mdp.observations,
        credit=credit,
        optimizer=adamw,
        hyperparameters={"learning_rate": policy_rate, "weight_decay": WEIGHT_DECAY},
        entropy=sizes.entropy,
        exploration=sizes.exploration,
        batch_size=sizes.batch_size,
        credit_optimizer=adamw,
        credit_hyperparameters={"learning_rate": models_rate, "weight_decay": WEIGHT_DECAY},
    )


def learner_with_features(arm: LearnedArm, context: Context, track: Track) -> tuple[ActorCredit, dict[str, pl.DataFrame]]:
    """A learner of COCOA-feature with features of each seed, which are learned first; all its arrays have a seed axis."""
    features, table = learn_features(arm.features, context, *track)
    one = learned_credit(arm.estimator, arm.sizes, track, FeatureOutcomes(*(part[0] for part in features)))
    learner = of_seeds(learner_of(arm.estimator, arm.sizes, track, one), len(context.seeds))
    learner = eqx.tree_at(lambda each: (each.credit.table, each.credit.features_of), learner, (features.table, features.vectors))
    return learner, {"features": table}


def learn_models(arm: LearnedArm, context: Context) -> Tables:
    """Train all seeds; measure the exact probability of the treasure without exploration, and the exact bias of the first step's gradient."""
    sizes, track = arm.sizes, track_of(arm.sizes)
    of_features, tables = arm.estimator == "cocoa-feature", {}
    if of_features:
        learner, tables = learner_with_features(arm, context, track)
    else:
        learner = learner_of(arm.estimator, sizes, track, learned_credit(arm.estimator, sizes, track, user=arm.user))
    layered = LayeredMDP.of(track.mdp)
    fitted = context.fit("policy", learner, sizes.steps, probe=(Partial(progress, layered), sizes.every), per_seed=of_features)
    context.publish("policy", fitted.model)
    at, found = np.asarray(fitted.probe_steps), fitted.probes
    last = found["treasure"][:, at > 0.9 * sizes.steps].mean(axis=1)
    curves = {name: found[name] for name in ("treasure", "key")}
    tables |= {
        "learned": context.rows({"step": at.tolist()}, estimator=arm.estimator, length=sizes.length, **curves),
        "learned_last": context.rows(estimator=arm.estimator, length=sizes.length, last=last, mean=found["treasure"].mean(axis=1)),
    }
    if arm.estimator == "cocoa-reward":
        exact = ExactCocoa.of(layered, reward_outcomes(track.mdp))
        seen = context.evaluate(along_episode, fitted.state, context.keys("eval"), shared=(learner, exact))
        axes = {"step": range(sizes.length), "action": range(ACTIONS), "reward": track.rewards}
        tables["coefficients"] = context.rows(axes, length=sizes.length, learned=seen.learned, exact=seen.exact)
    if "bias" in found:
        tables["learned_bias"] = context.rows({"step": at.tolist()}, estimator=arm.estimator, length=sizes.length, bias=decibels(found["bias"]))
    return tables


class AlongEpisode(NamedTuple):
    """Coefficients of every action and reward other than 0 in the states of one episode."""

    learned: Float[Array, "time actions outcomes"]
    exact: Float[Array, "time actions outcomes"]


def along_episode(state: ActorCreditState, key: PRNGKeyArray, learner: ActorCredit, exact: ExactCocoa) -> AlongEpisode:
    """Sample an episode of the policy, and read the coefficients of its models and the exact ones."""
    observations, table = jnp.asarray(learner.observations, dtype=float), learner.probabilities(state.policy.model)
    states = replace(learner, batch_size=1).episodes(table, key).states[0]
    assert isinstance(learner.credit, LearnedCocoa)
    w = learner.credit.models_of(state.credit.model, observations, table).w
    return AlongEpisode(w[states], exact.models(table)[states][..., 1:])  # the first reward is 0


def progress(mdp: LayeredMDP, learner: ActorCredit, state: ActorCreditState, key: Any) -> dict[str, Array]:
    """Exact probabilities of taking the key and reaching the treasure without exploration, and the relative bias of models, where it is known."""
    observations = jnp.asarray(learner.observations, dtype=float)
    greedy = jax.nn.softmax(state.policy.model(observations))
    takes, opens = greedy[0, TAKE_KEY], greedy[2 * (len(greedy) // 2 - 2), OPEN_DOOR]
    found = {"key": takes, "treasure": takes * opens if learner.env.door else takes}
    credit, table = learner.credit, learner.probabilities(state.policy.model)
    if not isinstance(credit, LearnedCredit) or isinstance(credit, LearnedAdvantage | LearnedTrajCV):
        return found  # unbiased
    expected = expected_contributions(credit, credit.models_of(state.credit.model, observations, table), mdp, table)
    if expected is None:
        return found
    return {**found, "bias": relative_bias(table[0], expected, layered_action_values(mdp, table)[0])}
