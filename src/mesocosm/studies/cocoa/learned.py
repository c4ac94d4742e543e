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
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm.analysis.tabular.calibration import Calibration
from mesocosm.analysis.tabular.gradient_statistics import decibels
from mesocosm.analysis.tabular.layered_programming import layered_action_values
from mesocosm.learning.actor_credit import ActorCredit, ActorCreditState
from mesocosm.learning.credit_calibration import ValueErrors, calibration_of, value_errors
from mesocosm.learning.exact_credit import Credit, DiscountedReinforce, ExactCocoa, Reinforce
from mesocosm.learning.hindsight_losses import CONTRASTIVE
from mesocosm.learning.learned_credit import (
    CocoaOfClasses,
    Coefficients,
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
from mesocosm.nn.hindsight import HindsightNetwork
from mesocosm.studies.cocoa.config import Features, LearnedEstimator, LearnedModels, LearningRates, Training, rate_of
from mesocosm.studies.cocoa.expectations import expected_contributions, relative_bias
from mesocosm.studies.cocoa.features import WEIGHT_DECAY, FeatureOutcomes, learn_features, of_seeds
from mesocosm.studies.cocoa.track import ACTIONS, FEATURES, Process, Track, build_network_policy, success, track_of
from mesocosm.studies.interface import Context, Tables

HINDSIGHT = (*Calibration._fields, "dead_hidden", "dead_outputs", "silent")
"""What is measured of a hindsight network."""
OF_VALUES = (LearnedAdvantage.models_of, LearnedQCritic.models_of)


@dataclass(frozen=True)
class LearnedArm:
    """Training with one estimator."""

    estimator: LearnedEstimator
    sizes: LearnedModels
    features: Features


# --- estimators ----------------------------------------------------------------------------------------------------------


def same_outcome(observation: Array, action: Array, reward: Array) -> int:
    """One outcome for all rewards, which does not tell the treasure from an apple."""
    return 0


class UnsignedCocoa(LearnedCocoa):
    """COCOA-reward to which a reward and its negative are the same outcome; `values` are those above 0."""

    def outcomes(self, rewards: Float[Array, " time"]) -> Int[Array, " time"]:
        """The class of each reward's size, -1 for 0."""
        return super().outcomes(jnp.abs(rewards))


def learned_credit(name: LearnedEstimator, sizes: LearnedModels, track: Track, features: FeatureOutcomes | None = None) -> Credit:
    """Build an estimator for a track; COCOA-feature needs the features of one seed.

    Raises:
        ValueError: it is COCOA-feature, without features.
    """
    seen, width = (FEATURES, ACTIONS), sizes.width
    hindsight: Any = {"width": width, "gain": sizes.gain, "leak": sizes.leak, "by_episode": sizes.by_episode}
    makers: dict[LearnedEstimator, Callable[[], Credit]] = {
        "cocoa-reward": lambda: LearnedCocoa(*seen, track.rewards, **hindsight),
        "cocoa-feature": lambda: _of_features(features, hindsight),
        "cocoa-merged": lambda: LearnedCocoaOfOutcomes(*seen, same_outcome, 1, **hindsight),
        "cocoa-contrastive": lambda: LearnedCocoa(*seen, track.rewards, objective=CONTRASTIVE, **hindsight),
        "cocoa-unsigned": lambda: UnsignedCocoa(*seen, tuple(sorted({abs(reward) for reward in track.rewards})), **hindsight),
        "immediate": lambda: DiscountedReinforce(0.0),
        "q-critic": lambda: LearnedQCritic(*seen, width=width),
        "advantage": lambda: LearnedAdvantage(*seen, width=width),
        "trajcv": lambda: LearnedTrajCV(*seen, width=width),
        "hca-plus": lambda: LearnedCocoaOfStates(*seen, track.mdp.states, reachable_pairs(track.mdp), rewarded_only=False, **hindsight),
        "hca": lambda: LearnedHCAOfStates(*seen, track.mdp.states, reachable_pairs(track.mdp), rewarded_only=False, **hindsight),
        "hca-return": lambda: LearnedHCAReturn(*seen, **hindsight),
        "counterfactual-return": lambda: LearnedCounterfactualReturn(*seen, **hindsight),
        "reinforce": Reinforce,
    }
    return makers[name]()


def _of_features(features: FeatureOutcomes | None, hindsight: Any) -> Credit:
    if features is None:
        raise ValueError("COCOA-feature needs features")
    return LearnedCocoaOfVectors(FEATURES, ACTIONS, features.table, features.vectors, **hindsight)


# --- training ------------------------------------------------------------------------------------------------------------


def actor_credit(sizes: Training, rate: LearningRates, build: Any, env: Any, params: Any, observations: Any, credit: Credit, updates: int = 1) -> ActorCredit:
    """The learner of a policy with this credit, with AdamW."""
    return ActorCredit(
        build=build,
        env=env,
        params=params,
        observations=observations,
        credit=credit,
        optimizer=adamw,
        hyperparameters={"learning_rate": rate.policy, "weight_decay": WEIGHT_DECAY},
        entropy=sizes.entropy,
        exploration=sizes.exploration,
        batch_size=sizes.batch_size,
        credit_optimizer=adamw,
        credit_hyperparameters={"learning_rate": rate.models, "weight_decay": WEIGHT_DECAY},
        credit_updates=updates,
    )


def learner_of(sizes: LearnedModels, rate: LearningRates, track: Track, credit: Credit) -> ActorCredit:
    """The learner of a policy on a track."""
    build = Partial(build_network_policy, None)
    return actor_credit(sizes, rate, build, track.env, track.params, track.mdp.observations, credit, sizes.updates)


def learner_with_features(arm: LearnedArm, context: Context, track: Track) -> tuple[ActorCredit, dict[str, pl.DataFrame]]:
    """A learner of COCOA-feature with features of each seed, which are learned first; all its arrays have a seed axis."""
    features, table = learn_features(arm.features, context, *track)
    one = learned_credit(arm.estimator, arm.sizes, track, FeatureOutcomes(*(part[0] for part in features)))
    learner = of_seeds(learner_of(arm.sizes, rate_of(arm.sizes.learning_rates, arm.estimator), track, one), len(context.seeds))
    learner = eqx.tree_at(lambda each: (each.credit.table, each.credit.features_of), learner, (features.table, features.vectors))
    return learner, {"features": table}


def learner_of_arm(arm: LearnedArm, context: Context, track: Track) -> tuple[ActorCredit, dict[str, pl.DataFrame]]:
    """The learner of an arm, with a seed axis if it is COCOA-feature, and the tables of what was learned before."""
    if arm.estimator == "cocoa-feature":
        return learner_with_features(arm, context, track)
    return learner_of(arm.sizes, rate_of(arm.sizes.learning_rates, arm.estimator), track, learned_credit(arm.estimator, arm.sizes, track)), {}


def learn_models(arm: LearnedArm, context: Context) -> Tables:
    """Train all seeds with one estimator."""
    track = track_of(arm.sizes)
    learner, tables = learner_of_arm(arm, context, track)
    return tables | train_policy(arm.estimator, arm.sizes, track, learner, context, per_seed=bool(tables))


def train_policy(name: str, sizes: LearnedModels, track: Track, learner: ActorCredit, context: Context, *, per_seed: bool = False) -> dict[str, pl.DataFrame]:
    """Train all seeds, and measure what `progress` gives along the way."""
    process = track.process
    fitted = context.fit("policy", learner, sizes.steps, probe=(Partial(progress, process), sizes.every), per_seed=per_seed)
    context.publish("policy", fitted.model)
    at, found = np.asarray(fitted.probe_steps), fitted.probes
    last = found["treasure"][:, at > 0.9 * sizes.steps].mean(axis=1)
    steps, named = {"step": at.tolist()}, {"estimator": name, "length": sizes.length}
    tables = {
        "learned": context.rows(steps, **named, treasure=found["treasure"], key=found["key"]),
        "learned_last": context.rows(**named, last=last, mean=found["treasure"].mean(axis=1)),
    }
    if name == "cocoa-reward":
        exact = ExactCocoa.of(process.layered, reward_outcomes(track.mdp))
        seen = context.evaluate(along_episode, fitted.state, context.keys("eval"), shared=(learner, exact))
        axes = {"step": range(sizes.length), "action": range(ACTIONS), "reward": track.rewards}
        tables["coefficients"] = context.rows(axes, length=sizes.length, learned=seen.learned, exact=seen.exact)
    if "logit_bias" in found:
        tables["learned_bias"] = context.rows(steps, **named, logit_bias=decibels(found["logit_bias"]))
    for table, columns in (("hindsight", HINDSIGHT), ("values", ValueErrors._fields)):
        if columns[0] in found:
            tables[table] = context.rows(steps, **named, **{column: found[column] for column in columns})
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


def treasure_only(learner: ActorCredit, state: ActorCreditState, key: Any) -> dict[str, Array]:
    """Exact probabilities of taking the key and reaching the treasure without exploration."""
    return success(learner.env, jax.nn.softmax(state.policy.model(jnp.asarray(learner.observations, dtype=float))))


def progress(process: Process, learner: ActorCredit, state: ActorCreditState, key: Any) -> dict[str, Array]:
    """The same, the relative bias of the gradient of the first state's logits where it is known and not 0, and how good the networks are."""
    found = treasure_only(learner, state, key)
    credit, table = learner.credit, learner.probabilities(state.policy.model)
    if not isinstance(credit, LearnedCredit):
        return found
    models = credit.models_of(state.credit.model, jnp.asarray(learner.observations, dtype=float), table)
    if type(credit).models_of in OF_VALUES:
        found |= value_errors(models, process.mdp, table)._asdict()
    expected = None if isinstance(credit, LearnedAdvantage | LearnedTrajCV) else expected_contributions(credit, models, process, table)  # these have none
    if expected is not None:
        found |= {"logit_bias": relative_bias(table[0], expected, layered_action_values(process.layered, table)[0])}
    return found | hindsight(credit, models, state.credit.model, process, table)


def hindsight(credit: LearnedCredit, models: Any, network: Any, process: Process, table: Float[Array, "states actions"]) -> dict[str, Array]:
    """Calibration of a hindsight network, its dead units, and whether it is silent at the first step, with outputs of exactly 0 for every outcome, which leaves
    the policy as it is; nothing of other models.
    """
    if isinstance(credit, LearnedHCAOfStates) and isinstance(network, tuple):
        (models, _), (network, _) = models, network
    if not (isinstance(credit, CocoaOfClasses) and isinstance(models, Coefficients) and isinstance(network, HindsightNetwork)):
        return {}
    observations = jnp.asarray(process.mdp.observations, dtype=float)
    dead, silent = network.dead(*credit.inputs(observations)), jnp.all(credit.outputs(network, observations, table)[0] == 0)
    return dict(zip(HINDSIGHT, (*calibration_of(credit, models.w, process.mdp, table), *dead, silent.astype(table.dtype)), strict=True))
