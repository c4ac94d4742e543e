"""COCOA with other outcomes out of a finite set: your own, the states of a finite environment, and learned features of its events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from mesocosm.envs.tabular import TabularMDP
from mesocosm.learning.contributions import hca
from mesocosm.learning.exact_credit import Steps
from mesocosm.learning.hindsight_losses import log_probabilities
from mesocosm.learning.learned_credit import CocoaOfClasses, Coefficients, Experience, Observations, Table
from mesocosm.nn.hindsight import HindsightNetwork


class LearnedCocoaOfOutcomes(CocoaOfClasses):
    r"""`cocoa` with outcomes of your own: what about a rewarding event shall count as the same.

    The gradient has no bias beyond that of the network if outcomes fully predict rewards: given the outcome, the mean reward depends neither on the state nor
    on the action. Fewer outcomes mean less variance.

    Attributes:
        outcome: observation, action, reward -> one of the outcomes 0 .. count - 1, a traceable function; it is asked where the reward is not 0.
        count: how many outcomes there are.
    """

    outcome: Callable[[Array, Array, Array], Any] = eqx.field(static=True)
    count: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"there must be one outcome or more, not {self.count}")

    @property
    def number(self) -> int:
        """As given."""
        return self.count

    def classes(self, observations: Float[Array, "states features"], steps: Steps) -> Int[Array, " time"]:
        """The outcome of each reward, -1 where it is 0."""
        found = jax.vmap(self.outcome)(observations[steps.states], steps.actions, steps.rewards)
        return jnp.where(steps.rewards == 0, -1, jnp.asarray(found, jnp.int32))


class LearnedCocoaOfStates(CocoaOfClasses):
    """HCA+ in a finite environment: `LearnedCocoaOfPairs`, with the network evaluated once per pair of states instead of once per pair of steps.

    Attributes:
        states: how many states there are; rows of `Experience.observations` must be states.
        pairs: the pairs of a state and a later one that can occur (`reachable_pairs`), where alone the network is evaluated; None for all. Elsewhere, the
            coefficients are 0.
        rewarded_only: learn from the states of rewards other than 0 only.
    """

    states: int = eqx.field(static=True)
    pairs: Int[Array | np.ndarray, "pairs 2"] | None = None
    rewarded_only: bool = eqx.field(static=True, default=True, kw_only=True)

    @property
    def number(self) -> int:
        """All states."""
        return self.states

    @property
    def outcome_dim(self) -> int:
        """An observation."""
        return self.features

    def vectors(self, observations: Float[Array, "states features"]) -> Float[Array, "states features"]:
        """The observation of each state."""
        return observations

    def outputs(self, network: HindsightNetwork, observations: Observations, policy: Table) -> Float[Array, "states states actions"]:
        """The network's outputs for the pairs, and 0 elsewhere."""
        if self.pairs is None:
            return super().outputs(network, observations, policy)
        seen = self.flat(observations)
        here, later = jnp.asarray(self.pairs).T
        found = network(seen[here], seen[later], log_probabilities(policy)[here])
        return jnp.zeros((self.states, *policy.shape), found.dtype).at[here, later].set(found)

    def classes(self, observations: Float[Array, "states features"], steps: Steps) -> Int[Array, " time"]:
        """The state of each step."""
        counts = steps.taken & (steps.rewards != 0) if self.rewarded_only else steps.taken
        return jnp.where(counts, steps.states, -1)


class LearnedHCAOfStates(LearnedCocoaOfStates):
    """`hca` in a finite environment: the same, and a network for the immediate reward, trained by its squared error."""

    def build(self, key: Key[Array, ""]) -> tuple[HindsightNetwork, eqx.nn.MLP]:
        """The hindsight network, and observation -> reward of all actions."""
        hindsight_key, reward_key = jax.random.split(key)
        return super().build(hindsight_key), self.reward_network(reward_key)

    def loss(self, network: tuple[HindsightNetwork, eqx.nn.MLP], experience: Experience) -> Float[Array, ""]:
        """The sum of both losses; the networks share no parameters."""
        hindsight, reward = network
        return super().loss(hindsight, experience) + self.reward_loss(reward, experience)

    def models_of(self, network: tuple[HindsightNetwork, eqx.nn.MLP], observations: Observations, policy: Table) -> tuple[Coefficients, Table]:
        """The coefficients, and the predicted rewards."""
        hindsight, reward = network
        return super().models_of(hindsight, observations, policy), jax.vmap(reward)(self.flat(observations))

    def contributions(self, models: tuple[Coefficients, Table], steps: Steps) -> Float[Array, "time actions"]:
        """The predicted reward, and later rewards by their states."""
        coefficients, reward = models
        return hca(steps.rewards, self.classes(coefficients.observations, steps), coefficients.w[steps.states], reward[steps.states])


def reachable_pairs(mdp: TabularMDP) -> Int[np.ndarray, "pairs 2"]:
    """All pairs of a state and one that can follow it, at once or later, whatever the policy."""
    follows = np.any(np.asarray(mdp.transition) > 0, axis=1)
    reached, before = follows, np.zeros_like(follows)
    while np.any(reached != before):
        before = reached
        reached = before | (before.astype(np.float32) @ before.astype(np.float32) > 0)
    return np.argwhere(reached).astype(np.int32)


class LearnedCocoaOfVectors(CocoaOfClasses):
    """COCOA-feature in a finite environment: outcomes are the distinct feature vectors of rewarding events.

    Attributes:
        table: the outcome of each state and action.
        features_of: the vector of each outcome.
    """

    table: Int[Array | np.ndarray, "states actions"]
    features_of: Float[Array | np.ndarray, "outcomes outcome_dim"]

    @property
    def number(self) -> int:
        """As many as there are vectors."""
        return self.features_of.shape[0]

    @property
    def outcome_dim(self) -> int:
        """The length of a vector."""
        return self.features_of.shape[1]

    def vectors(self, observations: Float[Array, "states features"]) -> Float[Array, "outcomes outcome_dim"]:
        """As given."""
        return jnp.asarray(self.features_of, observations.dtype)

    def classes(self, observations: Float[Array, "states features"], steps: Steps) -> Int[Array, " time"]:
        """The outcome of each reward, -1 where it is 0."""
        return jnp.where(steps.rewards == 0, -1, jnp.asarray(self.table)[steps.states, steps.actions])
