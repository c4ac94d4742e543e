"""Linear key-to-door: take a key at the first step, pick distracting apples for a long time, then open the door and reach the treasure.

Reference: Meulemans et al., "Would I have gotten that reward?" (2023), App. E.1, after Mesnard et al. (2021); the reward scale is that of the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from mesocosm.envs.environment import Box, Episode
from mesocosm.envs.pictures import paint
from mesocosm.envs.tabular import FiniteEnvironment, TabularMDP

EMPTY, APPLE_LEFT, APPLE_RIGHT, DOOR, KEY, TREASURE = range(6)
TAKE_KEY, PICK_LEFT, PICK_RIGHT, OPEN_DOOR = range(4)
CELLS, ACTIONS = ".<>|k$", "klro"
COLOURS = np.array([[235, 235, 235], [200, 60, 60], [230, 130, 60], [120, 85, 60], [240, 200, 40], [60, 160, 90]], dtype=np.uint8)


class KeyToDoorState(NamedTuple):
    """The agent's position, which equals the time, and what it has done.

    Attributes:
        time: position on the track.
        has_key: whether the key was taken at the first step.
        treasure: whether this is the last position and the treasure is there.
    """

    time: Int[Array, "*batch"]
    has_key: Bool[Array, "*batch"]
    treasure: Bool[Array, "*batch"]


class KeyToDoorParams(eqx.Module):
    """The numbers of the environment.

    Attributes:
        cells: the content of each position.
        apple: the two rewards of a picked apple, each with probability one half.
        treasure: reward of the last step, if the treasure was reached.
        max_steps_in_episode: the length of the track.
    """

    cells: Int[Array | np.ndarray, " length"]
    apple: Float[Array | np.ndarray, "2"]
    treasure: Float[Array | np.ndarray, ""]
    max_steps_in_episode: int = eqx.field(static=True)


class RewardScale(NamedTuple):
    """Rewards for a track of a given length."""

    apple: tuple[float, float]
    treasure: float


def code_scale(length: int) -> RewardScale:
    """The authors' code: apples 0.1 or 0.9, treasure 0.2, times 23 over the length of the track."""
    return RewardScale((0.1 * 23 / length, 0.9 * 23 / length), 0.2 * 23 / length)


def paper_scale(length: int) -> RewardScale:
    """The paper's text: apples 2 or 18, treasure 4, over the distance (length less 3)."""
    return RewardScale((2 / (length - 3), 18 / (length - 3)), 4 / (length - 3))


