"""CleanUp-lite: apples grow in an orchard only while somebody cleans the river, and the other one may be zapped.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), App. B; what it leaves open (orientation, distance,
ties) is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from mesocosm.envs.multi_agent import JointEpisode, MultiAgentEnvironment, Transition
from mesocosm.envs.pictures import paint

RIGHT, LEFT, UP, DOWN, ZAP, NOOP = range(6)
EMPTY, APPLE, DIRT = range(3)
ROWS, COLUMNS = 5, 4
CELLS = ROWS * COLUMNS
ORCHARD, RIVER = np.arange(CELLS) % COLUMNS == 0, np.arange(CELLS) % COLUMNS == COLUMNS - 1
AGENTS = 2
COLOURS = np.array([(235, 229, 214), (120, 180, 90), (130, 100, 70)], np.uint8)  # empty, apple, dirt
PLAYERS, BOTH = np.array([(66, 133, 190), (214, 96, 77)], np.uint8), np.array((140, 110, 150), np.uint8)


def manhattan(rows: Array, columns: Array) -> Array:
    """The sum of both distances."""
    return rows + columns


def chebyshev(rows: Array, columns: Array) -> Array:
    """The larger of both distances."""
    return jnp.maximum(rows, columns)


class CleanUpState(NamedTuple):
    """Where everything is.

    Attributes:
        time: steps so far.
        places: the agents' cells, numbered row by row.
        frozen: steps for which an agent still cannot act.
        contents: what lies in each cell.
    """

    time: Int[Array, ""]
    places: Int[Array, "agents"]
    frozen: Int[Array, "agents"]
    contents: Int[Array, "cells"]


class CleanUp(MultiAgentEnvironment):
    """Two agents on 5 x 4 cells; the left column is the orchard, the right one the river.

    A step, in this order: a free river cell becomes dirty with probability `pollution`; with P dirty cells, an apple grows in a free orchard cell with
    probability $1 - \\min(1, P / 3)$; agents harvest (reward 1) and clean where they stand; they zap, which freezes the other one with probability `accuracy`
    if it is near and not frozen; they move. A frozen agent does none of this, beginning with the move of the step in which it is hit. If both stand on an apple
    or on dirt, a fair coin decides whose it is; both zaps of a step may hit.

    Actions: 0 right, 1 left, 2 up, 3 down, 4 zap, 5 nothing. Observations: own cell and the other's, one-hot; apple, dirt or empty for each cell; who is
    frozen.

    Attributes:
        length: steps of an episode.
        pollution: probability of new dirt.
        accuracy: probability that a zap hits.
        reach: largest distance of a zap.
        freeze: steps that a hit agent loses.
        distance: of a zap, from the distances in rows and columns.
        move_first: whether agents move at the beginning of a step instead of its end.
    """

    length: int = eqx.field(static=True, default=64)
    pollution: Float[Array, ""] | float = 0.35
    accuracy: Float[Array, ""] | float = 0.9
    reach: Int[Array, ""] | int = 2
    freeze: Int[Array, ""] | int = 5
    distance: Callable[[Array, Array], Array] = eqx.field(static=True, default=manhattan)
    move_first: bool = eqx.field(static=True, default=False)

    @property
    def num_agents(self) -> int:
        """Two."""
        return AGENTS

    @property
    def num_actions(self) -> int:
        """Six."""
        return 6

    @property
    def features(self) -> int:
        """102."""
        return (2 + 3) * CELLS + AGENTS

    def start(self, key: PRNGKeyArray) -> CleanUpState:
        """Agents anywhere, three dirty river cells, no apples."""
        places_key, dirt_key = jax.random.split(key)
        dirty = jax.random.choice(dirt_key, np.flatnonzero(RIVER), (3,), replace=False)
        places = jax.random.randint(places_key, (AGENTS,), 0, CELLS)
        return CleanUpState(jnp.int32(0), places, jnp.zeros(AGENTS, jnp.int32), jnp.full(CELLS, EMPTY).at[dirty].set(DIRT))

    def observe(self, state: CleanUpState) -> Float[Array, "agents features"]:
        """Everything, the agent itself first."""
        contents = jax.nn.one_hot(jnp.array([2, 0, 1])[state.contents], 3).ravel()  # apple, dirt, empty

        def seen(places: Array, frozen: Array) -> Array:
            return jnp.concatenate([jax.nn.one_hot(places, CELLS).ravel(), contents, (frozen > 0).astype(float)])

        return jnp.stack([seen(state.places, state.frozen), seen(state.places[::-1], state.frozen[::-1])])

    def transition(self, key: PRNGKeyArray, state: CleanUpState, actions: Int[Array, "agents"]) -> Transition:
        """One step; `info` has what each agent harvested and cleaned, who was hit, and how much dirt and how many apples were there after growth."""
        dirt_key, apple_key, tie_key, zap_key = jax.random.split(key, 4)
        places, frozen = state.places, state.frozen
        if self.move_first:
            places = _move(places, actions, frozen == 0)
        contents = _grow(dirt_key, state.contents, RIVER, DIRT, self.pollution)
        dirt = jnp.sum(contents == DIRT)
        contents = _grow(apple_key, contents, ORCHARD, APPLE, 1 - jnp.minimum(1.0, dirt / 3))
        apples = jnp.sum(contents == APPLE)
        awake = frozen == 0
        takes = _settle_tie(tie_key, places, awake & (contents[places] != EMPTY))
        harvested, cleaned = takes & (contents[places] == APPLE), takes & (contents[places] == DIRT)
        contents = jnp.where(jnp.any((jnp.arange(CELLS)[:, None] == places) & takes, axis=1), EMPTY, contents)
        hit = self._zapped(zap_key, places, awake, actions)
        frozen = jnp.where(hit, self.freeze, frozen)
        if not self.move_first:
            places = _move(places, actions, frozen == 0)
        after = CleanUpState(state.time + 1, places, jnp.maximum(frozen - 1, 0), contents)
        info = {"harvested": harvested, "cleaned": cleaned, "hit": hit, "dirt": dirt, "apples": apples}
        return Transition(after, harvested.astype(float), info)

    def _zapped(self, key: PRNGKeyArray, places: Array, awake: Array, actions: Array) -> Bool[Array, "agents"]:
        """Who is hit by the other one."""
        rows, columns = jnp.divmod(places, COLUMNS)
        near = self.distance(jnp.abs(rows[0] - rows[1]), jnp.abs(columns[0] - columns[1])) <= self.reach
        success = jax.random.bernoulli(key, self.accuracy, (AGENTS,))
        return (awake & (actions == ZAP) & success & near)[::-1] & awake

    def image(self, episode: JointEpisode, every: int = 1) -> UInt8[np.ndarray, "height width 3"]:
        """A strip with the state before every `every`-th step: apples green, dirt brown, agents blue and red (pale: frozen; violet: both in one cell)."""
        frames = []
        for time in range(0, len(episode.states.time), every):
            places, frozen = (np.asarray(part[time]) for part in (episode.states.places, episode.states.frozen))
            colours = COLOURS[np.asarray(episode.states.contents[time])]
            colours[places] = np.where(frozen[:, None] > 0, PLAYERS // 2 + 127, PLAYERS)
            if places[0] == places[1]:
                colours[places[0]] = BOTH
            frames.append(np.pad(paint(colours.reshape(ROWS, COLUMNS, 3)), ((0, 0), (0, 4), (0, 0)), constant_values=255))
        return np.concatenate(frames, axis=1)


def _grow(key: PRNGKeyArray, contents: Array, field: np.ndarray, what: int, probability: Array | float) -> Array:
    """With this probability, one free cell of the field gets something, if there is a free one."""
    whether, where = jax.random.split(key)
    free = jnp.asarray(field) & (contents == EMPTY)
    cell = jax.random.categorical(where, jnp.where(free, 0.0, -jnp.inf))
    grows = jax.random.bernoulli(whether, probability) & jnp.any(free)
    return jnp.where(grows, contents.at[cell].set(what), contents)


def _settle_tie(key: PRNGKeyArray, places: Array, wants: Bool[Array, "agents"]) -> Bool[Array, "agents"]:
    """If both want what lies in one cell, a coin decides."""
    first = jax.random.bernoulli(key)
    both = (places[0] == places[1]) & jnp.all(wants)
    return jnp.where(both, jnp.stack([first, ~first]), wants)


def _move(places: Array, actions: Array, may: Array) -> Array:
    row, column = jnp.divmod(places, COLUMNS)
    row = jnp.clip(row + (actions == DOWN) - (actions == UP), 0, ROWS - 1)
    column = jnp.clip(column + (actions == RIGHT) - (actions == LEFT), 0, COLUMNS - 1)
    return jnp.where(may, row * COLUMNS + column, places).astype(places.dtype)
