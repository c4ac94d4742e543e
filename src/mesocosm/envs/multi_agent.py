"""The interface of an environment in which several agents act at once, with the signatures of JaxMARL.

An environment states its rules on arrays with an axis of agents (`start`, `observe`, `transition`); `reset` and `step` show them as JaxMARL does, as
dictionaries by agent. It is a module whose numbers are leaves: passed to a compiled function, other payoffs need no other program. `ParallelView` is an adapter
with the interface of PettingZoo.

Reference: Rutherford et al., "JaxMARL: multi-agent RL environments and algorithms in JAX" (2024).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mesocosm.envs.environment import Box, Discrete, choose

ByAgent = dict[str, Any]


class Transition(NamedTuple):
    """What one step of all agents leads to.

    Attributes:
        state: the next state.
        rewards: one for each agent.
        info: arrays by name, what else happened.
    """

    state: Any
    rewards: Float[Array, " agents"]
    info: Mapping[str, Array]


class JointEpisode(NamedTuple):
    """One episode of all agents.

    Attributes:
        states: those in which the agents acted, leading axis time.
        observations: of these states.
        actions: the actions taken.
        rewards: the rewards obtained.
        info: as in `Transition`, leading axis time.
    """

    states: Any
    observations: Float[Array, "time agents features"]
    actions: Int[Array, "time agents"]
    rewards: Float[Array, "time agents"]
    info: Mapping[str, Array]


class MultiAgentEnvironment(eqx.Module):
    """Rules of several agents who act at once in episodes of `length` steps. States have a field `time`."""

    length: eqx.AbstractVar[int]

    @property
    @abstractmethod
    def num_agents(self) -> int:
        """Number of agents."""

    @property
    @abstractmethod
    def num_actions(self) -> int:
        """Number of actions of each agent."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Size of an agent's observation, whose entries lie between 0 and 1."""

    @abstractmethod
    def start(self, key: PRNGKeyArray) -> Any:
        """The first state."""

    @abstractmethod
    def observe(self, state: Any) -> Float[Array, "agents features"]:
        """What each agent sees, itself first."""

    @abstractmethod
    def transition(self, key: PRNGKeyArray, state: Any, actions: Int[Array, " agents"]) -> Transition:
        """One step."""

    def done(self, state: Any) -> Bool[Array, ""]:
        """Whether the episode has reached its length."""
        return jnp.asarray(state.time >= self.length)

    def episode(self, key: PRNGKeyArray, act: Callable[[Any, Any], tuple[Any, Float[Array, "agents actions"]]], memory: Any = None) -> JointEpisode:
        """Run one episode as a scan.

        Args:
            key: for actions and transitions.
            act: (memory, observations) -> memory, action probabilities of each agent.
            memory: the agents' memory at the start.
        """
        start_key, step_key, action_key = jax.random.split(key, 3)

        def step(carry: tuple[Any, Any], drawn: tuple[Array, Array]) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
            (state, memory), (key, uniform) = carry, drawn
            seen = self.observe(state)
            memory, probabilities = act(memory, seen)
            actions = choose(probabilities, uniform)
            after, rewards, info = self.transition(key, state, actions)
            return (after, memory), (state, seen, actions, rewards, info)

        uniforms = jax.random.uniform(action_key, (self.length, self.num_agents))
        return JointEpisode(*jax.lax.scan(step, (self.start(start_key), memory), (jax.random.split(step_key, self.length), uniforms))[1])

    # --- JaxMARL's interface

    @property
    def name(self) -> str:
        """Name of the environment."""
        return type(self).__name__

    @property
    def agents(self) -> list[str]:
        """Names of the agents."""
        return [f"agent_{i}" for i in range(self.num_agents)]

    @property
    def agent_classes(self) -> dict[str, list[str]]:
        """All agents are of one class."""
        return {"agent": self.agents}

    def action_space(self, agent: str | None = None) -> Discrete:
        """The actions of an agent."""
        return Discrete(self.num_actions)

    def observation_space(self, agent: str | None = None) -> Box:
        """Bounds and shape of an agent's observations."""
        return Box(0.0, 1.0, (self.features,))

    @property
    def action_spaces(self) -> dict[str, Discrete]:
        """`action_space` of each agent."""
        return {agent: self.action_space(agent) for agent in self.agents}

    @property
    def observation_spaces(self) -> dict[str, Box]:
        """`observation_space` of each agent."""
        return {agent: self.observation_space(agent) for agent in self.agents}

    def get_obs(self, state: Any) -> ByAgent:
        """The observation of each agent."""
        return self._by_agent(self.observe(state))

    def get_avail_actions(self, state: Any) -> ByAgent:
        """All actions are possible at all times."""
        return self._by_agent(jnp.ones((self.num_agents, self.num_actions), bool))

    def reset(self, key: PRNGKeyArray) -> tuple[ByAgent, Any]:
        """The first observations and state."""
        state = self.start(key)
        return self.get_obs(state), state

    def step_env(self, key: PRNGKeyArray, state: Any, actions: Mapping[str, Any]) -> tuple[ByAgent, Any, ByAgent, ByAgent, dict[str, Any]]:
        """Observations, state, rewards, dones (with "__all__") and info after one step, without a reset at the end.

        Raises:
            ValueError: an agent has no action.
        """
        if missing := [agent for agent in self.agents if agent not in actions]:
            raise ValueError(f"{missing[0]} has no action; there are actions of {', '.join(sorted(actions)) or 'nobody'}")
        after, rewards, info = self.transition(key, state, jnp.stack([jnp.asarray(actions[agent], jnp.int32) for agent in self.agents]))
        over = self.done(after)
        dones = dict.fromkeys([*self.agents, "__all__"], over)
        return self.get_obs(after), after, self._by_agent(rewards), dones, dict(info)

    def step(self, key: PRNGKeyArray, state: Any, actions: Mapping[str, Any], reset_state: Any = None) -> tuple[ByAgent, Any, ByAgent, ByAgent, dict[str, Any]]:
        """`step_env`; an episode that ended is reset immediately, to `reset_state` if it is given."""
        step_key, reset_key = jax.random.split(key)
        seen, after, rewards, dones, info = self.step_env(step_key, state, actions)
        first = self.reset(reset_key) if reset_state is None else (self.get_obs(reset_state), reset_state)
        seen, after = jax.tree.map(lambda new, old: jnp.where(dones["__all__"], new, old), first, (seen, after))
        return seen, after, rewards, dones, info

    def _by_agent(self, values: Array) -> ByAgent:
        return dict(zip(self.agents, values, strict=True))
