r"""Pools in which agents may be told the policy of a memory-one opponent, so that nothing is left to infer.

Reference: Weis et al., arXiv 2602.16301 (2026), Fig. 1, where this ablation removes cooperation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mesocosm.learning.agent_pool import MEMORIES, AgentPool, Number


class InformedPool(AgentPool):
    r"""`AgentPool` whose agents see five more numbers: $k (2 q_m - 1)$ for the opponent's probability $q_m$ to cooperate after each memory, and zeros where
    the opponent is an agent.

    Attributes:
        told: k; 0 tells nothing. Traced.
    """

    told: Number = 1.0

    def seen(self, memory: Int[Array, "agents games batch"], learners: Float[Array, "agents naive memories"]) -> Float[Array, "agents games batch features"]:
        """The last pair of actions, one-hot, and what is told."""
        of_learners = self.told * jnp.tanh(learners / 2)  # 2 sigmoid(x) - 1
        policies = jnp.concatenate([of_learners, jnp.zeros((self.agents, self.peers, MEMORIES), of_learners.dtype)], axis=1)
        more = jnp.broadcast_to(policies[:, :, None], (*memory.shape, MEMORIES))
        return jnp.concatenate([jax.nn.one_hot(memory, MEMORIES), more], axis=-1)
