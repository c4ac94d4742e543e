"""Adapter to `gymnasium.Env`, one episode at a time, with rendering. Needs gymnasium (the extra `gym`).

Importing this module registers `mesocosm/KeyToDoor-v0`, `mesocosm/Tree-v0` and `mesocosm/Interleaving-v0` for `gymnasium.make`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.envs.environment import Episode, check_action
from mesocosm.envs.interleaving import Interleaving
from mesocosm.envs.key_to_door import KeyToDoor
from mesocosm.envs.tabular import FiniteEnvironment
from mesocosm.envs.tree import Tree
from mesocosm.numerics.programs import jit


class GymnasiumView(gymnasium.Env[np.ndarray, np.int64]):
    """One environment, stepped from Python.

    `render` shows the episode so far: text for "ansi", an image for "rgb_array".

    Args:
        env: the environment.
        params: None for the default params.
        render_mode: None, "ansi" or "rgb_array".

    Raises:
        ValueError: the render mode is unknown; in `step`, the action is not in the action space.
        gymnasium.error.ResetNeeded: in `step`, no episode has started, or the last one has ended.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012  (gymnasium reads the class)

    def __init__(self, env: FiniteEnvironment[Any, Any], params: Any = None, render_mode: str | None = None):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be None, 'ansi' or 'rgb_array', not {render_mode!r}")
        self.env, self.params, self.render_mode = env, env.default_params if params is None else params, render_mode
        box = env.observation_space(self.params)
        self.action_space = gymnasium.spaces.Discrete(env.num_actions)
        self.observation_space = gymnasium.spaces.Box(box.low, box.high, box.shape, dtype=np.float32)
        self._reset = jit(env.reset_env)
        self._step = jit(self._step_and_split)
        self._running = False

    def _step_and_split(self, key: Any, state: Any, action: Any, params: Any) -> tuple[Any, ...]:
        """Also returns the next key: splitting it in Python would cost more than the step."""
        key, next_key = jax.random.split(key)
        observation, after, reward, terminated, _ = self.env.step_env(key, state, action, params)
        return next_key, observation, after, reward, terminated, self.env.is_truncated(after, params) & ~terminated

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; a seed resets the random numbers."""
        super().reset(seed=seed)
        first, self._key = jax.random.split(jax.random.key(int(self.np_random.integers(2**31))))
        observation, self._state = self._reset(first, self.params)
        self._past: list[tuple[Any, Any, Any, Any, Any]] = []
        self._seen = np.array(observation, dtype=np.float32)
        self._running = True
        return self._seen.copy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action."""
        if not self._running:
            raise gymnasium.error.ResetNeeded("the episode has ended, or none has started: call reset() before step()")
        check_action(action, self.env.num_actions)
        before = self._state
        self._key, observation, self._state, reward, terminated, truncated = self._step(self._key, before, jnp.int32(action), self.params)
        self._past.append((before, int(action), float(reward), bool(terminated), bool(truncated)))
        self._running = not (bool(terminated) or bool(truncated))
        self._seen = np.array(observation, dtype=np.float32)
        return self._seen.copy(), float(reward), bool(terminated), bool(truncated), {}

    def render(self) -> Any:
        """Render the episode so far."""
        if self.render_mode == "ansi":
            return self.env.text(self.episode(), self.params)
        return self.env.image(self.episode(), self.params) if self.render_mode == "rgb_array" else None

    def episode(self) -> Episode:
        """The episode so far, padded like a whole one."""
        length = self.params.max_steps_in_episode
        missing = length - len(self._past)
        padding = (self._past[-1][0] if self._past else self._state, 0, 0.0, False, False)
        states, *columns = zip(*[*self._past, *[padding] * missing], strict=True)
        actions, rewards, terminated, truncated = (np.array(column) for column in columns)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        observations = jax.vmap(self.env.observe, in_axes=(0, None))(stacked, self.params)
        taken = jnp.arange(length) < len(self._past)
        steps = (jnp.asarray(actions, jnp.int32), jnp.asarray(rewards, float), taken, jnp.asarray(terminated), jnp.asarray(truncated))
        return Episode(stacked, observations, *steps, jnp.asarray(self._seen))


REGISTERED = {kind.__name__: kind for kind in (KeyToDoor, Tree, Interleaving)}


def registered(environment: str, params: Any = None, render_mode: str | None = None, **sizes: Any) -> GymnasiumView:
    """The view of an environment of these sizes; `gymnasium.make("mesocosm/Tree-v0", depth=3)` calls this.

    Args:
        environment: name of the class.
        params, render_mode: see `GymnasiumView`.
        sizes: fields of the environment.
    """
    return GymnasiumView(REGISTERED[environment](**sizes), params, render_mode)


for _name in REGISTERED:
    gymnasium.register(f"mesocosm/{_name}-v0", entry_point=f"{__name__}:registered", kwargs={"environment": _name})
