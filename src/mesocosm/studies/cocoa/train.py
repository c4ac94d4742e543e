"""Trains policies on key-to-door with exact models of the current policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray

from mesocosm.envs.key_to_door import KeyToDoor
from mesocosm.learning.gradient_learner import GradientState
from mesocosm.learning.optimizers import adam
from mesocosm.learning.policy_gradient import PolicyGradient
from mesocosm.nn.policy import NetworkPolicy, TabularPolicy
from mesocosm.studies.cocoa.config import Estimator, Learning
from mesocosm.studies.cocoa.signal import exact_credit
from mesocosm.studies.cocoa.tables import at_rate
from mesocosm.studies.cocoa.track import success
from mesocosm.studies.interface import Context, Tables


@dataclass(frozen=True)
class EstimatorArm:
    """Training with one estimator."""

    estimator: Estimator
    learning: Learning
    at_rate_of: Estimator | None = None

    @property
    def name(self) -> str:
        """The estimator, and whose learning rate it has if that is another's."""
        return self.estimator if self.at_rate_of is None else at_rate(self.estimator, self.at_rate_of)

    @property
    def learning_rate(self) -> float:
        """The estimator's own learning rate, another's, or the common one."""
        return dict(self.learning.learning_rates).get(self.at_rate_of or self.estimator, self.learning.learning_rate)


def build_policy(arm: EstimatorArm, key: PRNGKeyArray) -> TabularPolicy | NetworkPolicy:
    """A uniform table, or a network with two hidden layers of 64 units (paper)."""
    if arm.learning.policy == "tabular":
        return TabularPolicy(jnp.zeros((2 * arm.learning.length, 4)))
    return NetworkPolicy.create(9, 4, key=key)


def learn(arm: EstimatorArm, context: Context) -> Tables:
    """Train all seeds with exact models of the current policy; measure the exact probability of the treasure without exploration."""
    sizes, env = arm.learning, KeyToDoor(arm.learning.length)
    params = env.default_params  # one layout for all seeds, as in the paper
    learner = PolicyGradient(
        build=Partial(build_policy, arm),
        env=env,
        params=params,
        observations=env.tabular(params).observations,
        credit=exact_credit(arm.estimator, env, params),
        optimizer=adam,
        hyperparameters={"learning_rate": arm.learning_rate},
        entropy=sizes.entropy,
        exploration=sizes.exploration,
        batch_size=sizes.batch_size,
    )
    fitted = context.fit("policy", learner, sizes.steps, probe=(progress, sizes.every))
    context.publish("policy", fitted.model)
    treasure, at = fitted.probes["treasure"], np.asarray(fitted.probe_steps)
    early = treasure[:, at <= sizes.solved_by].max(axis=1)
    last = treasure[:, at > 0.9 * sizes.steps].mean(axis=1)
    return {
        "learning": context.rows({"step": at.tolist()}, estimator=arm.name, treasure=treasure, key=fitted.probes["key"]),
        "solved": context.rows(estimator=arm.name, solved=(early > sizes.solved_at).astype(int), best_early=early, last=last),
    }


def progress(learner: PolicyGradient, state: GradientState, key: Any) -> dict[str, Array]:
    """Exact probabilities of taking the key and reaching the treasure without exploration."""
    return success(learner.env, jax.nn.softmax(learner.model(state)(jnp.asarray(learner.observations, dtype=float))))
