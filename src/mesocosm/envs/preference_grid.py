r"""Coloured objects in four rooms, and an agent whose taste for colours is a composition of preferences.

Preference m values the colours by $P_m$; a task mixes preferences by its code, so that an object of colour c is worth $v_c = \sum_m z_m P_{mc}$. Rewards are
linear in the code, optimal action values are convex in it. They are computed for all cells and all sets of remaining objects at once.

Reference: Schug et al., "Discovering modular solutions that generalize compositionally" (2024), Sec. 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.envs.environment import Box, Environment

NOTHING, UP, RIGHT, DOWN, LEFT = range(5)
MOVES = ((0, 0), (-1, 0), (0, 1), (1, 0), (0, -1))
FOUR_ROOMS = (
    "#######",
    "#  #  #",
    "#  #  #",
    "##   ##",
    "#  #  #",
    "#  #  #",
    "#######",
)


class PreferenceState(NamedTuple):
    """Where everything is.

    Attributes:
        time: steps so far.
        place: the agent's cell, a number of `cells`.
        cells: the objects' cells.
        colours: the objects' colours.
        available: which objects have not been consumed.
    """

    time: Int[Array, ""]
    place: Int[Array, ""]
    cells: Int[Array, " objects"]
    colours: Int[Array, " objects"]
    available: Bool[Array, " objects"]


class PreferenceParams(eqx.Module):
    """A task.

    Attributes:
        preferences: P, the value of each colour to each preference.
        code: z.
        discount: of future rewards, in action values.
        max_steps_in_episode: the horizon, of action values too.
    """

    preferences: Float[Array, "modules colours"]
    code: Float[Array, " modules"]
    discount: float | Float[Array, ""] = 0.9
    max_steps_in_episode: int = eqx.field(static=True, default=8)

    @property
    def values(self) -> Float[Array, " colours"]:
        """The reward of each colour."""
        return self.code @ self.preferences


class Demonstration(NamedTuple):
    """An episode of the optimal agent.

    Attributes:
        observations: what it saw at each step.
        values: the optimal values of all actions there.
        taken: whether the episode had not ended before the step.
    """

    observations: Float[Array, "time features"]
    values: Float[Array, "time actions"]
    taken: Bool[Array, " time"]


@dataclass(frozen=True)
class PreferenceGrid(Environment[PreferenceState, PreferenceParams]):
    """Stop, or move up, right, down or left; a move into a wall leaves the agent where it is. Whoever enters the cell of an object consumes it.

    Objects and agent start in cells of their own, with colours drawn with replacement. The episode ends when the agent stops (action 0).

    Attributes:
        colours: number of colours.
        objects: number of objects.
        layout: rows of the grid; "#" is a wall.
    """

    colours: int = 8
    objects: int = 4
    layout: tuple[str, ...] = FOUR_ROOMS

    def __post_init__(self) -> None:
        """Check that the grid has room."""
        free = sum(row.count(" ") for row in self.layout)
        if free <= self.objects or not self.objects or len({len(row) for row in self.layout}) > 1:
            raise ValueError(
                f"the rows of a layout have one length and, for {self.objects} objects and an agent, {self.objects + 1} free cells; this one has {free}"
            )

    @property
    def cells(self) -> Int[np.ndarray, "cells 2"]:
        """Row and column of each free cell."""
        return _cells(self.layout)

    @property
    def num_actions(self) -> int:
        """Five actions."""
        return len(MOVES)

    @property
    def default_params(self) -> PreferenceParams:
        """One preference, which likes the first half of the colours and dislikes the others."""
        return PreferenceParams(jnp.where(jnp.arange(self.colours) < self.colours / 2, 1.0, -1.0)[None], jnp.ones(1))

    # --- rules

    def reset_env(self, key: PRNGKeyArray, params: PreferenceParams) -> tuple[Array, PreferenceState]:
        """Everything in a cell of its own."""
        place_key, colour_key = jax.random.split(key)
        # the cells of the largest of independent numbers are a random sample without replacement; cheaper than a whole permutation
        chosen = jax.lax.top_k(jax.random.uniform(place_key, (len(self.cells),)), self.objects + 1)[1].astype(jnp.int32)
        colours = jax.random.randint(colour_key, (self.objects,), 0, self.colours)
        state = PreferenceState(jnp.int32(0), chosen[0], chosen[1:], colours, jnp.ones(self.objects, bool))
        return self.observe(state, params), state

    def step_env(
        self, key: PRNGKeyArray, state: PreferenceState, action: Any, params: PreferenceParams
    ) -> tuple[Array, PreferenceState, Array, Array, dict[str, Any]]:
        """Move and consume."""
        after, reward = self._moved(state, action, params.values)
        return self.observe(after, params), after, reward, jnp.asarray(action == NOTHING), {}

    def observe(self, state: PreferenceState, params: PreferenceParams) -> Float[Array, " features"]:
        """Rows, columns and channels, flattened: available objects by colour, the agent, walls."""
        rows, columns = len(self.layout), len(self.layout[0])
        flat = jnp.asarray(self.cells @ np.array([columns, 1]))
        squares = jax.nn.one_hot(flat[state.cells], rows * columns)
        objects = jnp.einsum("ok,oc->kc", squares, jax.nn.one_hot(state.colours, self.colours) * state.available[:, None])
        agent, walls = jax.nn.one_hot(flat[state.place], rows * columns), jnp.asarray(_walls(self.layout).ravel(), float)
        return jnp.concatenate([objects, agent[:, None], walls[:, None]], axis=1).ravel()

    def observation_space(self, params: PreferenceParams) -> Box:
        """Zeros and ones."""
        return Box(0.0, 1.0, (len(self.layout) * len(self.layout[0]) * (self.colours + 2),))

    def _moved(self, state: PreferenceState, action: Any, values: Array) -> tuple[PreferenceState, Float[Array, ""]]:
        place = jnp.asarray(_steps(self.layout))[state.place, action]
        consumed = state.available & (state.cells == place)
        after = state._replace(time=state.time + 1, place=place, available=state.available & ~consumed)
        return after, jnp.sum(consumed * values[state.colours])

    # --- optimal values

    def action_values(self, state: PreferenceState, params: PreferenceParams) -> Float[Array, "cells remaining actions"]:
        r"""Optimal values $Q_H$ from every cell with every set of remaining objects, for the objects of a state and the horizon H.

        $$Q_{t+1}(s, a) = r(s, a) + \gamma \max_{a'} Q_t(s', a'), \qquad Q_0 = 0,$$

        in which stopping is staying: $Q_{t+1}(s, 0) = \gamma \max_{a'} Q_t(s, a')$. The second axis is the set, as the number $\sum_j 2^j$ over what remains.
        """
        sets, steps = self._sets(), jnp.asarray(_steps(self.layout)[:, 1:])
        at = jax.nn.one_hot(state.cells, len(self.cells)).T[:, :, None] * sets.T  # cells, objects, sets: object j waits there
        gains = jnp.einsum("cjr,j->cr", at, params.values[state.colours])
        pairs = 2 ** np.arange(self.objects)
        without = jnp.asarray(np.arange(2**self.objects) & ~pairs[:, None])  # objects, sets: the set without object j

        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            """One more action: the values of entering each cell, and of staying in it."""
            entering, staying = carry
            best = jnp.maximum(jnp.max(entering[steps], axis=1), staying)
            onward = best + jnp.einsum("cjr,cjr->cr", at, best[:, without] - best[:, None])
            return (gains + params.discount * onward, params.discount * best), None

        first = (gains, jnp.zeros_like(gains))
        (entering, staying), _ = jax.lax.scan(step, first, length=params.max_steps_in_episode - 1, unroll=True)
        return jnp.concatenate([staying[:, :, None], jnp.moveaxis(entering[steps], 1, 2)], axis=2)

    def demonstrate(self, key: PRNGKeyArray, params: PreferenceParams) -> Demonstration:
        """An episode of the agent that takes the best action, the first one of equals, and the values that it goes by.

        The values do not depend on the time: at every step, they look as far ahead as the horizon.
        """
        state = self.reset_env(key, params)[1]
        table, bits = self.action_values(state, params), jnp.asarray(2 ** np.arange(self.objects))

        def step(carry: tuple[PreferenceState, Array], _: None) -> tuple[tuple[PreferenceState, Array], tuple[Any, ...]]:
            state, running = carry
            values = table[state.place, state.available @ bits]
            action = jnp.argmax(values)
            after = self._moved(state, action, params.values)[0]
            return (after, running & (action != NOTHING)), (state, values, running)

        _, (states, values, taken) = jax.lax.scan(step, (state, jnp.array(True)), length=params.max_steps_in_episode, unroll=True)
        return Demonstration(jax.vmap(lambda state: self.observe(state, params))(states), values, taken)

    def _sets(self) -> Float[Array, "sets objects"]:
        return jnp.asarray(np.arange(2**self.objects)[:, None] >> np.arange(self.objects) & 1, float)


def _walls(layout: tuple[str, ...]) -> Bool[np.ndarray, "rows columns"]:
    return np.array([[square == "#" for square in row] for row in layout])


@lru_cache
def _cells(layout: tuple[str, ...]) -> Int[np.ndarray, "cells 2"]:
    return np.argwhere(~_walls(layout))


@lru_cache
def _steps(layout: tuple[str, ...]) -> Int[np.ndarray, "cells actions"]:
    """The cell after each action; what is outside the grid counts as a wall."""
    number = {tuple(cell): index for index, cell in enumerate(_cells(layout).tolist())}
    moved = [[number.get((row + down, column + right), index) for down, right in MOVES] for (row, column), index in number.items()]
    return np.array(moved, np.int32)
