"""Trains policies on key-to-door with models that learn beside them, and measures how far these models are from the exact ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.tabular.gradient_statistics import decibels
from mesocosm.analysis.tabular.layered_programming import layered_action_values, layered_outcome_counts
from mesocosm.envs.key_to_door import OPEN_DOOR, TAKE_KEY, KeyToDoor
from mesocosm.envs.tabular import LayeredMDP
from mesocosm.learning.actor_credit import ActorCredit, ActorCreditState
from mesocosm.learning.hindsight_losses import CONTRASTIVE
from mesocosm.learning.learned_credit import (
    LearnedAdvantage,
    LearnedCocoa,
    LearnedCocoaOfPairs,
    LearnedCounterfactualReturn,
    LearnedCredit,
    LearnedHCA,
    LearnedHCAReturn,
    LearnedQCritic,
    LearnedTrajCV,
)
from mesocosm.learning.optimizers import adamw
from mesocosm.nn.policy import NetworkPolicy
from mesocosm.studies.cocoa.config import LearnedEstimator, LearnedModels
from mesocosm.studies.interface import Context, Tables

FEATURES, ACTIONS = 9, 4
WEIGHT_DECAY = 1e-4  # optax's default, as in the authors' code


@dataclass(frozen=True)
class LearnedArm:
    """Training with one estimator."""

    estimator: LearnedEstimator
    sizes: LearnedModels


def build_network_policy(arm: LearnedArm, key: PRNGKeyArray) -> NetworkPolicy:
    """Two hidden layers of 64 units (paper)."""
    return NetworkPolicy.create(FEATURES, ACTIONS, key=key)


def learned_credit(arm: LearnedArm, values: tuple[float, ...]) -> LearnedCredit:
    """Build the arm's estimator; `values` are the rewards other than 0."""
    sizes, width = (FEATURES, ACTIONS), arm.sizes.width
    hindsight = {"width": width, "gain": arm.sizes.gain, "by_episode": arm.sizes.by_episode}
    makers = {
        "cocoa-reward": lambda: LearnedCocoa(*sizes, values, **hindsight),
        "cocoa-contrastive": lambda: LearnedCocoa(*sizes, values, objective=CONTRASTIVE, **hindsight),
        "q-critic": lambda: LearnedQCritic(*sizes, width=width),
        "advantage": lambda: LearnedAdvantage(*sizes, width=width),
        "trajcv": lambda: LearnedTrajCV(*sizes, width=width),
        "hca-plus": lambda: LearnedCocoaOfPairs(*sizes, rewarded_only=False, **hindsight),
        "hca": lambda: LearnedHCA(*sizes, rewarded_only=False, **hindsight),
        "hca-return": lambda: LearnedHCAReturn(*sizes, **hindsight),
        "counterfactual-return": lambda: LearnedCounterfactualReturn(*sizes, **hindsight),
    }
    return makers[arm.estimator]()


def learn_models(arm: LearnedArm, context: Context) -> Tables:
    """Train all seeds; measure the exact probability of the treasure without exploration, and the exact bias of the first step's gradient."""
    sizes, env = arm.sizes, KeyToDoor(arm.sizes.length)
    params = env.default_params  # one layout for all seeds, as in the paper
    mdp = env.tabular(params)
    policy_rate, models_rate = next((ours, models) for name, ours, models in sizes.learning_rates if name == arm.estimator)
    learner = ActorCredit(
        build=Partial(build_network_policy, arm),
        env=env,
        params=params,
        observations=mdp.observations,
        credit=learned_credit(arm, tuple(float(value) for value in mdp.reward_values if value)),
        optimizer=adamw,
        hyperparameters={"learning_rate": policy_rate, "weight_decay": WEIGHT_DECAY},
        entropy=sizes.entropy,
        exploration=sizes.exploration,
        batch_size=sizes.batch_size,
        credit_optimizer=adamw,
        credit_hyperparameters={"learning_rate": models_rate, "weight_decay": WEIGHT_DECAY},
    )
    fitted = context.fit("policy", learner, sizes.steps, probe=(Partial(progress, LayeredMDP.of(mdp)), sizes.every))
    context.publish("policy", fitted.model)
    at, found = np.asarray(fitted.probe_steps), fitted.probes
    bias = {"bias": decibels(found["bias"])} if "bias" in found else {}
    last = found["treasure"][:, at > 0.9 * sizes.steps].mean(axis=1)
    curves = {name: found[name] for name in ("treasure", "key")}
    tables = {
        "learned": context.rows({"step": at.tolist()}, estimator=arm.estimator, **curves),
        "learned_last": context.rows(estimator=arm.estimator, last=last, mean=found["treasure"].mean(axis=1)),
    }
    return tables | ({"learned_bias": context.rows({"step": at.tolist()}, estimator=arm.estimator, **bias)} if bias else {})


def progress(mdp: LayeredMDP, learner: ActorCredit, state: ActorCreditState, key: Any) -> dict[str, Array]:
    """Exact probabilities of taking the key and reaching the treasure without exploration, and the relative bias where it is known."""
    observations = jnp.asarray(learner.observations, dtype=float)
    greedy = jax.nn.softmax(state.policy.model(observations))
    takes, opens = greedy[0, TAKE_KEY], greedy[2 * (len(greedy) // 2 - 2), OPEN_DOOR]
    table = learner.probabilities(state.policy.model)
    found = {"key": takes, "treasure": takes * opens}
    credit = learner.credit
    if isinstance(credit, LearnedCocoa):
        expected = first_contributions(mdp, table, credit.models_of(state.credit.model, observations, table).w)
    elif type(credit) is LearnedQCritic:
        expected = credit.models_of(state.credit.model, observations, table)[0]
    else:
        return found
    return {**found, "bias": relative_bias(table[0], expected, layered_action_values(mdp, table)[0])}


def first_contributions(mdp: LayeredMDP, policy: Array, learned: Float[Array, "states actions outcomes"]) -> Float[Array, " actions"]:
    r"""$\sum_u \hat w(s_0, a, u)\, E[\sum_{k \ge 1} 1\{U_k = u\} R_k \mid s_0]$ for U = R; the first step has no reward itself.

    The learned coefficients leave out the reward 0, which is the first of the environment's.
    """
    rewards = mdp.by_state(jnp.asarray(mdp.reward_probability, policy.dtype))
    counts = layered_outcome_counts(mdp, policy, jnp.einsum("sa,sar->sr", policy, rewards))
    return learned[0] @ (policy[0] @ counts[0] * jnp.asarray(mdp.reward_values, policy.dtype))[1:]


def relative_bias(policy: Float[Array, " actions"], expected: Float[Array, " actions"], true: Float[Array, " actions"]) -> Float[Array, ""]:
    """Squared distance of the expected gradient of the first state's logits from the true one, over the latter's square."""

    def gradient(contribution: Array) -> Array:
        return policy * (contribution - contribution @ policy)

    return jnp.sum((gradient(expected) - gradient(true)) ** 2) / jnp.sum(gradient(true) ** 2)
