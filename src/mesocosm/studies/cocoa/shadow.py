r"""Shadow training: models of all estimators learn from the same episodes of a policy that they do not influence. Bias, variance and signal-to-noise ratio of
the first step's gradient are measured along the way (Fig. 3C, 3D and 1B right).

The gradient is that of all parameters of the policy's network. For contributions c of the first step it is $J^\top c$, where J is the Jacobian of the action
probabilities, so that squared norms are $c^\top J J^\top c$. The true gradient, and the mean of an estimator where it is known, come from dynamic programming.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Key

from mesocosm.analysis.tabular.gradient_statistics import decibels
from mesocosm.analysis.tabular.layered_programming import layered_action_values
from mesocosm.learning.actor_credit import improve_credit, start_credit
from mesocosm.learning.exact_credit import Credit, ExactQCritic, Steps
from mesocosm.learning.gradient_learner import GradientState, gradient_step
from mesocosm.learning.learned_credit import Experience, LearnedCredit
from mesocosm.learning.optimizers import adamw
from mesocosm.learning.policy_gradient import PolicyGradient
from mesocosm.numerics.linear_algebra import eigh
from mesocosm.numerics.precision import FULL
from mesocosm.studies.cocoa.config import TRACK_RATES, Features, LearnedModels, Shadow, rate_of
from mesocosm.studies.cocoa.expectations import expected_contributions
from mesocosm.studies.cocoa.features import WEIGHT_DECAY, FeatureOutcomes, learn_features, of_seeds
from mesocosm.studies.cocoa.learned import learned_credit
from mesocosm.studies.cocoa.signal import exact_credit
from mesocosm.studies.cocoa.tables import EXACT
from mesocosm.studies.cocoa.track import Process, Track, build_network_policy, success, track_of
from mesocosm.studies.interface import Context, Tables

CHUNK = 128  # episodes at once
CEILING_DB = 120.0  # for a ratio whose denominator underflows


@dataclass(frozen=True)
class ShadowArm:
    """The sizes of shadow training, and of the features of COCOA-feature."""

    sizes: Shadow
    features: Features


class ShadowState(NamedTuple):
    """The policy, and every estimator's networks, with their optimisers' states."""

    policy: GradientState
    shadows: tuple[GradientState, ...]


class ShadowLearner(PolicyGradient):
    """A policy that learns with `credit`, and further estimators that learn from its episodes.

    Attributes:
        shadows: the further estimators.
        rates: the learning rates of their networks.
    """

    shadows: tuple[Credit, ...]
    rates: tuple[Any, ...]

    def init(self, key: Key[Array, ""]) -> Any:
        """Build the policy from one key, and the networks of every estimator from another, so that equal networks start equal."""
        policy_key, credit_key = jax.random.split(key)
        states = [start_credit(credit, _transform(rate), credit_key) for credit, rate in zip(self.shadows, self.rates, strict=True)]
        return ShadowState(super().init(policy_key), tuple(states))

    def update(self, state: Any, key: Key[Array, ""]) -> Any:
        """One batch of episodes, from which everything learns."""
        table = self.probabilities(state.policy.model)
        experience = Experience(jnp.asarray(self.observations, dtype=float), table, self.episodes(table, key))
        shadows = [
            improve_credit(credit, experience, shadow, _transform(rate)).state if isinstance(credit, LearnedCredit) else shadow
            for credit, shadow, rate in zip(self.shadows, state.shadows, self.rates, strict=True)
        ]
        credited = self.credited(table, experience.steps)
        policy, metrics = gradient_step(lambda policy: self.objective(policy, credited, key), state.policy, self.transform(), self.trained(state.policy.model))
        return ShadowState(policy, tuple(shadows)), metrics

    def model(self, state: Any) -> Any:
        """The policy."""
        return state.policy.model


def _transform(rate: Any) -> Any:
    return adamw(rate, weight_decay=WEIGHT_DECAY)


def train_shadows(arm: ShadowArm, context: Context) -> Tables:
    """Train all seeds; statistics of every estimator at every measurement."""
    sizes, names = arm.sizes, (*arm.sizes.estimators, *(f"{EXACT}{name}" for name in arm.sizes.exact))
    track = track_of(models := LearnedModels(length=sizes.length, width=sizes.width))
    features, tables = learn_features(arm.features, context, *track) if "cocoa-feature" in names else (None, None)
    learner = of_seeds(shadow_learner(sizes, models, track, features), len(context.seeds))
    if features is not None:
        place = names.index("cocoa-feature")
        learner = eqx.tree_at(lambda each: (each.shadows[place].table, each.shadows[place].features_of), learner, (features.table, features.vectors))
    fitted = context.fit("shadow", learner, sizes.steps, probe=(Partial(measure, track.process, sizes.episodes), sizes.every), per_seed=True)
    found, at = fitted.probes, np.asarray(fitted.probe_steps)
    rows = [
        context.rows(
            {"step": at.tolist()},
            estimator=name,
            length=sizes.length,
            treasure=found["treasure"],
            **{statistic: np.minimum(decibels(found[statistic][..., place]), CEILING_DB) for statistic in ("snr", "variance", "bias")},
            known=found["known"][..., place].astype(int),
        )
        for place, name in enumerate(names)
    ]
    return {"shadow": pl.concat(rows), **({} if tables is None else {"features": tables})}


def shadow_learner(sizes: Shadow, models: LearnedModels, track: Track, features: FeatureOutcomes | None) -> ShadowLearner:
    """The learner of one seed; the features of the first."""
    first = None if features is None else FeatureOutcomes(*(part[0] for part in features))
    learned = tuple(learned_credit(name, models, track, first) for name in sizes.estimators)
    exact = tuple(exact_credit(name, track.env, track.params) for name in sizes.exact)
    return ShadowLearner(
        build=Partial(build_network_policy, None),
        env=track.env,
        params=track.params,
        observations=track.mdp.observations,
        credit=ExactQCritic(track.process.layered),
        optimizer=adamw,
        hyperparameters={"learning_rate": sizes.learning_rate, "weight_decay": WEIGHT_DECAY},
        entropy=sizes.entropy,
        exploration=sizes.exploration,
        batch_size=sizes.batch_size,
        shadows=learned + exact,
        rates=(*(rate_of(TRACK_RATES, name).models for name in sizes.estimators), *(0.0 for _ in exact)),
    )


class Statistics(NamedTuple):
    """Statistics of one estimator, relative to the squared norm of the true gradient; `known` tells whether the mean is exact or that of the episodes."""

    snr: Float[Array, ""]
    variance: Float[Array, ""]
    bias: Float[Array, ""]
    known: Bool[Array, ""]


def measure(process: Process, episodes: int, learner: ShadowLearner, state: ShadowState, key: Any) -> dict[str, Array]:
    """Probability of the treasure without exploration, and every estimator's statistics on the same episodes."""
    policy, table = state.policy.model, learner.probabilities(state.policy.model)
    observations = jnp.asarray(learner.observations, dtype=float)
    greedy = jax.nn.softmax(policy(observations))
    steps = replace(learner, batch_size=episodes).episodes(table, key)
    root, true = first_step(learner, policy), layered_action_values(process.layered, table)[0]
    found = []
    for credit, shadow in zip(learner.shadows, state.shadows, strict=True):
        models = credit.models_of(shadow.model, observations, table)
        sampled = jax.lax.map(partial(_first, credit, models), steps, batch_size=CHUNK)
        found.append(statistics(root, sampled, true, expected_contributions(credit, models, process, table)))
    return {
        "treasure": success(learner.env, greedy)["treasure"],
        **{name: jnp.stack([getattr(each, name) for each in found]) for name in Statistics._fields},
    }


