r"""Pools of learning agents, naive learners and each other, in an iterated matrix game: a whole meta-episode and its update are one program.

In each iteration every agent plays some games against naive learners of its own and some against another agent, drawn at random. A game is a batch of B
trajectories of M inner episodes of T steps. A naive learner has a logit for each memory and takes a REINFORCE step on the B trajectories after each inner
episode; an agent sees the last pair of actions and keeps its state over the M episodes. All agents then take a step on the loss of `actor_critic_pool`. Its
numbers, the payoffs, all rates and each agent's choice among the estimators are traced: arms that differ in them share a compiled program.

Fixed memory-one opponents are naive learners whose rate is 0.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), Sec. 4.2, Alg. 1, App. A.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from mesocosm.analysis.memory_one import SWAPPED
from mesocosm.envs.matrix_game import COOPERATE, PRISONERS_DILEMMA, MatrixGame
from mesocosm.learning.actor_critic_pool import ActorCriticPool, Number, PerStep, PoolState, Settings, centre, over_games, pairs
from mesocosm.learning.naive_learner import reinforce_tabular

__all__ = ["MEMORIES", "AgentPool", "InnerState", "MetaEpisodes", "Number", "PerStep", "PoolState", "Settings", "normal_logits"]

MEMORIES = 5


class InnerState(NamedTuple):
    """What passes from one inner episode to the next: the agents' states in all games, and the naive learners."""

    agents: Any
    learners: Float[Array, "agents naive memories"]


class MetaEpisodes(NamedTuple):
    """What all agents played in one iteration; the games against naive learners come first.

    Attributes:
        log_probabilities: of each agent's actions, differentiable.
        values: of what it has seen before each step.
        entropies: of its decisions.
        cooperates: whether it cooperated.
        rewards: its own.
        others: those of its co-players.
        memories: what it saw, an index: 0 at the start of an inner episode, else 1 + 2 own + other of the last actions.
    """

    log_probabilities: PerStep
    values: PerStep
    entropies: PerStep
    cooperates: Bool[Array, "agents games batch time"]
    rewards: PerStep
    others: PerStep
    memories: Int[Array, "agents games batch time"]


def normal_logits(key: Key[Array, ""]) -> Float[Array, "5"]:
    """First logits of a naive learner, N(0, 1)."""
    return jax.random.normal(key, (MEMORIES,))


