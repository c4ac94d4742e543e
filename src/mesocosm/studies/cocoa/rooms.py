"""Trains policies on task interleaving with learned models (Fig. 4): how often questions are answered correctly, and which contexts get credit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.analysis.tabular.dynamic_programming import coefficients, occupancy, outcome_counts, outcome_probability, successor
from mesocosm.envs.interleaving import Interleaving
from mesocosm.envs.tabular import TabularMDP
from mesocosm.learning.actor_credit import ActorCredit, ActorCreditState
from mesocosm.learning.exact_credit import Credit, DiscountedReinforce, Reinforce
from mesocosm.learning.learned_credit import LearnedAdvantage, LearnedCocoa, LearnedQCritic, LearnedTrajCV
from mesocosm.learning.outcome_credit import LearnedCocoaOfVectors
from mesocosm.learning.outcomes import Encoding, reward_outcomes, state_outcomes
from mesocosm.nn.policy import NetworkPolicy, explore
from mesocosm.studies.cocoa.config import LearnedEstimator, Rooms, rate_of
from mesocosm.studies.cocoa.learned import actor_credit
from mesocosm.studies.interface import Context, Tables

ENCODINGS = ("cocoa-reward", "hca-plus", "cocoa-merged")


@dataclass(frozen=True)
class RoomsArm:
    """Training with one estimator."""

    estimator: LearnedEstimator
    sizes: Rooms


def rooms_of(sizes: Rooms) -> Interleaving:
    """The environment of these sizes."""
    return Interleaving(sizes.contexts, sizes.most_open, sizes.kinds, sizes.limit)


def build_room_policy(arm: RoomsArm, key: PRNGKeyArray) -> NetworkPolicy:
    """Two hidden layers of 64 units (paper)."""
    return NetworkPolicy.create(rooms_of(arm.sizes).observation_space(rooms_of(arm.sizes).default_params).shape[0], 2, key=key)


def room_credit(arm: RoomsArm, mdp: TabularMDP) -> Credit:
    """Build an estimator. HCA+ learns from rooms with a reward only, as in the authors' code, and there its outcome is the room."""
    sizes, width = (mdp.observations.shape[1], mdp.actions), arm.sizes.width
    rewarded = np.asarray(mdp.mean_reward)[:, 0] != 0
    places = np.repeat(np.where(rewarded, np.cumsum(rewarded) - 1, 0)[:, None], mdp.actions, axis=1).astype(np.int32)
    makers: dict[str, Callable[[], Credit]] = {
        "cocoa-reward": lambda: LearnedCocoa(*sizes, tuple(float(value) for value in mdp.reward_values if value), width=width),
        "immediate": lambda: DiscountedReinforce(0.0),
        "q-critic": lambda: LearnedQCritic(*sizes, width=width),
        "advantage": lambda: LearnedAdvantage(*sizes, width=width),
        "trajcv": lambda: LearnedTrajCV(*sizes, width=width),
        "hca-plus": lambda: LearnedCocoaOfVectors(*sizes, places, np.asarray(mdp.observations)[rewarded], width=width),
        "reinforce": Reinforce,
    }
    return makers[arm.estimator]()


def learn_rooms(arm: RoomsArm, context: Context) -> Tables:
    """Train all seeds; measure the share of questions answered correctly, without exploration, and the credit of contexts with exact coefficients."""
    sizes, env = arm.sizes, rooms_of(arm.sizes)
    params = env.params(death=sizes.death)  # one set of objects for all seeds
    mdp = env.tabular(params)
    rate, build = rate_of(sizes.learning_rates, arm.estimator), Partial(build_room_policy, arm)
    learner = actor_credit(sizes, rate, build, env, params, mdp.observations, room_credit(arm, mdp))
    fitted = context.fit("policy", learner, sizes.steps, probe=(Partial(correct, mdp), sizes.every))
    context.publish("policy", fitted.model)
    at, share = np.asarray(fitted.probe_steps), fitted.probes["correct"]
    credit = context.evaluate(Partial(credit_of_contexts, env, sizes.exploration), fitted.model, shared=(mdp,))
    contexts = range(sizes.contexts)
    tables = {
        "rooms": context.rows({"step": at.tolist()}, estimator=arm.estimator, correct=share),
        "rooms_last": context.rows(estimator=arm.estimator, last=share[:, at > 0.9 * sizes.steps].mean(axis=1), mean=share.mean(axis=1)),
        "rooms_credit": context.rows({"encoding": ENCODINGS, "asked": contexts, "answered": contexts}, estimator=arm.estimator, share=credit),
    }
    diagonal = np.trace(credit, axis1=2, axis2=3) / sizes.contexts
    return tables | {"rooms_diagonal": context.rows({"encoding": ENCODINGS}, estimator=arm.estimator, diagonal=diagonal)}


def correct(mdp: TabularMDP, learner: ActorCredit, state: ActorCreditState, key: Any) -> dict[str, Array]:
    """The probability that a question is answered correctly, over all questions of an episode, without exploration."""
    policy = jax.nn.softmax(state.policy.model(jnp.asarray(learner.observations, dtype=float)))
    states = learner.env.every_state()
    visits = occupancy(mdp, policy) * ~states.answer
    right = jnp.where(states.flip, policy[:, 1], policy[:, 0])
    return {"correct": visits @ right / visits.sum()}


def credit_of_contexts(env: Interleaving, exploration: float, policy: NetworkPolicy, mdp: TabularMDP) -> Float[Array, "encodings asked answered"]:
    """Mean absolute exact coefficients from questions of one context to rewarded answers of another, as shares of the question's context (Fig. 4C)."""
    table = explore(policy(jnp.asarray(mdp.observations, float)), exploration)
    visits, follows = occupancy(mdp, table), successor(mdp, table)
    states = env.every_state()
    asked = jax.nn.one_hot(states.context, env.contexts) * ~states.answer[:, None]
    merged = Encoding(jnp.broadcast_to(jnp.asarray(mdp.reward_values) != 0, mdp.reward_probability.shape).astype(jnp.int32), 2)
    found = []
    for encoding in (reward_outcomes(mdp), state_outcomes(mdp), merged):
        w = coefficients(outcome_counts(follows, outcome_probability(mdp, table, *encoding)), table)
        found.append(_shares(mdp, table, visits, follows, asked, states, w, jnp.asarray(encoding.classes)))
    return jnp.stack(found)


def _shares(
    mdp: TabularMDP,
    table: Array,
    visits: Array,
    follows: Array,
    asked: Array,
    states: Any,
    w: Float[Array, "states actions outcomes"],
    classes: Int[Array, "states actions rewards"],
) -> Float[Array, "asked answered"]:
    size = jnp.einsum("sa,sau->su", table, jnp.abs(w))
    rewarded: Bool[Array, " states"] = jnp.asarray(mdp.mean_reward)[:, 0] != 0
    outcome = classes[jnp.arange(mdp.states), 0, jnp.argmax(jnp.asarray(mdp.reward_probability)[:, 0], axis=-1)]  # rewards do not depend on the action
    pairs = visits[:, None] * jnp.einsum("sa,saz->sz", table, follows) * rewarded
    answered = jax.nn.one_hot(states.context, asked.shape[1])
    total, count = (jnp.einsum("si,sz,zj->ij", asked, weight, answered) for weight in (pairs * size[:, outcome], pairs))
    mean = total / count
    return mean / jnp.sum(mean, axis=1, keepdims=True)
