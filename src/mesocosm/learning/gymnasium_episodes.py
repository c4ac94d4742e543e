"""Episodes of any Gymnasium environment for `ActorCredit`: a batch is one pass of a vector of environments, and its policy is called once per step.

The guide "Credit assignment" has an example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mesocosm.learning.actor_credit import ActorCredit, Episodes
from mesocosm.learning.credit_learner import check_actions
from mesocosm.numerics.programs import filter_jit

Probabilities = Callable[[Float[np.ndarray, "batch *shape"]], Float[np.ndarray | Array, "batch actions"]]


def play(envs: Any, probabilities: Probabilities, steps: int, draw: np.random.Generator) -> Episodes:
    """One episode of each environment, from its reset to its end, padded to `steps`.

    Args:
        envs: a `gymnasium.vector.VectorEnv` with discrete actions; any autoreset mode will do, because what comes after the end is ignored.
        probabilities: observations of all environments -> probabilities of the actions.
        steps: the longest episode; one that has not ended by then is cut off.
        draw: chooses the actions, and the environments' seeds.

    Raises:
        ValueError: there are no steps, `envs` is not a vector of environments, its observations are not arrays or its actions not the numbers 0 .. n-1, the
            probabilities have another shape or do not sum to 1, or a reward is not finite.
    """
    if steps < 1:
        raise ValueError(f"an episode has one or more steps, not {steps}")
    number = _actions_of(envs)
    seen, _ = envs.reset(seed=int(draw.integers(2**31)))
    running = np.ones(envs.num_envs, bool)
    rows: list[tuple[np.ndarray, ...]] = []
    for time in range(steps):
        seen = np.asarray(seen, np.float32)
        likely = np.cumsum(_distributions(probabilities(seen), (envs.num_envs, number)), axis=1)[:, : number - 1]
        actions = np.sum(likely <= draw.random((envs.num_envs, 1)), axis=1)
        following, rewards, terminated, truncated, _ = envs.step(actions)
        if not np.isfinite(rewards[running]).all():
            raise ValueError(f"rewards must be finite; at step {time}, one is {rewards[running & ~np.isfinite(rewards)][0]}")
        rows.append((seen, actions, np.where(running, rewards, 0.0).astype(np.float32), running))
        running = running & ~(np.asarray(terminated) | np.asarray(truncated))
        seen = following
        if not running.any():
            break
    padding = [(0, 0), (0, steps - len(rows))]
    parts = (np.stack(part, axis=1) for part in zip(*rows, strict=True))
    return Episodes(*(np.pad(part, padding + [(0, 0)] * (part.ndim - 2)) for part in parts))


def train(learner: ActorCredit, envs: Any, updates: int, steps: int, *, seed: int = 0, state: Any = None) -> tuple[Any, Float[np.ndarray, " updates"]]:
    """Alternate batches of episodes and updates; the final state, and the mean return of each batch.

    Args:
        learner: with `env`, `params` and `observations` None; its `batch_size` is not used.
        envs: see `play`; as many environments as episodes in a batch.
        updates: how often.
        steps: the longest episode.
        seed: of the networks, the actions and the environments.
        state: where to go on, None to start anew. Go on with another `seed`: the same one draws the same actions and environments again.

    Raises:
        ValueError: as `play`, or the credit was made for another number of actions.
    """
    check_actions(learner.credit, _actions_of(envs), "the vector's environment")
    key, draw = jax.random.key(seed), np.random.default_rng(seed)
    state = learner.init(key) if state is None else state
    returns = np.zeros(updates)
    for number in range(updates):
        batch = play(envs, partial(_probabilities, learner, state.policy.model), steps, draw)
        state, metrics = _update(learner, state, Episodes(*map(jnp.asarray, batch)), key)
        returns[number] = metrics["return"]
    return state, returns


def _actions_of(envs: Any) -> int:
    """The number of actions of each environment."""
    if not hasattr(envs, "num_envs"):
        raise ValueError(f"{type(envs).__name__} is not a vector of environments; make one with gymnasium.make_vec(name, num_envs=8)")
    actions, observations = envs.single_action_space, envs.single_observation_space
    if getattr(actions, "n", None) is None or int(getattr(actions, "start", 0)) != 0:
        raise ValueError(f"actions must be the numbers 0 .. n-1, not {actions}")
    if observations.shape is None:
        raise ValueError(f"observations must be arrays, not {observations}; gymnasium.wrappers.FlattenObservation makes them so")
    return int(actions.n)


def _distributions(given: Any, shape: tuple[int, int]) -> Float[np.ndarray, "batch actions"]:
    """Probabilities of all actions, checked."""
    chances = np.asarray(given, np.float64)
    if chances.shape != shape:
        raise ValueError(f"{shape[0]} environments with {shape[1]} actions need probabilities of shape {shape}, not {chances.shape}")
    if not (chances >= 0).all() or not np.allclose(chances.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError(f"probabilities must not be negative and sum to 1; the first are {chances[0]}")
    return chances


@filter_jit
def _probabilities(learner: ActorCredit, policy: Any, seen: Float[np.ndarray | Array, "batch *shape"]) -> Float[Array, "batch actions"]:
    return replace(learner, observations=seen).probabilities(policy)


@filter_jit
def _update(learner: ActorCredit, state: Any, batch: Episodes, key: Any) -> Any:
    return learner.step(state, batch, key)
