"""Adapter to the parallel interface of PettingZoo, one episode at a time, with rendering. Needs gymnasium (the extra `gym`), whose spaces PettingZoo uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import jax
import numpy as np

from mesocosm.envs.environment import check_action
from mesocosm.envs.multi_agent import JointEpisode, MultiAgentEnvironment
from mesocosm.numerics.programs import filter_jit, jit


class ParallelView:
    """One environment of several agents, stepped from Python. An episode of full length is truncated.

    Args:
        env: the environment.
        render_mode: None, or "rgb_array" for a picture of the episode so far.

    Raises:
        ValueError: the render mode is unknown, or the environment has no pictures; in `step`, an agent's action is missing or not in its space.
        gymnasium.error.ResetNeeded: in `step`, no episode has started, or the last one has ended.
    """

    def __init__(self, env: MultiAgentEnvironment, render_mode: str | None = None):
        if render_mode not in (None, "rgb_array") or (render_mode and not hasattr(env, "image")):
            raise ValueError(f"render_mode must be None{' or ' + repr('rgb_array') if hasattr(env, 'image') else ''}, not {render_mode!r}")
        self.env, self.render_mode = env, render_mode
        self.metadata = {"name": env.name, "render_modes": ["rgb_array"] if hasattr(env, "image") else [], "is_parallelizable": True}
        self.possible_agents = env.agents
        self.agents: list[str] = []
        self.action_spaces = {agent: gymnasium.spaces.Discrete(env.num_actions) for agent in env.agents}
        self.observation_spaces = {agent: gymnasium.spaces.Box(0.0, 1.0, (env.features,), np.float32) for agent in env.agents}
        self._random = np.random.default_rng()
        self._start, self._observe = filter_jit(env.start), filter_jit(env.observe)  # for jit, a method has no hash if the environment holds arrays
        self._step = jit(self._advance)

    @property
    def unwrapped(self) -> ParallelView:
        """Itself."""
        return self

    @property
    def num_agents(self) -> int:
        """Agents that are still playing."""
        return len(self.agents)

    @property
    def max_num_agents(self) -> int:
        """All agents."""
        return len(self.possible_agents)

    def action_space(self, agent: str) -> gymnasium.spaces.Discrete:
        """The actions of an agent."""
        return self.action_spaces[agent]

    def observation_space(self, agent: str) -> gymnasium.spaces.Box:
        """The observations of an agent."""
        return self.observation_spaces[agent]

    def _advance(self, key: Any, state: Any, actions: Any) -> tuple[Any, ...]:
        key, next_key = jax.random.split(key)
        after, rewards, info = self.env.transition(key, state, actions)
        return next_key, after, rewards, self.env.observe(after), self.env.done(after), info

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode; a seed resets the random numbers."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        first, self._key = jax.random.split(jax.random.key(int(self._random.integers(2**31))))
        self._state = self._start(first)
        self._past: list[tuple[Any, ...]] = []
        self.agents = list(self.possible_agents)
        self._seen = np.asarray(self._observe(self._state))
        return self._by_agent(self._seen), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Take one action of each agent."""
        if not self.agents:
            raise gymnasium.error.ResetNeeded("the episode has ended, or none has started: call reset() before step()")
        for agent in self.agents:
            if agent not in actions:
                raise ValueError(f"{agent} has no action")
            check_action(actions[agent], self.env.num_actions)
        chosen = np.array([actions[agent] for agent in self.agents], np.int32)
        before, seen = self._state, self._seen
        self._key, self._state, rewards, after, done, info = self._step(self._key, before, chosen)
        self._past.append((before, seen, chosen, np.asarray(rewards), info))
        self._seen, over, playing = np.asarray(after), bool(done), self.agents
        self.agents = [] if over else playing
        given = dict(zip(playing, map(float, rewards), strict=True))
        return self._by_agent(self._seen), given, dict.fromkeys(playing, False), dict.fromkeys(playing, over), {agent: {} for agent in playing}

    def episode(self) -> JointEpisode:
        """The steps so far; the present state follows them, with nobody's action.

        Raises:
            gymnasium.error.ResetNeeded: no step has been taken.
        """
        if not getattr(self, "_past", None):
            raise gymnasium.error.ResetNeeded("no step has been taken yet")
        return JointEpisode(*jax.tree.map(lambda *leaves: np.stack(leaves), *self._past))

    def render(self) -> np.ndarray | None:
        """A picture of the episode so far."""
        return self.env.image(self.episode()) if self.render_mode else None  # type: ignore[attr-defined]

    def close(self) -> None:
        """Nothing is open."""

    def _by_agent(self, observations: np.ndarray) -> dict[str, np.ndarray]:
        return {agent: np.array(seen, np.float32) for agent, seen in zip(self.possible_agents, observations, strict=True)}
