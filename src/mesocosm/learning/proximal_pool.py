r"""Pools of agents that learn by proximal policy optimisation: several clipped steps on the same meta-episodes (`proximal_steps`).

The weights A and targets G are computed once from the whole games, before these are split, so that what an action does to the learner of its game (all B
trajectories of it) is in its weight wherever the game goes. Minibatches are whole games, never parts of a game. One epoch with one minibatch is the step of
the plain pool.

Reference: Schulman et al., "Proximal policy optimization algorithms" (2017); Meulemans et al., "Multi-agent cooperation through learning-aware policy
gradients" (2025), App. B, H.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, Key

from mesocosm.learning.actor_critic_pool import ActorCriticPool, Decided, Number, PerStep, PoolState
from mesocosm.learning.agent_pool import MEMORIES, AgentPool, MetaEpisodes, of_logits
from mesocosm.learning.environment_pool import EnvironmentPool, Games
from mesocosm.learning.proximal_steps import check_minibatches, clipped_terms, split_games, take_steps


class Proximal(ActorCriticPool):
    r"""A pool that takes several clipped steps on the games of an iteration, in place of a single step.

    Attributes:
        epochs: passes over the games (paper: 4).
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

    @abstractmethod
    def replay(self, agents: Any, played: Any) -> Decided:
        """What agents decide on what was seen."""

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and all its steps; the loss is their mean."""
        play_key, split_key = jax.random.split(key)
        played = self.play(state.agents, play_key)
        old = self.replay(state.agents, played)
        credit = self.credit(old)

        def loss(agents: Any, games: Int[Array, " part"]) -> Float[Array, ""]:
            return self.clipped(agents, *jax.tree.map(lambda part: part[:, games], (played, old, *credit)))

        parts = jax.vmap(lambda key: split_games(key, self.naive, self.peers, self.minibatches))(jax.random.split(split_key, self.epochs))
        state, mean = take_steps(self, state, parts.reshape(self.epochs * self.minibatches, -1), loss)
        return state, {"loss": mean, **self.summary(played)}

    def clipped(self, agents: Any, played: Any, old: Decided, weights: PerStep, targets: PerStep) -> Float[Array, ""]:
        """The loss of agents on a minibatch of games, of which they decided `old` when these were played."""
        new = self.replay(agents, played)
        scored, errors = clipped_terms(new.log_probabilities, old.log_probabilities, weights, new.values, old.values, targets, self.clip)
        return self.total(scored, errors, new.entropies, self.naive // self.minibatches)


class ProximalPool(Proximal, AgentPool):
    """`AgentPool` with the steps of `Proximal`."""

    def replay(self, agents: Any, played: MetaEpisodes) -> Decided:
        """What agents decide on the memories that were seen."""

        def whole(agent: Any, memories: Int[Array, " time"]) -> tuple[Array, Array]:
            return tuple(jax.lax.scan(lambda state, seen: agent.step(state, seen), agent.init_state(), jax.nn.one_hot(memories, MEMORIES))[1])

        over_lanes = jax.vmap(jax.vmap(whole, in_axes=(None, 0)), in_axes=(None, 0))
        logits, values = jax.vmap(over_lanes)(agents, played.memories)
        log_probabilities, entropies = of_logits(logits, played.cooperates)
        return Decided(log_probabilities, values, entropies, played.rewards)


class ProximalEnvironmentPool(Proximal, EnvironmentPool):
    """`EnvironmentPool` with the steps of `Proximal`."""

    def replay(self, agents: Any, played: Games) -> Decided:
        """What agents decide on what was seen."""
        return EnvironmentPool.replay(self, agents, played)
