r"""A treasure hidden in a square grid, sought from a corner in one or two episodes with the treasure in the same place.

Until the treasure is found, nothing that the agent observes depends on where it is. So one walk that finds nothing gives the first visit of every cell, and
with it the steps to each possible treasure; `explore` takes that walk, and `after_finding` puts the agent back where it finds a given treasure.

Reference: von Oswald et al., "Learning randomized algorithms with transformers" (2025), Sec. 3.3; what it leaves open (moves off the grid, the start as a
treasure) is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.envs.environment import Box, Environment

LEFT, UP, RIGHT, DOWN = range(4)


class TreasureState(NamedTuple):
    """Where the agent is and what happened last.

    Attributes:
        time: steps so far, over all episodes.
        clock: steps of this episode.
        episode: number of the episode, from 0.
        place: the agent's cell; the start at the beginning of an episode.
        reached: the cell in which the last step ended.
        found: whether the last step found the treasure.
        treasure: its cell.
    """

    time: Int[Array, ""]
    clock: Int[Array, ""]
    episode: Int[Array, ""]
    place: Int[Array, ""]
    reached: Int[Array, ""]
    found: Bool[Array, ""]
    treasure: Int[Array, ""]


class TreasureParams(eqx.Module):
    """The rewards of a step: of one that finds the treasure, and of any other."""

    find: Float[Array, ""] | float = 1.0
    other: Float[Array, ""] | float = -0.1
    max_steps_in_episode: int = eqx.field(static=True, default=50)


class Walk(NamedTuple):
    """A walk through one episode in which nothing was found.

    Attributes:
        places: the cell after each step.
        first_visits: for each cell, the steps until it is first reached; the horizon if it never is.
        memories: the agent's memory before it observes the outcome of each step.
    """

    places: Int[Array, " horizon"]
    first_visits: Int[Array, " cells"]
    memories: Any


Observe = Callable[[Any, Any], tuple[Any, Float[Array, " actions"]]]
"""(memory, observation) -> memory, action values; the agent takes the largest, the first one of equals."""


@dataclass(frozen=True)
class TreasureGrid(Environment[TreasureState, TreasureParams]):
    """Move left, up, right or down from the lower left cell, in steps that end at the grid's edge; an episode ends at the treasure or after side^2 steps.

    The treasure is in any cell but the start, with equal probability. The agent observes row and column of the cell in which its step ended, and whether the
    treasure was there. Cells are numbered row by row from the start, which is 0.

    Attributes:
        side: rows and columns.
        episodes: their number; the treasure stays in its place.
    """

    side: int = 5
    episodes: int = 2

    def __post_init__(self) -> None:
        """Check that there is a cell besides the start."""
        if self.side < 2 or self.episodes < 1:
            raise ValueError(f"a hunt needs a side of 2 or more and an episode, not {self.side} and {self.episodes}")

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.side**2

    @property
    def horizon(self) -> int:
        """Most steps of an episode."""
        return self.cells

    @property
    def num_actions(self) -> int:
        """Four actions."""
        return 4

    @property
    def default_params(self) -> TreasureParams:
        """The paper's rewards."""
        return TreasureParams(max_steps_in_episode=self.horizon * self.episodes)

    # --- rules

    def reset_env(self, key: PRNGKeyArray, params: TreasureParams) -> tuple[Array, TreasureState]:
        """At the start, with a treasure somewhere else."""
        zero = jnp.int32(0)
        state = TreasureState(zero, zero, zero, zero, zero, jnp.array(False), jax.random.randint(key, (), 1, self.cells))
        return self.observe(state, params), state

    def step_env(
        self, key: PRNGKeyArray, state: TreasureState, action: Any, params: TreasureParams
    ) -> tuple[Array, TreasureState, Array, Array, dict[str, Any]]:
        """Move; the end of an episode returns the agent to the start, the end of the last one terminates."""
        reached = self.move(state.place, action)
        found, clock = reached == state.treasure, state.clock + 1
        over = found | (clock == self.horizon)
        episode = state.episode + over
        after = TreasureState(state.time + 1, jnp.where(over, 0, clock), episode, jnp.where(over, 0, reached), reached, found, state.treasure)
        reward = jnp.where(found, params.find, params.other)
        return self.observe(after, params), after, reward, episode == self.episodes, {}

    def move(self, place: Any, action: Any) -> Int[Array, ""]:
        """The cell after one move."""
        row, column = jnp.divmod(place, self.side)
        row = jnp.clip(row + (action == UP) - (action == DOWN), 0, self.side - 1)
        column = jnp.clip(column + (action == RIGHT) - (action == LEFT), 0, self.side - 1)
        return (row * self.side + column).astype(jnp.int32)

    def observe(self, state: TreasureState, params: TreasureParams) -> Float[Array, " features"]:
        """Row and column of the cell in which the last step ended, one-hot, and whether it found the treasure."""
        return self.features(state.reached, state.found)

    def features(self, reached: Any, found: Any) -> Float[Array, " features"]:
        """The observation after a step."""
        row, column = jnp.divmod(reached, self.side)
        return jnp.concatenate([jax.nn.one_hot(row, self.side), jax.nn.one_hot(column, self.side), jnp.asarray(found, float)[None]])

    def observation_space(self, params: TreasureParams) -> Box:
        """Zeros and ones."""
        return Box(0.0, 1.0, (2 * self.side + 1,))

    # --- all treasures at once

    def explore(self, observe: Observe, memory: Any, values: Float[Array, " actions"]) -> Walk:
        """One episode without a find, from an agent's memory and the values of its first action."""

        def step(carry: tuple[Any, Array, Array], _: None) -> tuple[tuple[Any, Array, Array], tuple[Array, Any]]:
            memory, values, place = carry
            place = self.move(place, jnp.argmax(values))
            after, values = observe(memory, self.features(place, False))
            return (after, values, place), (place, memory)

        _, (places, memories) = jax.lax.scan(step, (memory, values, jnp.int32(0)), None, self.horizon)
        visits = places[:, None] == jnp.arange(self.cells)
        return Walk(places, jnp.where(visits.any(axis=0), jnp.argmax(visits, axis=0) + 1, self.horizon), memories)

    def after_finding(self, observe: Observe, walk: Walk, treasure: Any) -> tuple[Any, Float[Array, " actions"]]:
        """The agent's memory and action values at the start of the next episode, if the treasure is in this cell."""
        last = walk.first_visits[treasure] - 1
        reached = walk.places[last]
        return observe(jax.tree.map(lambda leaf: leaf[last], walk.memories), self.features(reached, reached == treasure))
