"""Finite environments: the interface, `TabularMDP` for any of them as arrays, and `LayeredMDP` where every state belongs to one time step."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from mesocosm.envs.environment import Box, Environment, Episode, Params, State, choose
from mesocosm.envs.pictures import paint

_ROUNDING = 1e-3  # of rows of probabilities in float32 or less


class FiniteEnvironment(Environment[State, Params]):
    """An environment with finitely many states, whose episodes can be displayed."""

    @abc.abstractmethod
    def tabular(self, params: Any = None) -> TabularMDP:
        """The same environment as arrays, built from its rules."""

    @abc.abstractmethod
    def index(self, state: Any, params: Any = None) -> Int[Array, ""]:
        """The index of a state in `tabular()`."""

    @abc.abstractmethod
    def text(self, episode: Episode, params: Any = None) -> str:
        """One episode in a few lines of text."""

    @abc.abstractmethod
    def image(self, episode: Episode, params: Any = None) -> UInt8[np.ndarray, "height width 3"]:
        """One episode as an RGB image."""


class TabularState(NamedTuple):
    """The index of a state, -1 after the end, and the number of steps so far."""

    time: Int[Array, "*batch"]
    place: Int[Array, "*batch"]


class TabularMDP(FiniteEnvironment["TabularState", "TabularMDP"], eqx.Module):
    r"""A finite Markov decision process, undiscounted and episodic, as arrays and as an environment whose params are another such process.

    Only states in which the agent acts are counted; a row of `transition` sums to one minus the probability that the episode ends. Given
    state and action, the reward and the next state are independent.

    Attributes:
        transition: $P(s' \mid s, a)$.
        reward_probability: $\rho(r \mid s, a)$ over the finite set of rewards.
        reward_values: the set of rewards.
        initial: $P(S_0 = s)$.
        observations: the observation of each state; it is 0 after the end.
        max_steps_in_episode: the time limit of sampled episodes, which dynamic programming ignores.

    Raises:
        ValueError: the arrays do not belong to one process, or hold no probabilities.
    """

    transition: Float[Array | np.ndarray, "states actions states"]
    reward_probability: Float[Array | np.ndarray, "states actions rewards"]
    reward_values: Float[Array | np.ndarray, " rewards"]
    initial: Float[Array | np.ndarray, " states"]
    observations: Float[Array | np.ndarray, "states *shape"]
    max_steps_in_episode: int = eqx.field(static=True, default=100)

    def __check_init__(self) -> None:
        states, actions = self.transition.shape[:2]
        wanted = (states, actions, states), (states, actions, *self.reward_values.shape), (states,), (states,)
        found = self.transition.shape, self.reward_probability.shape, self.initial.shape, self.observations.shape[:1]
        if wanted != found:
            raise ValueError(f"transition, reward_probability, initial and states of observations have the shapes {found}, which should be {wanted}")
        if any(isinstance(part, Tracer) for part in (self.transition, self.reward_probability, self.initial)):
            return
        for name, whole in (("transition", False), ("reward_probability", True), ("initial", True)):
            part = np.asarray(getattr(self, name))
            total = part.sum(axis=-1)
            if part.min() < -_ROUNDING or total.max() > 1 + _ROUNDING or (whole and total.min() < 1 - _ROUNDING):
                raise ValueError(f"{name} has entries from {part.min():g} and rows that sum to {total.min():g} to {total.max():g}: no probabilities")

    # A module's own equality and hash read its arrays; an environment is compared as an object, so that it can be static in other libraries' programs.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)

    @property
    def states(self) -> int:
        """Number of states in which the agent acts."""
        return self.transition.shape[0]

    @property
    def actions(self) -> int:
        """Number of actions."""
        return self.transition.shape[1]

    @property
    def mean_reward(self) -> Float[Array | np.ndarray, "states actions"]:
        r"""$\bar r(s, a) = \sum_r \rho(r \mid s, a)\, r$."""
        return self.reward_probability @ self.reward_values

    @property
    def termination(self) -> Float[Array | np.ndarray, "states actions"]:
        """Probability that the episode ends."""
        return 1.0 - self.transition.sum(axis=2)

    # --- as an environment

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        return self.actions

    @property
    def default_params(self) -> TabularMDP:
        """The process itself."""
        return self

    def reset_env(self, key: PRNGKeyArray, params: TabularMDP) -> tuple[Array, TabularState]:
        """Draw the first state."""
        self._check(params)
        state = TabularState(jnp.int32(0), choose(jnp.asarray(params.initial, float), jax.random.uniform(key)))
        return self.observe(state, params), state

    def step_env(self, key: PRNGKeyArray, state: TabularState, action: Any, params: TabularMDP) -> tuple[Array, TabularState, Array, Array, dict[str, Any]]:
        """Draw reward and next state."""
        self._check(params)
        reward_key, next_key = jax.random.split(key)
        onward, rewards = (jnp.asarray(part, float)[state.place, action] for part in (params.transition, params.reward_probability))
        reward = jnp.asarray(params.reward_values, float)[choose(rewards, jax.random.uniform(reward_key))]
        place = choose(jnp.append(onward, 0.0), jax.random.uniform(next_key))  # what is left of 1 is the end
        ends = place == self.states
        after = TabularState(state.time + 1, jnp.where(ends, -1, place))
        return self.observe(after, params), after, reward, ends, {}

    def observe(self, state: TabularState, params: TabularMDP) -> Float[Array, "*shape"]:
        """The observation of a state; zeros after the end."""
        self._check(params)
        return jnp.where(state.place < 0, 0.0, jnp.asarray(params.observations, float)[state.place])

    def observation_space(self, params: TabularMDP) -> Box:
        """The range of all observations, and 0."""
        seen = np.asarray(params.observations)
        return Box(min(0.0, float(seen.min())), max(0.0, float(seen.max())), seen.shape[1:])

    def tabular(self, params: TabularMDP | None = None) -> TabularMDP:
        """The process itself, or that of the params."""
        params = self if params is None else params
        self._check(params)
        return params

    def index(self, state: TabularState, params: TabularMDP | None = None) -> Int[Array, ""]:
        """The index of a state; -1 after the end."""
        return state.place

    def every_state(self) -> TabularState:
        """All states, in the order of `index`, at time 0."""
        return TabularState(jnp.zeros(self.states, jnp.int32), jnp.arange(self.states, dtype=jnp.int32))

    def text(self, episode: Episode, params: TabularMDP | None = None) -> str:
        """One line per step."""
        rows = zip(*(np.asarray(part) for part in (episode.states.place, episode.actions, episode.rewards, episode.taken)), strict=True)
        lines = [f"state {place:3d}  action {action}  reward {reward:+g}" for place, action, reward, taken in rows if taken]
        return "\n".join([*lines, f"return {np.asarray(episode.rewards).sum():+g}"])

    def image(self, episode: Episode, params: TabularMDP | None = None) -> UInt8[np.ndarray, "height width 3"]:
        """One row per state and one column per step; the visited state is green where the reward is positive, red where it is negative."""
        colours = np.full((self.states, len(episode.actions), 3), 235, dtype=np.uint8)
        for t in np.flatnonzero(np.asarray(episode.taken)):
            reward = float(episode.rewards[t])
            colours[int(episode.states.place[t]), t] = (60, 160, 90) if reward > 0 else (200, 60, 60) if reward < 0 else (90, 90, 90)
        return paint(colours)

    def _check(self, params: TabularMDP) -> None:
        theirs, ours = ((p.transition.shape[:2], p.reward_values.shape, p.observations.shape[1:]) for p in (params, self))
        if theirs != ours:
            raise ValueError(f"the params are of a process with other (states, actions), rewards or observations, {theirs}; this one has {ours}")


class LayeredMDP(eqx.Module):
    """A `TabularMDP` whose states determine the time, arranged by time. Dynamic programming is one short recursion, fast enough for a training loop.

    Attributes:
        transition: probabilities from the states of one step to those of the next.
        reward_probability: probabilities over the finite set of rewards.
        reward_values: the set of rewards.
        index: the index of each state in the `TabularMDP`; the number of states for empty places.
        place: for each state of the `TabularMDP`, step times width plus its place within the step; out of range for unreachable states.
    """

    transition: Float[Array | np.ndarray, "time width actions width"]
    reward_probability: Float[Array | np.ndarray, "time width actions rewards"]
    reward_values: Float[Array | np.ndarray, " rewards"]
    index: Int[Array | np.ndarray, "time width"]
    place: Int[Array | np.ndarray, " states"]

    @classmethod
    def of(cls, mdp: TabularMDP) -> LayeredMDP:
        """Sort the states by time.

        Raises:
            ValueError: a state can be reached at two times. Unreachable states get no place, and zeros.
        """
        time = _times(mdp)
        steps, states = int(time.max()) + 1, np.flatnonzero(time >= 0)
        width = int(np.bincount(time[states]).max())
        within = np.zeros(mdp.states, dtype=np.int32)
        for step in range(steps):
            within[time == step] = np.arange(np.sum(time == step))
        transition = np.zeros((steps, width, mdp.actions, width))
        rewards = np.zeros((steps, width, mdp.actions, len(mdp.reward_values)))
        index = np.full((steps, width), mdp.states, dtype=np.int32)
        source, action, target = np.nonzero(np.asarray(mdp.transition) * (time >= 0)[:, None, None])
        transition[time[source], within[source], action, within[target]] = np.asarray(mdp.transition)[source, action, target]
        rewards[time[states], within[states]] = np.asarray(mdp.reward_probability)[states]
        index[time[states], within[states]] = states
        place = np.where(time >= 0, time * width + within, steps * width)
        return cls(transition, rewards, mdp.reward_values, index, place.astype(np.int32))

    def by_time(self, table: Float[Array, "states *rest"]) -> Float[Array, "time width *rest"]:
        """Arrange a table over states by time; zero for empty places."""
        return jnp.asarray(table).at[self.index].get(mode="fill", fill_value=0)

    def by_state(self, values: Float[Array, "time width *rest"]) -> Float[Array, "states *rest"]:
        """The inverse of `by_time`."""
        return values.reshape(-1, *values.shape[2:]).at[self.place].get(mode="fill", fill_value=0)


def _times(mdp: TabularMDP) -> np.ndarray:
    """The step at which each state is reached; -1 for unreachable states."""
    follows = np.any(np.asarray(mdp.transition) > 0, axis=1)
    time = np.full(mdp.states, -1)
    now, step = np.asarray(mdp.initial) > 0, 0
    while now.any():
        if np.any(time[now] >= 0):
            twice = int(np.nonzero(now & (time >= 0))[0][0])
            raise ValueError(f"state {twice} is reached at steps {time[twice]} and {step}: the environment has no layers")
        time[now] = step
        now, step = follows[now].any(axis=0), step + 1
    return time