def _first(credit: Credit, models: Any, steps: Steps) -> Float[Array, " actions"]:
    return credit.contributions(models, steps)[0]


def first_step(learner: PolicyGradient, policy: Any) -> Float[Array, "actions actions"]:
    r"""A root R of $J J^\top = R R^\top$ for the action probabilities in the first state, by all parameters of the policy."""
    parameters, fixed = eqx.partition(policy, eqx.is_inexact_array)
    jacobian = jax.jacrev(lambda parameters: learner.probabilities(eqx.combine(parameters, fixed))[0])(parameters)
    flat = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(jacobian)], axis=1)
    lengths, directions = eigh(jnp.matmul(flat, flat.T, precision=FULL))
    return directions * jnp.sqrt(jnp.maximum(lengths, 0.0))


def statistics(
    root: Float[Array, "actions actions"],
    sampled: Float[Array, "episodes actions"],
    true: Float[Array, " actions"],
    expected: Float[Array, " actions"] | None,
) -> Statistics:
    """Statistics of gradients with these contributions. What is the same for all actions moves no probability, and is left out."""
    sampled, true = (part - jnp.mean(part, axis=-1, keepdims=True) for part in (sampled, true))
    mean = jnp.mean(sampled, axis=0) if expected is None else expected - jnp.mean(expected)

    def square(contributions: Array) -> Array:
        return jnp.sum(jnp.matmul(contributions, root, precision=FULL) ** 2, axis=-1)

    signal = square(true)
    error, spread = jnp.mean(square(sampled - true)), jnp.mean(square(sampled - mean))
    return Statistics(signal / error, spread / signal, square(mean - true) / signal, jnp.asarray(expected is not None))
