"""Policy gradients in a finite environment: a Learner whose update samples episodes, assigns credit and takes one optimiser step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mesocosm.envs.tabular import FiniteEnvironment
from mesocosm.learning.contributions import contribution_loss
from mesocosm.learning.exact_credit import Credit, Steps
from mesocosm.learning.gradient_learner import GradientLearner, Metrics, Transform
from mesocosm.nn.policy import explore


class CreditedSteps(NamedTuple):
    """A batch of episodes with their credit.

    Attributes:
        steps: states, actions and rewards of every step.
        contributions: the contribution of each action at every step.
    """

    steps: Steps
    contributions: Float[Array, "batch time actions"]


class PolicyGradient(GradientLearner):
    r"""Ascend $\frac1T \sum_t \sum_a \pi(a \mid S_t)\, C_t(a) + \beta\, \frac1T \sum_t H(\pi(\cdot \mid S_t))$, averaged over a fresh batch of episodes.

    The policy is evaluated once on all states of the environment; episodes, exact models and gradients use that table.

    Attributes:
        build: key -> policy, a module from observations (states, ...) to logits (states, actions).
        env: the environment.
        params: the environment's params.
        observations: observations of all its states (`tabular().observations`).
        credit: computes the contributions.
        optimizer: hyperparameters -> optax transformation, a module-level function.
        hyperparameters: passed to `optimizer` by name.
        entropy: $\beta$.
        exploration: $\epsilon$, the share of uniformly random actions.
        batch_size: episodes per update.
    """

    build: Callable[[Any], Any]
    env: FiniteEnvironment[Any, Any]
    params: Any
    observations: Float[Array | np.ndarray, "states *shape"]
    credit: Credit
    optimizer: Callable[..., Transform]
    hyperparameters: Mapping[str, Any]
    entropy: Any
    exploration: Any
    batch_size: int = eqx.field(static=True)

    def probabilities(self, policy: Any) -> Float[Array, "states actions"]:
        """The behaviour policy in all states."""
        return explore(policy(jnp.asarray(self.observations, dtype=float)), self.exploration)

    def episodes(self, table: Float[Array, "states actions"], key: Key[Array, ""]) -> Steps:
        """Sample episodes under this behaviour policy."""

        def one(key: Key[Array, ""]) -> Steps:
            episode = self.env.episode(key, lambda state: table[self.env.index(state, self.params)], self.params)
            states = jax.vmap(self.env.index, in_axes=(0, None))(episode.states, self.params)
            return Steps(states, episode.actions, episode.rewards, table[states], episode.taken)

        return jax.vmap(one)(jax.random.split(key, self.batch_size))

    def credited(self, table: Float[Array, "states actions"], steps: Steps) -> CreditedSteps:
        """Assign credit to the actions of given episodes; `table` is the behaviour policy."""
        models = self.credit.models(table)
        return CreditedSteps(steps, jax.vmap(self.credit.contributions, in_axes=(None, 0))(models, steps))

    def batch(self, model: Any, key: Key[Array, ""]) -> CreditedSteps:
        """Sample episodes under the present policy and assign credit."""
        table = self.probabilities(model)
        return self.credited(table, self.episodes(table, key))

    def objective(self, model: Any, batch: CreditedSteps, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """The negative of the formula above, and the batch's mean return."""
        steps, contributions = batch
        policy = self.probabilities(model)[steps.states]
        entropy = jnp.mean(jnp.sum(negative_p_log_p(policy), axis=-1) * steps.taken)
        loss = jnp.mean(jax.vmap(contribution_loss)(policy, contributions, steps.taken)) - self.entropy * entropy
        return loss, {"return": jnp.mean(jnp.sum(steps.rewards, axis=-1))}


def negative_p_log_p(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$-p \log p$, which is 0 at 0, with derivative 0 there; the limit of the derivative, infinity, would meet a softmax's zero gradient."""
    held = p >= jnp.finfo(p.dtype).tiny
    return -jnp.where(held, p * jnp.log(jnp.where(held, p, 1.0)), 0.0)
