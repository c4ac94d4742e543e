"""Adapter for wrappers and agents of JaxMARL that ask for its base class and its spaces, such as `CTRolloutManager`. Needs JaxMARL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import PRNGKeyArray

from mesocosm.envs.multi_agent import ByAgent, MultiAgentEnvironment
from mesocosm.numerics.programs import jit

try:
    from jaxmarl.environments import spaces  # pyright: ignore[reportMissingImports]
    from jaxmarl.environments.multi_agent_env import MultiAgentEnv  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError(f"JaxMARLView needs JaxMARL, which cannot be imported ({error}); to get it: python -m pip install jaxmarl") from None


class JaxMARLView(MultiAgentEnv):
    """An environment of several agents as a `MultiAgentEnv`, with the same random numbers.

    As in JaxMARL, `reset` and `step` are compiled when called from Python. The numbers of `env` are constants there: for other payoffs, make another view.

    Args:
        env: the environment.

    Raises:
        ValueError: in `step`, an agent has no action.
    """

    def __init__(self, env: MultiAgentEnvironment):
        super().__init__(env.num_agents)
        self.env, self.agents = env, env.agents
        self.action_spaces = {agent: spaces.Discrete(env.action_space(agent).n) for agent in self.agents}
        self.observation_spaces = {agent: spaces.Box(*env.observation_space(agent)) for agent in self.agents}
        # The methods themselves have no hash if the environment holds arrays.
        self._reset, self._step = jit(lambda key: env.reset(key)), jit(lambda *arguments: env.step(*arguments))

    @property
    def name(self) -> str:
        """Name of the environment."""
        return self.env.name

    @property
    def agent_classes(self) -> dict[str, list[str]]:
        """Names of the agents by class."""
        return self.env.agent_classes

    def get_obs(self, state: Any) -> ByAgent:
        """The observation of each agent."""
        return self.env.get_obs(state)

    def get_avail_actions(self, state: Any) -> ByAgent:
        """Which actions each agent may take."""
        return self.env.get_avail_actions(state)

    def reset(self, key: PRNGKeyArray) -> tuple[ByAgent, Any]:
        """The first observations and state."""
        return self._reset(key)

    def step_env(self, key: PRNGKeyArray, state: Any, actions: Mapping[str, Any]) -> tuple[ByAgent, Any, ByAgent, ByAgent, dict[str, Any]]:
        """Observations, state, rewards, dones (with "__all__") and info after one step, without a reset at the end."""
        return self.env.step_env(key, state, actions)

    def step(self, key: PRNGKeyArray, state: Any, actions: Mapping[str, Any], reset_state: Any = None) -> tuple[ByAgent, Any, ByAgent, ByAgent, dict[str, Any]]:
        """`step_env`; an episode that ended is reset immediately, to `reset_state` if it is given."""
        return self._step(key, state, actions, reset_state)
