"""Adapter for agents written for gymnax before 1.0, whose `step` returns five values. rejax trains on it unchanged. Needs gymnax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gymnax.environments import spaces  # pyright: ignore[reportMissingImports]
from jaxtyping import Array, PRNGKeyArray

from mesocosm.envs.environment import Environment


@dataclass(frozen=True)
class GymnaxLegacyView:
    """The legacy interface of gymnax: `step` returns observation, state, reward, done and info; `done` combines termination and truncation.

    Attributes:
        env: the environment.
    """

    env: Environment[Any, Any]

    @property
    def name(self) -> str:
        """Name of the environment."""
        return self.env.name

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        return self.env.num_actions

    @property
    def default_params(self) -> Any:
        """The environment's default params."""
        return self.env.default_params

    def reset(self, key: PRNGKeyArray, params: Any = None) -> tuple[Array, Any]:
        """The first observation and state."""
        return self.env.reset(key, params)

    def step(self, key: PRNGKeyArray, state: Any, action: Any, params: Any = None) -> tuple[Array, Any, Array, Array, dict[str, Any]]:
        """Take one step; an episode that ended is reset immediately. `info` keeps termination and truncation apart."""
        observation, state, reward, terminated, truncated, info = self.env.step(key, state, action, params)
        info = {**info, "terminated": terminated, "truncated": truncated, "discount": 1.0 - terminated}
        return observation, state, reward, terminated | truncated, info

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """As gymnax writes it."""
        return spaces.Discrete(self.env.num_actions)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """As gymnax writes it."""
        box = self.env.observation_space(self.default_params if params is None else params)
        return spaces.Box(box.low, box.high, box.shape)
