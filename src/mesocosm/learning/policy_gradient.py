"""Policy gradients in a finite environment, as a Learner whose update samples episodes, assigns credit and takes one optimiser step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from mesocosm.envs.environment import FiniteEnvironment
from mesocosm.learning.contributions import contribution_loss
from mesocosm.learning.exact_credit import Credit, Steps
from mesocosm.learning.learner import Learner
from mesocosm.nn.policy import explore


class PolicyGradientState(NamedTuple):
    """State of `PolicyGradient`.

    Attributes:
        policy: the module being trained.
        optimizer: the optax state over its inexact arrays.
    """

    policy: Any
    optimizer: PyTree


class PolicyGradient(Learner):
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
    optimizer: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, Any]
    entropy: Any
    exploration: Any
    batch_size: int = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> PolicyGradientState:
        """The initial policy and optimiser state."""
        policy = self.build(key)
        return PolicyGradientState(policy, self.optimizer(**self.hyperparameters).init(eqx.filter(policy, eqx.is_inexact_array)))

    def probabilities(self, policy: Any) -> Float[Array, "states actions"]:
        """The behaviour policy in all states."""
        return explore(policy(jnp.asarray(self.observations, dtype=float)), self.exploration)

    def batch(self, table: Float[Array, "states actions"], key: Key[Array, ""]) -> Steps:
        """Sample a batch of episodes under this policy."""

        def one(key: Key[Array, ""]) -> Steps:
            episode = self.env.episode(key, lambda state: table[self.env.index(state, self.params)], self.params)
            states = jax.vmap(self.env.index, in_axes=(0, None))(episode.states, self.params)
            return Steps(states, episode.actions, episode.rewards, table[states], episode.taken)

        return jax.vmap(one)(jax.random.split(key, self.batch_size))

    def update(self, state: PolicyGradientState, key: Key[Array, ""]) -> tuple[PolicyGradientState, dict[str, Float[Array, ""]]]:
        """Sample one batch and take one optimiser step."""
        table = self.probabilities(state.policy)
        return self.improve(state, table, self.batch(table, key))

    def improve(
        self, state: PolicyGradientState, table: Float[Array, "states actions"], steps: Steps
    ) -> tuple[PolicyGradientState, dict[str, Float[Array, ""]]]:
        """Take one optimiser step on a given batch of episodes; `table` is the behaviour policy."""
        models = self.credit.models(table)
        contributions = jax.vmap(self.credit.contributions, in_axes=(None, 0))(models, steps)
        trained, fixed = eqx.partition(state.policy, eqx.is_inexact_array)

        def loss(trained: PyTree) -> Float[Array, ""]:
            policy = self.probabilities(eqx.combine(trained, fixed))[steps.states]
            entropy = -jnp.mean(jnp.sum(policy * jnp.log(policy), axis=-1) * steps.taken)
            return jnp.mean(jax.vmap(contribution_loss)(policy, contributions, steps.taken)) - self.entropy * entropy

        gradient = jax.grad(loss)(trained)
        updates, optimizer = self.optimizer(**self.hyperparameters).update(gradient, state.optimizer, trained)
        policy = eqx.combine(optax.apply_updates(trained, updates), fixed)
        metrics = {"return": jnp.mean(jnp.sum(steps.rewards, axis=-1)), "gradient_norm": optax.tree.norm(gradient)}
        return PolicyGradientState(policy, optimizer), metrics

    def model(self, state: PolicyGradientState) -> Any:
        """The policy."""
        return state.policy
