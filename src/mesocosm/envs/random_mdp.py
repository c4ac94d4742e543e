"""Random finite processes, for testing statements about all processes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mesocosm.envs.tabular import TabularMDP


def random_mdp(key: PRNGKeyArray, states: int, actions: int, rewards: int, layers: int = 1) -> TabularMDP:
    """Draw a process with probabilities uniform on their simplices and integer rewards from 0 to `rewards` - 1, whose episodes end.

    With one layer, every state may follow every other, and a step ends the episode with a probability between 0.1 and 0.4 that depends on state and action.
    With more layers, the states are divided evenly; an episode starts in the first layer, moves from each layer to the next and ends after the last, or before.

    Raises:
        ValueError: the states cannot be divided evenly into layers.
    """
    if states % layers:
        raise ValueError(f"{states} states cannot be divided evenly into {layers} layers")
    transition_key, stop_key, reward_key, start_key = jax.random.split(key, 4)
    layer = jnp.arange(states) // (states // layers)
    follows = (layer[None, :] == layer[:, None] + 1) | (layers == 1)
    raw = jax.random.exponential(transition_key, (states, actions, states)) * follows[:, None]
    total = jnp.sum(raw, axis=-1, keepdims=True)
    stop = jax.random.uniform(stop_key, (states, actions, 1), minval=0.1, maxval=0.4)
    transition = jnp.where(total > 0, (1.0 - stop) * raw / jnp.where(total > 0, total, 1.0), 0.0)
    reward = jax.random.exponential(reward_key, (states, actions, rewards))
    start = jax.random.exponential(start_key, (states,)) * (layer == 0)
    return TabularMDP(transition, reward / jnp.sum(reward, -1, keepdims=True), jnp.arange(rewards) * 1.0, start / jnp.sum(start), jnp.eye(states))


def random_policy(key: PRNGKeyArray, states: int, actions: int) -> jax.Array:
    """Draw a policy with standard normal logits."""
    return jax.random.normal(key, (states, actions))
