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
from jaxtyping import Array, Float, Int, Key

from mesocosm.learning.actor_critic_pool import Decided, Number, PerStep, PoolState
from mesocosm.learning.agent_pool import MEMORIES, AgentPool, MetaEpisodes, of_logits
from mesocosm.learning.environment_pool import EnvironmentPool
from mesocosm.learning.proximal_steps import check_minibatches, clipped_terms, split_games, take_steps


class Proximal(eqx.Module):
    r"""The numbers of PPO.

    Attributes:
        epochs: passes over the games of an iteration (paper: 4).
        minibatches: parts of the games, a step each (paper: 2).
        clip: $\varepsilon$ (paper: 0.2).
    """

    epochs: int = eqx.field(static=True, default=4)
    minibatches: int = eqx.field(static=True, default=2)
    clip: Number = 0.2


class ProximalPool(Proximal, AgentPool):
    """`AgentPool` with PPO in place of a single step.

    Raises:
        ValueError: the minibatches do not divide the games of each kind.
    """

    def __check_init__(self) -> None:
        """Reject minibatches of unequal size."""
        check_minibatches(self.naive, self.peers, self.minibatches)

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and all its steps; the loss is their mean."""
        return _update(self, state, key)

    def replay(self, agents: Any, played: MetaEpisodes) -> Decided:
        """What agents decide on the memories that were seen."""

        def whole(agent: Any, memories: Int[Array, " time"]) -> tuple[Array, Array]:
            return tuple(jax.lax.scan(lambda state, seen: agent.step(state, seen), agent.init_state(), jax.nn.one_hot(memories, MEMORIES))[1])

        over_lanes = jax.vmap(jax.vmap(whole, in_axes=(None, 0)), in_axes=(None, 0))
        logits, values = jax.vmap(over_lanes)(agents, played.memories)
        log_probabilities, entropies = of_logits(logits, played.cooperates)
        return Decided(log_probabilities, values, entropies, played.rewards)


class ProximalEnvironmentPool(Proximal, EnvironmentPool):
    """`EnvironmentPool` with PPO in place of a single step.

    Raises:
        ValueError: the minibatches do not divide the games of each kind.
    """

    def __check_init__(self) -> None:
        """Reject minibatches of unequal size."""
        check_minibatches(self.naive, self.peers, self.minibatches)

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and all its steps; the loss is their mean."""
        return _update(self, state, key)


def clipped(pool: ProximalPool | ProximalEnvironmentPool, agents: Any, played: Any, old: Decided, weights: PerStep, targets: PerStep) -> Float[Array, ""]:
    """The loss of agents on a minibatch of games, of which they decided `old` when these were played."""
    new = pool.replay(agents, played)
    scored, errors = clipped_terms(new.log_probabilities, old.log_probabilities, weights, new.values, old.values, targets, pool.clip)
    return pool.total(scored, errors, new.entropies, pool.naive // pool.minibatches)


def _update(pool: ProximalPool | ProximalEnvironmentPool, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
    play_key, split_key = jax.random.split(key)
    played: Any = pool.play(state.agents, play_key)
    old = pool.replay(state.agents, played)
    credit = pool.credit(old)

    def loss(agents: Any, games: Int[Array, " part"]) -> Float[Array, ""]:
        return clipped(pool, agents, *jax.tree.map(lambda part: part[:, games], (played, old, *credit)))

    parts = jax.vmap(lambda key: split_games(key, pool.naive, pool.peers, pool.minibatches))(jax.random.split(split_key, pool.epochs))
    state, mean = take_steps(pool, state, parts.reshape(pool.epochs * pool.minibatches, -1), loss)
    return state, {"loss": mean, **pool.summary(played)}
