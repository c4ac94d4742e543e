"""Any environment with gymnax's `reset` and `step`, yours or another library's, as an `Environment`.

The inverse of `GymnaxLegacyView`; it does not need gymnax. The guide "Credit assignment" trains a policy on one.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm.envs.environment import Box, Environment


class OutsideState(NamedTuple):
    """The other environment's state, with what the interface asks for.

    Attributes:
        time: number of steps so far.
        observation: of this state.
        inner: the other environment's state.
    """

    time: Int[Array, ""]
    observation: Float[Array, "*shape"]
    inner: Any


class OutsideParams(eqx.Module):
    """The other environment's params and the length of an episode.

    Attributes:
        inner: the other environment's params, None if it has none.
        max_steps_in_episode: an episode that has not ended by then is cut off.
    """

    inner: Any
    max_steps_in_episode: int = eqx.field(static=True)


@dataclass(frozen=True)
class GymnaxEnvironment(Environment[OutsideState, OutsideParams]):
    """Wraps an object with two methods, pure and without a batch axis:

    - `reset(key, params)` returns observation and state;
    - `step(key, state, action, params)` returns observation, state, reward, done and info (gymnax before 1.0), or observation, state, reward, terminated,
      truncated and info (gymnax 1.0). It may reset an episode that ended; what comes after the end is ignored.

    Attributes:
        inner: the object, hashable, as every object is that does not define `__eq__`.
        steps: the longest episode.
        actions: number of actions; None if `inner` has `num_actions`.

    Raises:
        ValueError: `inner` lacks `reset` or `step`, its number of actions is unknown or below 2 (as gymnax says of continuous ones), or `steps` is not
            positive; in `step`, it returns neither five nor six values.
    """

    inner: Any
    steps: int
    actions: int | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a call."""
        missing = [name for name in ("reset", "step") if not callable(getattr(self.inner, name, None))]
        if missing:
            raise ValueError(f"{type(self.inner).__name__} has no {' and no '.join(missing)}; an environment in gymnax's manner has both")
        if self.actions is None and not hasattr(self.inner, "num_actions"):
            raise ValueError(f"{type(self.inner).__name__} has no num_actions; give the number of actions as `actions`")
        number = self.inner.num_actions if self.actions is None else self.actions
        if not hasattr(number, "__index__") or operator.index(number) < 2:
            raise ValueError(f"{type(self.inner).__name__} has {number!r} actions; they must be the numbers 0 .. n-1, two or more, and not continuous")
        if self.steps < 1:
            raise ValueError(f"an episode has one or more steps, not {self.steps}")

    @property
    def name(self) -> str:
        """The class of the other environment."""
        return type(self.inner).__name__

    @property
    def num_actions(self) -> int:
        """As given, or as the other environment says."""
        return int(self.inner.num_actions) if self.actions is None else self.actions

    @property
    def default_params(self) -> OutsideParams:
        """The other environment's default params, or None."""
        return self.params(getattr(self.inner, "default_params", None))

    def params(self, inner: Any) -> OutsideParams:
        """Other params of the other environment."""
        return OutsideParams(inner, self.steps)

    def reset_env(self, key: PRNGKeyArray, params: OutsideParams) -> tuple[Array, OutsideState]:
        """The first observation and state."""
        observation, state = self.inner.reset(key, params.inner)
        return _seen(observation), OutsideState(jnp.int32(0), _seen(observation), state)

    def step_env(self, key: PRNGKeyArray, state: OutsideState, action: Any, params: OutsideParams) -> tuple[Array, OutsideState, Array, Array, dict[str, Any]]:
        """One step; its own time limit counts as an end."""
        found = self.inner.step(key, state.inner, action, params.inner)
        if len(found) not in (5, 6):
            raise ValueError(f"step of {self.name} returns {len(found)} values; gymnax's returns 5 (before 1.0) or 6")
        observation, after, reward, *ends, info = found
        over = jnp.any(jnp.stack([jnp.asarray(end, bool) for end in ends]))
        return _seen(observation), OutsideState(state.time + 1, _seen(observation), after), jnp.asarray(reward, float), over, info

    def observe(self, state: OutsideState, params: OutsideParams) -> Float[Array, "*shape"]:
        """The observation that came with the state."""
        return state.observation

    def observation_space(self, params: OutsideParams) -> Box:
        """Real numbers of the shape that `reset` returns."""
        seen = jax.eval_shape(lambda key: self.reset_env(key, params)[0], jax.random.key(0))
        return Box(-jnp.inf, jnp.inf, seen.shape)


def _seen(observation: Any) -> Float[Array, "*shape"]:
    """Observations as floats, which is what networks take."""
    return jnp.asarray(observation, float)
