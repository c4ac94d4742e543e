"""The interface of an environment, with the signatures of gymnax 1.0, and `Episode`, the record of one episode.

An environment consists of static rules: it is hashable and, except for `TabularMDP`, holds no arrays. The numbers that may change without recompilation
(rewards, layouts, offsets) are its params, a PyTree; the state is another PyTree. `GymnasiumView` and `GymnaxLegacyView` are adapters for agents of other
libraries.

Reference: R. T. Lange, "gymnax" (2022), version 1.0.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

State = TypeVar("State")
Params = TypeVar("Params")


class Discrete(NamedTuple):
    """The actions 0 .. n-1."""

    n: int


class Box(NamedTuple):
    """Real vectors of a shape, every entry between `low` and `high`."""

    low: float
    high: float
    shape: tuple[int, ...]


class Episode(NamedTuple):
    """One episode, padded to a fixed number of steps; batches have a leading axis on every array.

    Attributes:
        states: the states $S_t$ in which the agent acted, leading axis time.
        observations: the observations of these states.
        actions: $A_t$.
        rewards: $R_t$, obtained in $(S_t, A_t)$; zero after the end.
        taken: whether step t was taken; False after the end.
        terminated: whether the episode ended by the environment's rules after step t.
        truncated: whether the time limit cut it off after step t; the missing rewards are unknown, not zero.
        final_observation: the observation after the last step.
    """

    states: Any
    observations: Float[Array, "time *shape"]
    actions: Int[Array, " time"]
    rewards: Float[Array, " time"]
    taken: Bool[Array, " time"]
    terminated: Bool[Array, " time"]
    truncated: Bool[Array, " time"]
    final_observation: Float[Array, "*shape"]


class Environment(abc.ABC, Generic[State, Params]):
    """Rules of reset and step, pure and without a batch axis. States have a field `time`, and params a field `max_steps_in_episode`."""

    @property
    def name(self) -> str:
        """Name of the environment."""
        return type(self).__name__

    @property
    @abc.abstractmethod
    def num_actions(self) -> int:
        """Number of actions."""

    @property
    @abc.abstractmethod
    def default_params(self) -> Any:
        """The params of the paper that introduced the environment."""

    @abc.abstractmethod
    def reset_env(self, key: PRNGKeyArray, params: Any) -> tuple[Array, Any]:
        """The first observation and state."""

    @abc.abstractmethod
    def step_env(self, key: PRNGKeyArray, state: Any, action: Any, params: Any) -> tuple[Array, Any, Array, Array, dict[str, Any]]:
        """Return observation, state, reward, terminated and info after one action, without a reset at the end."""

    @abc.abstractmethod
    def observe(self, state: Any, params: Any) -> Array:
        """The observation of a state."""

    @abc.abstractmethod
    def observation_space(self, params: Any) -> Box:
        """Bounds and shape of observations."""

    def action_space(self, params: Any) -> Discrete:
        """The actions."""
        return Discrete(self.num_actions)

    def is_truncated(self, state: Any, params: Any) -> Array:
        """Whether the time limit is reached."""
        return jnp.asarray(state.time >= params.max_steps_in_episode)

    def reset(self, key: PRNGKeyArray, params: Any = None) -> tuple[Array, Any]:
        """The first observation and state."""
        return self.reset_env(key, self.default_params if params is None else params)

    def step(self, key: PRNGKeyArray, state: Any, action: Any, params: Any = None) -> tuple[Array, Any, Array, Array, Array, dict[str, Any]]:
        """Return observation, state, reward, terminated, truncated and info after one action; an episode that ended is reset immediately.

        `info["final_observation"]` is the observation before the reset; you may bootstrap a value from it if the step was truncated, but not if it terminated.

        Raises:
            ValueError: the action is not an integer, or is outside the action space (where its value is known: not under `jit` or `vmap`).
        """
        check_action(action, self.num_actions)
        params = self.default_params if params is None else params
        step_key, reset_key = jax.random.split(key)
        seen, after, reward, terminated, info = self.step_env(step_key, state, action, params)
        truncated = self.is_truncated(after, params) & ~terminated
        first = self.reset_env(reset_key, params)
        observation, state = jax.tree.map(lambda new, old: jnp.where(terminated | truncated, new, old), first, (seen, after))
        return observation, state, reward, terminated, truncated, {**info, "final_observation": seen}

    def choose(self, probabilities: Float[Array, "*batch actions"], uniform: Float[Array, "*batch"]) -> Int[Array, "*batch"]:
        """Sample an action; see the function `choose`."""
        if probabilities.shape[-1] != self.num_actions:
            raise ValueError(f"the policy has {probabilities.shape[-1]} probabilities, {self.name} has {self.num_actions} actions")
        return choose(probabilities, uniform)

    def episode(self, key: PRNGKeyArray, act: Callable[[Any], Float[Array, " actions"]], params: Any = None) -> Episode:
        """Run one whole episode as a scan over `max_steps_in_episode` steps.

        Args:
            key: for actions and transitions.
            act: maps a state to action probabilities. For a policy of observations, use `lambda state: policy(env.observe(state, params))`.
            params: None for the default params.

        Raises:
            ValueError: there are not as many probabilities as actions.
        """
        params = self.default_params if params is None else params
        reset_key, step_key, action_key = jax.random.split(key, 3)
        length = params.max_steps_in_episode
        uniforms = jax.random.uniform(action_key, (length,))

        def step(carry: tuple[Any, Array], drawn: tuple[Array, Array]) -> tuple[tuple[Any, Array], tuple[Any, ...]]:
            (state, running), (key, uniform) = carry, drawn
            action = self.choose(act(state), uniform)
            _, after, reward, terminated, _ = self.step_env(key, state, action, params)
            truncated = self.is_truncated(after, params) & ~terminated
            after = jax.tree.map(lambda new, old: jnp.where(running, new, old), after, state)
            left = (state, action, jnp.where(running, reward, 0.0), running, running & terminated, running & truncated)
            return (after, running & ~terminated & ~truncated), left

        first = self.reset_env(reset_key, params)[1]
        (last, _), (states, *steps) = jax.lax.scan(step, (first, jnp.array(True)), (jax.random.split(step_key, length), uniforms))
        observations = jax.vmap(lambda state: self.observe(state, params))(states)
        actions, rewards, taken, terminated, truncated = steps
        return Episode(states, observations, actions, rewards, taken, terminated, truncated, self.observe(last, params))


def check_action(action: Any, number: int) -> None:
    """Reject what is not one of the actions 0 .. number - 1; of a traced action, only the type is known.

    Raises:
        ValueError: names the range.
    """
    whole = np.ndim(action) == 0 and jnp.issubdtype(jnp.result_type(action), jnp.integer)
    if not whole or (not isinstance(action, Tracer) and not 0 <= int(action) < number):
        raise ValueError(f"the action must be a whole number from 0 to {number - 1}, not {action!r}")


def choose(probabilities: Float[Array, "*batch actions"], uniform: Float[Array, "*batch"]) -> Int[Array, "*batch"]:
    """Sample an action by inverting the cumulative distribution: this needs one random number per choice; the Gumbel trick needs one per action."""
    last = probabilities.shape[-1] - 1
    below = jnp.cumsum(probabilities[..., :last], axis=-1) <= uniform[..., None]
    return jnp.sum(below, axis=-1, dtype=jnp.int32)
