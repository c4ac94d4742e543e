"""All episodes of a small process with their probabilities, for expectations and variances without sampling."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mesocosm.envs.tabular import TabularMDP


class EveryEpisode(NamedTuple):
    """All episodes that a process allows, independent of the policy, padded with zeros after the end.

    Attributes:
        states: indices of the states.
        actions: the actions taken.
        rewards: classes of the rewards.
        taken: False after the end.
    """

    states: Int[np.ndarray, "episodes time"]
    actions: Int[np.ndarray, "episodes time"]
    rewards: Int[np.ndarray, "episodes time"]
    taken: Bool[np.ndarray, "episodes time"]


def every_episode(mdp: TabularMDP, most: int = 1_000_000) -> EveryEpisode:
    """Follow every branch of positive probability to the episode's end.

    Raises:
        ValueError: there are more than `most` episodes (infinitely many if a state can be revisited).
    """
    end = mdp.states
    onward = np.concatenate([np.asarray(mdp.transition) > 0, np.asarray(mdp.termination)[..., None] > 1e-12], axis=2)
    possible = (np.asarray(mdp.reward_probability) > 0)[..., None] & onward[:, :, None]  # states, actions, rewards, next
    source, *event = np.nonzero(possible)
    first, number = np.searchsorted(source, np.arange(end)), np.bincount(source, minlength=end)
    now, done = np.flatnonzero(np.asarray(mdp.initial) > 0), []
    path = np.zeros((len(now), 0), dtype=int)
    while len(now):
        repeats = number[now]
        if sum(map(len, done)) + repeats.sum() > most:
            raise ValueError(f"there are more than {most} episodes")
        within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        chosen = np.repeat(first[now], repeats) + within
        path = np.concatenate([np.repeat(path, repeats, axis=0), chosen[:, None]], axis=1)
        now = event[2][chosen]
        done.append(path[now == end])
        path, now = path[now != end], now[now != end]
    time = len(done)
    padded = np.concatenate([np.pad(paths, ((0, 0), (0, time - paths.shape[1])), constant_values=-1) for paths in done])
    taken = padded >= 0
    states, actions, rewards = (np.where(taken, part[padded], 0).astype(np.int32) for part in (source, event[0], event[1]))
    return EveryEpisode(states, actions, rewards, taken)


def episode_probability(mdp: TabularMDP, policy: Float[Array, "states actions"], episodes: EveryEpisode) -> Float[Array, " episodes"]:
    """The probability of each episode under a policy; they sum to one."""
    states, actions, rewards, taken = (jnp.asarray(part) for part in episodes)
    reward = jnp.asarray(mdp.reward_probability, policy.dtype)[states, actions, rewards]
    goes_on = jnp.concatenate([taken[:, 1:], jnp.zeros_like(taken[:, :1])], axis=1)
    following = jnp.roll(states, -1, axis=1)
    transition = jnp.asarray(mdp.transition, policy.dtype)
    onward = jnp.where(goes_on, transition[states, actions, following], 1.0 - jnp.sum(transition, axis=2)[states, actions])
    steps = jnp.where(taken, policy[states, actions] * reward * onward, 1.0)
    return jnp.asarray(mdp.initial, policy.dtype)[states[:, 0]] * jnp.prod(steps, axis=1)


def by_state(
    states: Int[Array, " time"], contributions: Float[Array, "time actions"], taken: Bool[Array, " time"], number: int
) -> Float[Array, "states actions"]:
    """Contributions of one episode summed over the visits to each state, for `dynamic_programming.policy_gradient`."""
    return jnp.zeros((number, contributions.shape[1]), contributions.dtype).at[states].add(contributions * taken[:, None])
