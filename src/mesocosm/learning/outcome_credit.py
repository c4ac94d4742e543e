"""COCOA with other outcomes out of a finite set: your own, the states of a finite environment, and learned features of its events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mesocosm.learning.exact_credit import Steps
from mesocosm.learning.learned_credit import CocoaOfClasses


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
        rewarded_only: learn from the states of rewards other than 0 only.
    """

    states: int = eqx.field(static=True)
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

    def classes(self, observations: Float[Array, "states features"], steps: Steps) -> Int[Array, " time"]:
        """The state of each step."""
        counts = steps.taken & (steps.rewards != 0) if self.rewarded_only else steps.taken
        return jnp.where(counts, steps.states, -1)


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
