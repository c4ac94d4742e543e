"""A policy and the networks that assign credit to its actions, trained side by side on the same episodes, as an actor and a critic are.

Use it with any `Environment`, whose observations are all that the networks see; with a finite one, where they are evaluated once per state; or with
episodes that you collect yourself, for example in Gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mesocosm.learning.exact_credit import Credit, Steps
from mesocosm.learning.gradient_learner import GradientState, Metrics, Step, Transform, gradient_step, start
from mesocosm.learning.learned_credit import Experience, LearnedCredit
from mesocosm.learning.policy_gradient import CreditedSteps, PolicyGradient


class Episodes(NamedTuple):
    """A batch of episodes under the present policy, padded to the same number of steps.

    Attributes:
        observations: what the agent saw at each step.
        actions: what it did.
        rewards: what it got for it; zero after the end.
        taken: False after the end.
    """

    observations: Float[Array | np.ndarray, "batch time *shape"]
    actions: Int[Array | np.ndarray, "batch time"]
    rewards: Float[Array | np.ndarray, "batch time"]
    taken: Bool[Array | np.ndarray, "batch time"]


class ActorCreditState(NamedTuple):
    """State of an `ActorCredit`.

    Attributes:
        policy: the policy and its optimiser's state.
        credit: the same for the networks of the credit.
    """

    policy: GradientState
    credit: GradientState


class ActorCredit(PolicyGradient):
    """`PolicyGradient` with learned credit: on each batch, first one optimiser step (or more) of the credit's networks, then one of the policy.

    The episodes must come from the present policy: hindsight depends on it.

    Attributes:
        build, params, optimizer, hyperparameters, entropy, exploration, batch_size: as in `PolicyGradient`.
        env: any `Environment`; None if you call `step` only.
        observations: those of all states of a finite environment; None to evaluate the networks on the batch's own observations.
        credit: the credit to learn; one that learns nothing (`Reinforce`, or exact models of a finite environment) is used as it is.
        credit_optimizer: hyperparameters -> optax transformation for its networks.
        credit_hyperparameters: passed to `credit_optimizer` by name.
        credit_updates: optimiser steps of the credit's networks on each batch, one or more.

    Raises:
        ValueError: there is no such step.
    """

    env: Any
    observations: Any
    credit: Credit
    credit_optimizer: Callable[..., Transform]
    credit_hyperparameters: Mapping[str, Any]
    credit_updates: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        if self.credit_updates < 1:
            raise ValueError(f"the credit's networks take one step or more on each batch, not {self.credit_updates}: use a rate of 0 to keep them as they are")

    def credit_transform(self) -> Transform:
        """The optax transformation of the credit's networks."""
        return self.credit_optimizer(**self.credit_hyperparameters)

    def init(self, key: Key[Array, ""]) -> Any:
        """Build policy and networks."""
        policy_key, credit_key = jax.random.split(key)
        return ActorCreditState(super().init(policy_key), start_credit(self.credit, self.credit_transform(), credit_key))

    def update(self, state: Any, key: Key[Array, ""]) -> Any:
        """Sample a batch of episodes and learn from it."""
        if self.observations is None:
            return self.step(state, self.sample(state.policy.model, key), key)
        table = self.probabilities(state.policy.model)
        return self.learn(state, Experience(jnp.asarray(self.observations, dtype=float), table, self.episodes(table, key)), key)

    def sample(self, policy: Any, key: Key[Array, ""]) -> Episodes:
        """Sample episodes of the environment under a policy that sees only observations."""

        def act(state: Any) -> Float[Array, " actions"]:
            return replace(self, observations=self.env.observe(state, self.params)[None]).probabilities(policy)[0]

        episodes = jax.vmap(lambda key: self.env.episode(key, act, self.params))(jax.random.split(key, self.batch_size))
        return Episodes(episodes.observations, episodes.actions, episodes.rewards, episodes.taken)

    def step(self, state: Any, batch: Episodes, key: Key[Array, ""]) -> Any:
        """Learn from given episodes."""
        seen, actions, rewards, taken = map(jnp.asarray, batch)
        here = replace(self, observations=seen.reshape(-1, *seen.shape[2:]))
        table, rows = here.probabilities(state.policy.model), jnp.arange(actions.size).reshape(actions.shape)
        return here.learn(state, Experience(here.observations, table, Steps(rows, actions, rewards, table[rows], taken)), key)

    def learn(self, state: ActorCreditState, experience: Experience, key: Key[Array, ""]) -> tuple[ActorCreditState, dict[str, Any]]:
        """One step of the credit's networks, contributions by the improved networks, and one step of the policy."""
        observations, table, steps = experience

        if isinstance(self.credit, LearnedCredit):
            improved, told = improve_credit(self.credit, experience, state.credit, self.credit_transform(), self.credit_updates)
            told = {"credit_loss": told["loss"]}
        else:
            improved, told = state.credit, {}
        models = self.credit.models_of(improved.model, observations, table)
        credited = CreditedSteps(steps, jax.vmap(self.credit.contributions, in_axes=(None, 0))(models, steps))

        def policy_loss(policy: Any) -> tuple[Float[Array, ""], Metrics]:
            return self.objective(policy, credited, key)

        policy, metrics = gradient_step(policy_loss, state.policy, self.transform(), self.trained(state.policy.model))
        return ActorCreditState(policy, improved), {**metrics, **told}

    def model(self, state: Any) -> Any:
        """The policy."""
        return state.policy.model


def start_credit(credit: Credit, transform: Transform, key: Key[Array, ""]) -> GradientState:
    """The networks of a credit before the first batch; there are none if it learns nothing."""
    return start(credit.build(key) if isinstance(credit, LearnedCredit) else None, transform)


def improve_credit(credit: LearnedCredit, experience: Experience, state: GradientState, transform: Transform, updates: int = 1) -> Step:
    """Take optimiser steps of a credit's networks on one batch; the metrics are those of the first."""
    loss = partial(_credit_loss, credit, experience)
    first = gradient_step(loss, state, transform)
    if updates == 1:
        return first
    arrays, fixed = eqx.partition(first.state, eqx.is_array)

    def again(_: Any, arrays: Any) -> Any:
        return eqx.filter(gradient_step(loss, eqx.combine(arrays, fixed), transform).state, eqx.is_array)

    return Step(eqx.combine(jax.lax.fori_loop(1, updates, again, arrays), fixed), first.metrics)


def _credit_loss(credit: LearnedCredit, experience: Experience, network: Any) -> tuple[Float[Array, ""], Metrics]:
    return credit.loss(network, experience), {}
