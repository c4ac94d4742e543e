r"""Pools of agents that learn by proximal policy optimisation: several clipped steps on the same meta-episodes (`proximal_steps`).

The weights A and targets G are computed once from the whole games, before these are split, so that what an action does to the learner of its game (all B
trajectories of it) is in its weight wherever the game goes. Minibatches are whole games, never parts of a game. One epoch with one minibatch is the step of
the plain pool.

Reference: Schulman et al., "Proximal policy optimization algorithms" (2017); Meulemans et al., "Multi-agent cooperation through learning-aware policy
gradients" (2025), App. B, H.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mesocosm.learning.agent_pool import MEMORIES, AgentPool, MetaEpisodes, Number, PerStep, PoolState
from mesocosm.learning.environment_pool import EnvironmentPool
from mesocosm.learning.proximal_steps import check_minibatches, clipped_terms, split_games, take_steps


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
        check_minibatches(self.naive, self.peers, self.minibatches)

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and all its steps; the loss is their mean."""
        play_key, split_key = jax.random.split(key)
        played = self.play(state.agents, play_key)
        credit = self.credit(played)

        def loss(agents: Any, games: Int[Array, " part"]) -> Float[Array, ""]:
            return self.clipped(agents, *jax.tree.map(lambda part: part[:, games], (played, *credit)))

        parts = jax.vmap(self.split_games)(jax.random.split(split_key, self.epochs)).reshape(self.epochs * self.minibatches, -1)
        state, mean = take_steps(self, state, parts, loss)
        return state, {"loss": mean, **self.summary(played)}

    def split_games(self, key: Key[Array, ""]) -> Int[Array, "minibatches part"]:
        """A random split of the games."""
        return split_games(key, self.naive, self.peers, self.minibatches)

    def clipped(self, agents: Any, old: MetaEpisodes, weights: PerStep, targets: PerStep) -> Float[Array, ""]:
        """The loss of agents on games that have been played."""
        logits, values = self.replay(agents, old.memories)
        new = jax.nn.log_sigmoid(jnp.where(old.cooperates, logits, -logits))
        scored, errors = clipped_terms(new, old.log_probabilities, weights, values, old.values, targets, self.clip)
        entropies = jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits)
        return self.total(scored, errors, entropies, self.naive // self.minibatches)

    def replay(self, agents: Any, memories: Int[Array, "agents games batch time"]) -> tuple[PerStep, PerStep]:
        """Logits to cooperate and values, of agents who see what was seen."""

        def whole(agent: Any, memories: Int[Array, " time"]) -> tuple[Array, Array]:
            return tuple(jax.lax.scan(lambda state, seen: agent.step(state, seen), agent.init_state(), jax.nn.one_hot(memories, MEMORIES))[1])

        over_lanes = jax.vmap(jax.vmap(whole, in_axes=(None, 0)), in_axes=(None, 0))
        return jax.vmap(over_lanes)(agents, memories)


class ProximalEnvironmentPool(EnvironmentPool):
    r"""`EnvironmentPool` with PPO in place of a single step.

    Attributes:
        epochs, minibatches, clip: see `ProximalPool`.

    Raises:
        ValueError: the minibatches do not divide the games of each kind.
    """

    epochs: int = eqx.field(static=True, default=4)
    minibatches: int = eqx.field(static=True, default=2)
    clip: Number = 0.2

    def __check_init__(self) -> None:
        """Reject minibatches of unequal size."""
        check_minibatches(self.naive, self.peers, self.minibatches)

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and all its steps; the loss is their mean."""
        play_key, split_key = jax.random.split(key)
        played = self.play(state.agents, play_key)
        decided = self.replay(state.agents, played)
        credit = self.credit(decided)

        def loss(agents: Any, games: Int[Array, " part"]) -> Float[Array, ""]:
            seen, old, weights, targets = jax.tree.map(lambda part: part[:, games], (played, decided, *credit))
            new = self.replay(agents, seen)
            scored, errors = clipped_terms(new.log_probabilities, old.log_probabilities, weights, new.values, old.values, targets, self.clip)
            return self.total(scored, errors, new.entropies, self.naive // self.minibatches)

        parts = jax.vmap(lambda key: split_games(key, self.naive, self.peers, self.minibatches))(jax.random.split(split_key, self.epochs))
        state, mean = take_steps(self, state, parts.reshape(self.epochs * self.minibatches, -1), loss)
        return state, {"loss": mean, **self.summary(played)}