@dataclass(frozen=True)
class KeyToDoor(FiniteEnvironment[KeyToDoorState, KeyToDoorParams]):
    """A track along which time moves the agent. There are four actions: take the key, pick to the left, pick to the right, open the door.

    The key is at the first position, the door at the last but one, and the treasure at the last, if the key was taken and the door opened. Between them
    are apples, to the left or right of the track; picking on the correct side gives an immediate reward. The agent observes position, cell and key.

    Attributes:
        length: length of the track and of every episode; the paper's distance plus 3 (23, 43, 63, 83, 103).
        door: whether the door must be opened; otherwise the key suffices.
        switching: whether the treasure's reward may change sign, so that both signs are possible rewards.
    """

    length: int = 23
    door: bool = True
    switching: bool = False

    def __post_init__(self) -> None:
        """Check that key, door and treasure fit on the track."""
        if self.length < 3:
            raise ValueError(f"a track needs a length of 3 or more, for key, door and treasure; it is {self.length}")

    @property
    def num_actions(self) -> int:
        """Four actions."""
        return 4

    @property
    def default_params(self) -> KeyToDoorParams:
        """The authors' layout (seed 2022) and scale."""
        return self.params()

    def params(self, layout: int = 2022, scale: Callable[[int], RewardScale] = code_scale, aliasing: bool = False) -> KeyToDoorParams:
        """The params of one layout.

        Args:
            layout: seed of the apples: no apple with probability 0.2, left 0.4, right 0.4.
            scale: maps the length to the rewards, `code_scale` or `paper_scale`.
            aliasing: whether the treasure is worth as much as the smaller apple.
        """
        middle = np.random.default_rng(layout).choice([EMPTY, APPLE_LEFT, APPLE_RIGHT], size=self.length - 3, p=[1 - 0.8, 0.4, 0.4])
        cells = np.array([KEY, *middle, DOOR, EMPTY], dtype=np.int32)
        apple, treasure = scale(self.length)
        return KeyToDoorParams(cells, np.array(apple), np.array(apple[0] if aliasing else treasure), self.length)

    # --- rules

    def reset_env(self, key: PRNGKeyArray, params: KeyToDoorParams) -> tuple[Array, KeyToDoorState]:
        """The first position, without the key."""
        state = KeyToDoorState(jnp.int32(0), jnp.array(False), jnp.array(False))
        return self.observe(state, params), state

    def step_env(
        self, key: PRNGKeyArray, state: KeyToDoorState, action: Any, params: KeyToDoorParams
    ) -> tuple[Array, KeyToDoorState, Array, Array, dict[str, Any]]:
        """Move one position further; terminates after the last."""
        reward = self.reward(state, action, jax.random.bernoulli(key), params)
        after = self.follow(state, action)
        return self.observe(after, params), after, reward, after.time >= self.length, {}

    def follow(self, state: KeyToDoorState, action: Any) -> KeyToDoorState:
        """The next state, which is deterministic."""
        has_key = jnp.where(state.time == 0, action == TAKE_KEY, state.has_key)
        opened = (action == OPEN_DOOR) if self.door else jnp.array(True)
        return KeyToDoorState(state.time + 1, has_key, (state.time == self.length - 2) & has_key & opened)

    def reward(self, state: KeyToDoorState, action: Any, large: Any, params: KeyToDoorParams) -> Array:
        """The reward of one action; `large` selects between the two rewards of an apple."""
        cell = self._cells(params)[jnp.minimum(state.time, self.length - 1)]
        picked = ((cell == APPLE_LEFT) & (action == PICK_LEFT)) | ((cell == APPLE_RIGHT) & (action == PICK_RIGHT))
        small, big = jnp.asarray(params.apple, dtype=float)
        return jnp.where(picked, jnp.where(large, big, small), 0.0) + jnp.where(state.treasure, jnp.asarray(params.treasure, dtype=float), 0.0)

    def observe(self, state: KeyToDoorState, params: KeyToDoorParams) -> Float[Array, " features"]:
        """Position over length, the cell (one of six), whether the key is held (one of two)."""
        cell = jnp.where(state.treasure, TREASURE, self._cells(params)[jnp.minimum(state.time, self.length - 1)])
        return jnp.concatenate(
            [jnp.asarray(state.time / self.length, dtype=float)[None], jax.nn.one_hot(cell, 6), jax.nn.one_hot(state.has_key.astype(jnp.int32), 2)]
        )

    def _cells(self, params: KeyToDoorParams) -> Int[Array, " length"]:
        cells = jnp.asarray(params.cells)
        if len(cells) != self.length or params.max_steps_in_episode != self.length:
            raise ValueError(f"the params are of a track of {len(cells)} cells and {params.max_steps_in_episode} steps, this one has {self.length}")
        return cells

    def observation_space(self, params: KeyToDoorParams) -> Box:
        """Nine numbers between 0 and 1."""
        return Box(0.0, 1.0, (9,))

    def episode(self, key: PRNGKeyArray, act: Callable[[KeyToDoorState], Float[Array, " actions"]], params: KeyToDoorParams | None = None) -> Episode:
        """Run a whole episode, vectorised over time: position equals time and the key is the only memory, so all but two decisions are independent."""
        params = self.default_params if params is None else params
        uniform, coin = jax.random.uniform(key, (2, self.length))
        start = KeyToDoorState(jnp.int32(0), jnp.array(False), jnp.array(False))
        first = self.choose(act(start), uniform[0])
        on_the_way = jnp.arange(1, self.length - 1, dtype=jnp.int32)
        false = jnp.zeros(on_the_way.shape, dtype=bool)
        middle = KeyToDoorState(on_the_way, false | (first == TAKE_KEY), false)
        chosen = self.choose(jax.vmap(act)(middle), uniform[1:-1])
        last = self.follow(jax.tree.map(lambda leaf: leaf[-1], middle), chosen[-1])
        states = jax.tree.map(lambda a, b, c: jnp.concatenate([a[None], b, c[None]]), start, middle, last)
        actions = jnp.concatenate([first[None], chosen, self.choose(act(last), uniform[-1])[None]])
        rewards = jax.vmap(self.reward, in_axes=(0, 0, 0, None))(states, actions, coin < 0.5, params)
        observations = jax.vmap(self.observe, in_axes=(0, None))(states, params)
        ends = jnp.arange(self.length) == self.length - 1
        seen = self.observe(self.follow(last, actions[-1]), params)
        return Episode(states, observations, actions, rewards, jnp.ones(self.length, dtype=bool), ends, jnp.zeros(self.length, dtype=bool), seen)

    # --- tabular form

    def index(self, state: KeyToDoorState, params: KeyToDoorParams | None = None) -> Int[Array, ""]:
        """The start, then two states per position (without and with the key), then the treasure."""
        return jnp.where(state.treasure, 2 * self.length - 1, jnp.maximum(2 * state.time - 1, 0) + state.has_key).astype(jnp.int32)

    def every_state(self) -> KeyToDoorState:
        """All states in which the agent acts, in the order of `index`."""
        positions = np.arange(1, self.length, dtype=np.int32)
        time = np.concatenate([[0], np.repeat(positions, 2), [self.length - 1]]).astype(np.int32)
        has_key = np.concatenate([[False], np.tile([False, True], len(positions)), [True]])
        return KeyToDoorState(jnp.asarray(time), jnp.asarray(has_key), jnp.arange(len(time)) == len(time) - 1)

    def tabular(self, params: KeyToDoorParams | None = None) -> TabularMDP:
        """The tabular form, with 2 * length states."""
        params = self.default_params if params is None else params
        states, actions = self.every_state(), jnp.arange(4)
        number = 2 * self.length
        after = jax.vmap(jax.vmap(self.follow, in_axes=(None, 0)), in_axes=(0, None))(states, actions)
        target, goes_on = np.asarray(jax.vmap(jax.vmap(self.index))(after)), np.asarray(after.time < self.length)
        transition = np.zeros((number, 4, number))
        source, action = np.nonzero(goes_on)
        transition[source, action, target[goes_on]] = 1.0
        initial = np.zeros(number)
        initial[0] = 1.0
        observations = np.asarray(jax.vmap(self.observe, in_axes=(0, None))(states, params))
        return TabularMDP(transition, *self._rewards(params, states), initial, observations, params.max_steps_in_episode)

    def _rewards(self, params: KeyToDoorParams, states: KeyToDoorState) -> tuple[np.ndarray, np.ndarray]:
        """Probability of each reward, and the rewards."""
        small, large = np.asarray(params.apple)
        treasure = float(params.treasure)
        values = np.unique([0.0, small, large, treasure, *([-treasure] if self.switching else [])])
        time = np.asarray(states.time)
        cell = np.asarray(params.cells)[time][:, None]
        picked = ((cell == APPLE_LEFT) & (np.arange(4) == PICK_LEFT)) | ((cell == APPLE_RIGHT) & (np.arange(4) == PICK_RIGHT))
        probability = np.zeros((len(time), 4, len(values)))
        for value in (small, large):
            probability[..., np.searchsorted(values, value)] += 0.5 * picked
        probability[~picked, np.searchsorted(values, 0.0)] = 1.0
        probability[-1] = np.arange(len(values)) == np.searchsorted(values, treasure)
        return probability, values

    # --- display

    def text(self, episode: Episode, params: KeyToDoorParams | None = None) -> str:
        """Cells, actions and rewards, one column per step."""
        params = self.default_params if params is None else params
        states, actions, rewards, taken = _host(episode)
        cells = np.where(states.treasure, TREASURE, np.asarray(params.cells)[states.time])[taken]
        lines = {
            "cells": "".join(CELLS[cell] for cell in cells),
            "key": "".join("k" if held else "." for held in states.has_key[taken]),
            "actions": "".join(ACTIONS[action] for action in actions[taken]),
            "rewards": "".join("." if reward == 0 else "+" if reward > 0 else "-" for reward in rewards[taken]),
        }
        drawn = "\n".join(f"{name:8s}{line}" for name, line in lines.items())
        return f"{drawn}\nreturn  {rewards.sum():.3f}, {'treasure' if states.treasure[taken].any() else 'no treasure'}"

    def image(self, episode: Episode, params: KeyToDoorParams | None = None) -> UInt8[np.ndarray, "height width 3"]:
        """Three rows: the content of each position, whether the key is held, and the size of the reward."""
        params = self.default_params if params is None else params
        states, _, rewards, taken = _host(episode)
        cells = COLOURS[np.where(states.treasure, TREASURE, np.asarray(params.cells)[states.time])]
        held = COLOURS[np.where(states.has_key, KEY, EMPTY)]
        largest = max(np.max(np.abs(np.append(np.asarray(params.apple), params.treasure))), 1e-12)
        shade = (235 * (1 - np.abs(rewards) / largest)).astype(np.uint8)
        picture = np.stack([cells, held, np.repeat(shade[:, None], 3, axis=1)])
        return paint(np.where(taken[None, :, None], picture, 255).astype(np.uint8))


def _host(episode: Episode) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """The displayed parts, as NumPy arrays."""
    return jax.tree.map(np.asarray, episode.states), np.asarray(episode.actions), np.asarray(episode.rewards), np.asarray(episode.taken)
