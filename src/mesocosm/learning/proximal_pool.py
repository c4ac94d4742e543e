r"""Pools of agents that learn by proximal policy optimisation: several clipped steps on the same meta-episodes.

The weights A and targets G are computed once from the whole games, before these are split, so that what an action does to the learner of its game (all B
trajectories of it) is in its weight wherever the game goes. Minibatches are whole games, never parts of a game. With the ratio
$\rho = \pi(a \mid h) / \pi_{\text{old}}(a \mid h)$ and old values $V_{\text{old}}$, the terms of `agent_pool` become

$$\log \pi\, A \to \min\big(\rho A,\; \text{clip}(\rho, 1 - \varepsilon, 1 + \varepsilon) A\big), \qquad
(V - G)^2 \to \max\big((V - G)^2,\; (V_{\text{old}} + \text{clip}(V - V_{\text{old}}, -\varepsilon, \varepsilon) - G)^2\big).$$

One epoch with one minibatch is the step of `AgentPool`.

Reference: Schulman et al., "Proximal policy optimization algorithms" (2017); Meulemans et al., "Multi-agent cooperation through learning-aware policy
gradients" (2025), App. B, H.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from mesocosm.learning.agent_pool import MEMORIES, AgentPool, MetaEpisodes, Number, PerStep, PoolState


class ProximalPool(AgentPool):
    r"""`AgentPool` with PPO in place of a single step.

    Attributes:
        epochs: passes over the games of an iteration (paper: 4).
        minibatches: parts of the games, a step each (paper: 2).
        clip: $\varepsilon$ (paper: 0.2).

    Raises:
        ValueError: the minibatches do not divide the games of each kind.
    """

    epochs: int = eqx.field(static=True, default=4)
    minibatches: int = eqx.field(static=True, default=2)
    clip: Number = 0.2

    def __check_init__(self) -> None:
        """Reject minibatches of unequal size."""
        if self.naive % self.minibatches or self.peers % self.minibatches:
            raise ValueError(f"{self.minibatches} minibatches must divide the {self.naive} games against naive learners and the {self.peers} against agents")

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and all its steps; the loss is their mean."""
        play_key, split_key = jax.random.split(key)
        trained, fixed = eqx.partition(state.agents, eqx.is_inexact_array)
        played = self.play(state.agents, play_key)
        credit = self.credit(played)

        def step(carry: tuple[PyTree, PyTree], games: Int[Array, " part"]) -> tuple[tuple[PyTree, PyTree], Float[Array, ""]]:
            trained, optimizers = carry
            old, weights, targets = jax.tree.map(lambda part: part[:, games], (played, *credit))

            def objective(leaves: PyTree) -> Float[Array, ""]:
                return self.clipped(eqx.combine(leaves, fixed), old, weights, targets)

            loss, gradients = jax.value_and_grad(objective)(trained)
            return self.take_step(trained, gradients, optimizers), loss

        parts = jax.vmap(self.split_games)(jax.random.split(split_key, self.epochs)).reshape(self.epochs * self.minibatches, -1)
        (trained, optimizers), losses = jax.lax.scan(step, (trained, state.optimizers), parts)
        return PoolState(eqx.combine(trained, fixed), optimizers), {"loss": jnp.mean(losses), **self.summary(played)}

    def split_games(self, key: Key[Array, ""]) -> Int[Array, "minibatches part"]:
        """A random split into parts that have the same number of games of each kind, those against naive learners first."""
        kinds = [jnp.arange(self.naive), self.naive + jnp.arange(self.peers)]
        shuffled = [jax.random.permutation(key, kind).reshape(self.minibatches, -1) for kind, key in zip(kinds, jax.random.split(key), strict=True)]
        return jnp.concatenate(shuffled, axis=1)

    def clipped(self, agents: Any, old: MetaEpisodes, weights: PerStep, targets: PerStep) -> Float[Array, ""]:
        """The loss of agents on games that have been played."""
        logits, values = self.replay(agents, old.memories)
        ratio = jnp.exp(jax.nn.log_sigmoid(jnp.where(old.cooperates, logits, -logits)) - old.log_probabilities)
        near = old.values + jnp.clip(values - old.values, -self.clip, self.clip)
        scored = jnp.minimum(ratio * weights, jnp.clip(ratio, 1 - self.clip, 1 + self.clip) * weights)
        entropies = jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits)
        return self.total(scored, jnp.maximum((values - targets) ** 2, (near - targets) ** 2), entropies, self.naive // self.minibatches)

    def replay(self, agents: Any, memories: Int[Array, "agents games batch time"]) -> tuple[PerStep, PerStep]:
        """Logits to cooperate and values, of agents who see what was seen."""

        def whole(agent: Any, memories: Int[Array, " time"]) -> tuple[Array, Array]:
            return tuple(jax.lax.scan(lambda state, seen: agent.step(state, seen), agent.init_state(), jax.nn.one_hot(memories, MEMORIES))[1])

        over_lanes = jax.vmap(jax.vmap(whole, in_axes=(None, 0)), in_axes=(None, 0))
        return jax.vmap(over_lanes)(agents, memories)