class AgentPool(ActorCriticPool):
    """Actor-critic learners in a pool that plays an iterated matrix game.

    Attributes:
        build: key -> `nn.actor_critic.Agent`; this and what is not named here is that of `ActorCriticPool`.
        length: T.
        game: the payoffs. An agent is the first player against naive learners; of two agents, the one with the smaller number is.
        first: key -> first logits of a naive learner.
    """

    build: Callable[[Any], Any]
    estimators: tuple[Callable[..., Array], ...] = eqx.field(static=True)
    choice: Float[Array | np.ndarray, "agents estimators"]
    optimizer: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, Any]
    settings: Settings
    naive: int = eqx.field(static=True, default=8)
    peers: int = eqx.field(static=True, default=8)
    batch: int = eqx.field(static=True, default=16)
    episodes: int = eqx.field(static=True, default=10)
    length: int = eqx.field(static=True, default=6)
    game: MatrixGame = PRISONERS_DILEMMA
    first: Callable[[Any], Float[Array, "5"]] = normal_logits

    @property
    def inner_steps(self) -> int:
        """T."""
        return self.length

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and its step; metrics are per agent, in the game's own payoffs."""
        trained, fixed = eqx.partition(state.agents, eqx.is_inexact_array)

        def objective(leaves: PyTree) -> tuple[Array, MetaEpisodes]:
            played = self.play(eqx.combine(leaves, fixed), key)
            return self.loss(played), played

        (loss, played), gradients = jax.value_and_grad(objective, has_aux=True)(trained)
        moved, optimizers = self.take_step(trained, gradients, state.optimizers)
        return PoolState(eqx.combine(moved, fixed), optimizers), {"loss": loss, **self.summary(played)}

    def loss(self, played: MetaEpisodes) -> Float[Array, ""]:
        """The sum of all agents' losses; each agent's parameters appear in its own alone."""
        weights, targets = self.credit(played)
        return self.total(played.log_probabilities * weights, (played.values - targets) ** 2, played.entropies, self.naive)

    def play(self, agents: Any, key: Key[Array, ""]) -> MetaEpisodes:
        """Play one meta-episode of every game; differentiable in what the agents decide, while actions are constants."""
        partner, carry, drawn = self.begin(agents, key)
        _, played = jax.lax.scan(lambda carry, drawn: self.inner_episode(agents, partner, carry, drawn), carry, drawn)
        return MetaEpisodes(*(jnp.moveaxis(part.reshape(-1, *part.shape[2:]), 0, -1) for part in played))

    def begin(self, agents: Any, key: Key[Array, ""]) -> tuple[Int[Array, " agents"], InnerState, Float[Array, "episodes time agents lanes batch"]]:
        """What a meta-episode begins with: each agent's co-player among the agents, states and learners, and uniform numbers for every decision."""
        pair_key, first_key, play_key = jax.random.split(key, 3)
        number, games = self.agents, self.naive + self.peers
        partner = _pairing(pair_key, number) if self.peers else jnp.arange(number)
        learners = jax.vmap(jax.vmap(self.first))(jax.random.split(first_key, (number, self.naive)))
        states = jax.vmap(lambda agent: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (games, self.batch, *leaf.shape)), agent.init_state()))(agents)
        drawn = jax.random.uniform(play_key, (self.episodes, self.length, number, games + self.naive, self.batch))
        return partner, InnerState(states, learners), drawn

    def inner_episode(
        self, agents: Any, partner: Int[Array, " agents"], state: InnerState, drawn: Float[Array, "time agents lanes batch"]
    ) -> tuple[InnerState, tuple[Array, ...]]:
        """One inner episode and the learners' update; also returns what was played, as in `MetaEpisodes` with time in front."""
        number, games = self.agents, self.naive + self.peers
        payoffs = jnp.asarray(self.game.payoffs, float)
        seats = jnp.stack([payoffs, payoffs[::-1].swapaxes(1, 2)], axis=1)  # what a player and its co-player earn; seat; own action; the other's
        second = (jnp.arange(games) >= self.naive) & (jnp.arange(number) > partner)[:, None]
        over_lanes = jax.vmap(jax.vmap(lambda agent, state, seen: agent.step(state, seen), in_axes=(None, 0, 0)), in_axes=(None, 0, 0))
        decide = jax.vmap(over_lanes)  # agents; games; batch

        def step(carry: tuple[Any, Array], drawn: Array) -> tuple[tuple[Any, Array], tuple[tuple[Array, ...], Array]]:
            states, memory = carry
            states, (logits, values) = decide(agents, states, self.seen(memory, state.learners))
            probability = jax.nn.sigmoid(jax.lax.stop_gradient(logits))
            own = (drawn[:, :games] >= probability).astype(jnp.int32)
            naive_logits = jnp.take_along_axis(state.learners, jnp.asarray(SWAPPED)[memory[:, : self.naive]], axis=-1)
            naive = (drawn[:, games:] >= jax.nn.sigmoid(naive_logits)).astype(jnp.int32)
            other = jnp.concatenate([naive, own[partner][:, self.naive :]], axis=1)
            rewards = seats[:, second[..., None].astype(jnp.int32), own, other]
            log_probability, entropy = of_logits(logits, own == COOPERATE)
            played = (log_probability, values, entropy, own == COOPERATE, rewards[0], rewards[1], memory)
            return (states, 1 + 2 * own + other), (played, naive)

        start = jnp.zeros((number, games, self.batch), jnp.int32)
        (states, _), (played, naive) = jax.lax.scan(step, (state.agents, start), drawn)
        rewards, seen = played[5], jnp.asarray(SWAPPED)[played[6]]
        memories, actions, rewards = (jnp.moveaxis(part[:, :, : self.naive], 0, -1) for part in (seen, naive, rewards))
        learn = jax.vmap(jax.vmap(partial(reinforce_tabular, rate=self.settings.rate)))
        return InnerState(states, learn(state.learners, memories, actions, rewards)), played

    def seen(self, memory: Int[Array, "agents games batch"], learners: Float[Array, "agents naive memories"]) -> Float[Array, "agents games batch features"]:
        """What agents see: the last pair of actions, one-hot."""
        return jax.nn.one_hot(memory, MEMORIES)

    def gradient_parts(self, agents: Any, key: Key[Array, ""]) -> tuple[Float[Array, " agents"], Float[Array, " agents"]]:
        """Norms of two parts of each agent's policy gradient beside naive learners: from rewards of the present inner episode, and of later ones.

        Without values, so that the parts are the estimator's weights for the rewards alone; each part is centred as in `weights`.
        """
        trained, fixed = eqx.partition(agents, eqx.is_inexact_array)

        def score(leaves: PyTree) -> tuple[Array, Array]:
            played = self.play(eqx.combine(leaves, fixed), key)
            return played.log_probabilities[:, : self.naive], played.rewards[:, : self.naive]

        _, pull, rewards = jax.vjp(score, trained, has_aux=True)
        by_episode = rewards.reshape(*rewards.shape[:-1], self.episodes, self.length)

        def present(of: Callable[..., Array]) -> Callable[..., Array]:
            return lambda r: jnp.concatenate([of(r[:, episode], self.length) for episode in range(self.episodes)], axis=-1)

        whole = self.chosen([over_games(lambda r, of=of: of(r, self.length), rewards) for of in self.estimators])
        now = self.chosen([over_games(present(of), by_episode) for of in self.estimators])

        def norm(part: Array) -> Float[Array, " agents"]:
            squares = [jnp.sum(leaf.reshape(self.agents, -1) ** 2, axis=1) for leaf in jax.tree.leaves(pull(part - centre(part))[0])]
            return jnp.sqrt(sum(squares, jnp.zeros(self.agents)))

        return norm(now), norm(whole - now)

    def summary(self, played: MetaEpisodes) -> dict[str, Float[Array, ""]]:
        """Per agent: rewards against peers and naive learners, those of the latter, and cooperation with them in the first and last inner episodes."""
        found: dict[str, Array] = {}
        for i in range(self.agents):
            if self.naive:
                cooperates = played.cooperates[i, : self.naive]
                found[f"ego_{i}"] = jnp.mean(played.rewards[i, : self.naive])
                found[f"naive_{i}"] = jnp.mean(played.others[i, : self.naive])
                found[f"first_{i}"] = jnp.mean(cooperates[..., : self.length])
                found[f"last_{i}"] = jnp.mean(cooperates[..., -self.length :])
            if self.peers:
                found[f"peer_{i}"] = jnp.mean(played.rewards[i, self.naive :])
        return found


def of_logits(logits: Float[Array, "*axes"], cooperates: Bool[Array, "*axes"]) -> tuple[Float[Array, "*axes"], Float[Array, "*axes"]]:
    """Log probabilities of actions, and entropies, from logits to cooperate."""
    return jax.nn.log_sigmoid(jnp.where(cooperates, logits, -logits)), jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits)


def _pairing(key: Key[Array, ""], number: int) -> Int[Array, " agents"]:
    """A random co-player for each agent, who has it for a co-player too."""
    halves = pairs(key, number)
    return jnp.zeros(number, halves.dtype).at[halves].set(halves[::-1])
