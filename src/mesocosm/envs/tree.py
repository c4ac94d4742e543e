"""A tree of decisions with overlapping branches, so that several action sequences can lead to the same state.

Reference: Meulemans et al. (2023), App. E.2; the children are placed as in the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from mesocosm.envs.environment import Box, Episode
from mesocosm.envs.pictures import paint
from mesocosm.envs.tabular import FiniteEnvironment, TabularMDP

PRIME = 9973
REWARDS = 5  # -2 to 2


class TreeState(NamedTuple):
    """A node: `place` among the nodes of level `time`."""

    time: Int[Array, "*batch"]
    place: Int[Array, "*batch"]


class TreeParams(eqx.Module):
    """The numbers of the environment.

    Attributes:
        offset: a random number that shifts all rewards; rewards repeat after 5 offsets.
        max_steps_in_episode: the depth.
    """

    offset: Int[Array | np.ndarray, ""]
    max_steps_in_episode: int = eqx.field(static=True)


@dataclass(frozen=True)
class Tree(FiniteEnvironment[TreeState, TreeParams]):
    r"""`depth` decisions among `branches` actions; neighbouring nodes share `overlap` of their children.

    With $b = \text{branches} - \text{overlap}$, level $i + 1$ has $n_{i+1} = b\, n_i + \text{overlap}$ nodes ($n_0 = 1$), and action $a$ leads from place $j$
    to $(j b + a - \lfloor b/2 \rfloor) \bmod n_{i+1}$. With $i_s$ the index of a state, counted level by level, its reward is
    $(i_s + 9973\, a + \text{offset}) \bmod 5 - 2$.

    Attributes:
        depth: number of decisions.
        branches: number of actions.
        overlap: from 0 (a tree) to `branches` (the place equals the last action).
    """

    depth: int = 4
    branches: int = 6
    overlap: int = 0

    def __post_init__(self) -> None:
        """Reject invalid sizes."""
        if self.depth < 1 or self.branches < 1:
            raise ValueError(f"a tree needs one or more levels and actions; it has {self.depth} and {self.branches}")
        if not 0 <= self.overlap <= self.branches:
            raise ValueError(f"the overlap must be between 0 and the number of actions, {self.branches}; it is {self.overlap}")

    @property
    def num_actions(self) -> int:
        """The number of branches."""
        return self.branches

    @property
    def default_params(self) -> TreeParams:
        """Offset 0."""
        return self.params(0)

    def params(self, offset: int | Array | np.ndarray) -> TreeParams:
        """The params of one offset.

        Raises:
            ValueError: the offset is not an integer.
        """
        if not jnp.issubdtype(jnp.result_type(offset), jnp.integer):
            raise ValueError(f"the offset must be an integer, not {offset!r}")
        return TreeParams(jnp.asarray(offset, dtype=jnp.int32), self.depth)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of nodes at each level."""
        return tuple(accumulate(range(self.depth - 1), lambda nodes, _: (self.branches - self.overlap) * nodes + self.overlap, initial=1))

    @property
    def firsts(self) -> tuple[int, ...]:
        """The index of the first node of each level, followed by the number of nodes."""
        return tuple(accumulate(self.widths, initial=0))

    # --- rules

    def reset_env(self, key: PRNGKeyArray, params: TreeParams) -> tuple[Array, TreeState]:
        """Start at the root."""
        state = TreeState(jnp.int32(0), jnp.int32(0))
        return self.observe(state, params), state

    def step_env(self, key: PRNGKeyArray, state: TreeState, action: Any, params: TreeParams) -> tuple[Array, TreeState, Array, Array, dict[str, Any]]:
        """Move one level down; terminates after `depth` decisions."""
        reward = self.outcome(self.index(state), action, params) * 1.0
        after = self.follow(state, action)
        return self.observe(after, params), after, reward, after.time >= self.depth, {}

    def follow(self, state: TreeState, action: Any) -> TreeState:
        """The child node."""
        step = self.branches - self.overlap
        width = jnp.asarray((*self.widths[1:], 1), dtype=jnp.int32)[jnp.minimum(state.time, self.depth - 1)]
        return TreeState(state.time + 1, (state.place * step + action - step // 2) % width)

    def outcome(self, index: Any, action: Any, params: TreeParams, groups: int = 1) -> Int[Array, "..."]:
        r"""The reward, split into groups: $(i_s + 9973\, a + \text{offset}) \bmod 5\,\text{groups} - 2$. One group is the reward itself."""
        self._check(params)
        return (index + action * PRIME + params.offset) % (REWARDS * groups) - 2

    def _check(self, params: TreeParams) -> None:
        if params.max_steps_in_episode != self.depth:
            raise ValueError(f"the params are of a tree of depth {params.max_steps_in_episode}, this one has {self.depth}")

    def observe(self, state: TreeState, params: TreeParams) -> Float[Array, " nodes"]:
        """One-hot encoding of the node; zeros at the end."""
        self._check(params)
        return jnp.where(state.time < self.depth, jax.nn.one_hot(self.index(state), self.firsts[-1]), 0.0)

    def observation_space(self, params: TreeParams) -> Box:
        """Binary vectors with one entry per node."""
        return Box(0.0, 1.0, (self.firsts[-1],))

    # --- tabular form

    def index(self, state: TreeState, params: TreeParams | None = None) -> Int[Array, ""]:
        """The index of a node, counted level by level."""
        return (jnp.asarray(self.firsts[:-1], dtype=jnp.int32)[jnp.minimum(state.time, self.depth - 1)] + state.place).astype(jnp.int32)

    def every_state(self) -> TreeState:
        """All nodes, in the order of `index`."""
        time = np.repeat(np.arange(self.depth), self.widths)
        return TreeState(jnp.asarray(time, jnp.int32), jnp.asarray(np.concatenate([np.arange(n) for n in self.widths]), jnp.int32))

    def outcomes(self, params: TreeParams, groups: int = 1) -> Int[Array, "states actions"]:
        """The outcome of every state and action, counted from 0: a class that combines reward and group."""
        number = jnp.arange(self.firsts[-1])
        return self.outcome(number[:, None], jnp.arange(self.branches), params, groups) + 2

    def tabular(self, params: TreeParams | None = None) -> TabularMDP:
        """The tabular form, with one state per node."""
        params = self.default_params if params is None else params
        states, number = self.every_state(), self.firsts[-1]
        after = jax.vmap(jax.vmap(self.follow, in_axes=(None, 0)), in_axes=(0, None))(states, jnp.arange(self.branches))
        transition = np.zeros((number, self.branches, number))
        source, action = np.nonzero(np.asarray(after.time) < self.depth)
        transition[source, action, np.asarray(jax.vmap(jax.vmap(self.index))(after))[source, action]] = 1.0
        rewards = np.eye(REWARDS)[np.asarray(self.outcomes(params))]
        initial = np.zeros(number)
        initial[0] = 1.0
        return TabularMDP(transition, rewards, np.arange(REWARDS) - 2.0, initial, np.eye(number), params.max_steps_in_episode)

    # --- display

    def text(self, episode: Episode, params: TreeParams | None = None) -> str:
        """One line per level."""
        rows = zip(*(np.asarray(part) for part in (*episode.states, episode.actions, episode.rewards, episode.taken)), strict=True)
        lines = [f"level {t}  node {j:3d} of {self.widths[t]:3d}  action {a}  reward {r:+.0f}" for t, j, a, r, taken in rows if taken]
        return "\n".join([*lines, f"return {np.asarray(episode.rewards).sum():+.0f}"])

    def image(self, episode: Episode, params: TreeParams | None = None) -> UInt8[np.ndarray, "height width 3"]:
        """One row per level, as wide as its number of nodes; the path is green where rewards are positive and red where they are negative."""
        colours = np.full((self.depth, max(self.widths), 3), 255, dtype=np.uint8)
        for level, width in enumerate(self.widths):
            colours[level, :width] = 225
        for t, j, r, taken in zip(*(np.asarray(part) for part in (*episode.states, episode.rewards, episode.taken)), strict=True):
            if taken:
                colours[t, j] = (60, 160, 90) if r > 0 else (200, 60, 60) if r < 0 else (90, 90, 90)
        return paint(colours)
