"""Co-players that learn by themselves: one step of policy gradient on what they have just played, as if nobody reacted to it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mesocosm.envs.matrix_game import COOPERATE


def reinforce_tabular(
    logits: Float[Array, " memories"],
    memories: Int[Array, "batch time"],
    actions: Int[Array, "batch time"],
    rewards: Float[Array, "batch time"],
    rate: float | Float[Array, ""],
) -> Float[Array, " memories"]:
    r"""One REINFORCE step of a policy with a logit to cooperate for each memory,

    $$\theta \leftarrow \theta + \frac{\eta}{B T} \sum_{b, t} \nabla \log \pi(a^b_t \mid m^b_t)\, \big(G^b_t - \bar G_t\big),$$

    with the rewards to go $G$ of the episode and their mean over the batch (which is taken from a single trajectory too: with B = 1 nothing is learned).

    Args:
        logits: $\theta$.
        memories: what each action was conditioned on, an index into the logits.
        actions: 0 to cooperate.
        rewards: the learner's own.
        rate: $\eta$.
    """
    later = jnp.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
    score = (actions == COOPERATE) - jax.nn.sigmoid(logits)[memories]
    gradient = jnp.zeros_like(logits).at[memories].add(score * (later - jnp.mean(later, axis=0)))
    return logits + rate * gradient / rewards.size
