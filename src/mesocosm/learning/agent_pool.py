r"""Pools of learning agents, naive learners and each other, in an iterated matrix game: a whole meta-episode and its update are one program.

In each iteration every agent plays some games against naive learners of its own and some against another agent, drawn at random. A game is a batch of B
trajectories of M inner episodes of T steps. A naive learner has a logit for each memory and takes a REINFORCE step on the B trajectories after each inner
episode; an agent sees the last pair of actions and keeps its state over the M episodes. All agents then take a step of

$$-\; p \sum_{b, l} \log \pi(a^b_l)\, A^b_l - (1 - p) \sum_{b, l} \log \pi(a^b_l)\, \tilde A^b_l + c\, (V^b_l - G^b_l)^2 - \epsilon H,$$

(means over games and steps), with the weights A of the agent's estimator (`opponent_shaping`) against naive learners and those of independent trajectories
($\tilde A$, `batch_unaware`) against each other. p, the payoffs, all rates and each agent's choice among the estimators are traced: arms that differ in them
share a compiled program.

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
from mesocosm.learning.learner import Learner
from mesocosm.learning.naive_learner import reinforce_tabular
from mesocosm.learning.opponent_shaping import batch_unaware, value_targets

MEMORIES = 5
Number = float | Float[Array, ""]
PerStep = Float[Array, "agents games batch time"]


class PoolState(NamedTuple):
    """State of an `AgentPool`: all agents and their optimisers, with a leading axis of agents."""

    agents: Any
    optimizers: PyTree


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


class Settings(NamedTuple):
    """Numbers of a pool; all are traced.

    Attributes:
        p_naive: p.
        rate: of the naive learners.
        reward_scale: factor of all rewards in what is learned.
        discount, decay: of values and advantages.
        value_weight: c.
        entropy: $\\epsilon$.
        step: factor of each agent's steps, one for all or one per agent; an agent whose factor is 0 stays as it is.
    """

    p_naive: Number = 0.25
    rate: Number = 5.0
    reward_scale: Number = 0.05
    discount: Number = 1.0
    decay: Number = 1.0
    value_weight: Number = 0.5
    entropy: Number = 0.0
    step: Number | Float[Array | np.ndarray, " agents"] = 1.0


def normal_logits(key: Key[Array, ""]) -> Float[Array, "5"]:
    """First logits of a naive learner, N(0, 1)."""
    return jax.random.normal(key, (MEMORIES,))


class AgentPool(Learner):
    """Actor-critic learners in a pool.

    Attributes:
        build: key -> agent (`nn.actor_critic.Agent`), the same structure for all.
        estimators: what agents may use against naive learners.
        choice: factor of each estimator's weights for each agent; a 1 in each row chooses one of them.
        optimizer: hyperparameters -> optax transformation, for each agent alone.
        hyperparameters: passed to it by name; traced.
        settings: the other numbers.
        naive, peers: games of each agent per iteration against naive learners and against another agent; with a single agent, `peers` is 0.
        batch: B.
        episodes: M.
        length: T.
        game: the payoffs, seen from the first player.
        first: key -> first logits of a naive learner.

    Raises:
        ValueError: there are games against peers, but an odd number of agents; or the choice is not among the estimators.
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

    def __check_init__(self) -> None:
        """Reject agents that cannot be paired, and a choice of another number of estimators."""
        if self.peers and self.agents % 2:
            raise ValueError(f"{self.agents} agents cannot be paired: use an even number, or no games against peers")
        if self.choice.shape[-1] != len(self.estimators):
            raise ValueError(f"the choice is among {self.choice.shape[-1]} estimators, but there are {len(self.estimators)}")

    @property
    def agents(self) -> int:
        """Their number."""
        return self.choice.shape[0]

    def init(self, key: Key[Array, ""]) -> PoolState:
        """Build all agents."""
        agents = jax.vmap(self.build)(jax.random.split(key, self.agents))
        return PoolState(agents, jax.vmap(self._transform().init)(eqx.filter(agents, eqx.is_inexact_array)))

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and its step; metrics are per agent, in the game's own payoffs."""
        trained, fixed = eqx.partition(state.agents, eqx.is_inexact_array)

        def objective(leaves: PyTree) -> tuple[Array, MetaEpisodes]:
            played = self.play(eqx.combine(leaves, fixed), key)
            return self.loss(played), played

        (loss, played), gradients = jax.value_and_grad(objective, has_aux=True)(trained)
        moved, optimizers = self.take_step(trained, gradients, state.optimizers)
        return PoolState(eqx.combine(moved, fixed), optimizers), {"loss": loss, **self.summary(played)}

    def take_step(self, trained: PyTree, gradients: PyTree, optimizers: PyTree) -> tuple[PyTree, PyTree]:
        """Each agent's step along its own gradient: new parameters and optimisers."""
        moves, optimizers = jax.vmap(self._transform().update)(gradients, optimizers, trained)
        factor = jnp.broadcast_to(self.settings.step, (self.agents,))
        return optax.apply_updates(trained, jax.tree.map(lambda move: jax.vmap(jnp.multiply)(factor, move), moves)), optimizers

    def model(self, state: PoolState) -> Any:
        """All agents."""
        return state.agents

    def loss(self, played: MetaEpisodes) -> Float[Array, ""]:
        """The sum of all agents' losses; each agent's parameters appear in its own alone."""
        weights, targets = self.credit(played)
        return self.total(played.log_probabilities * weights, (played.values - targets) ** 2, played.entropies, self.naive)

    def total(self, scored: PerStep, errors: PerStep, entropies: PerStep, naive: int) -> Float[Array, ""]:
        """The loss of weighted scores, squared errors of values, and entropies; the first `naive` games are those against naive learners."""
        settings = self.settings
        other = settings.value_weight * errors - settings.entropy * entropies
        each = jnp.mean(jnp.mean(other, axis=2) - jnp.sum(scored, axis=2), axis=-1)
        share = [(settings.p_naive, each[:, :naive]), (1 - settings.p_naive, each[:, naive:])]
        return sum((p * jnp.sum(jnp.mean(part, axis=1)) for p, part in share if part.shape[1]), jnp.zeros(()))

    def credit(self, played: MetaEpisodes) -> tuple[PerStep, PerStep]:
        """A and G of whole games; constants."""
        settings, rewards = self.settings, self.settings.reward_scale * played.rewards
        values = jax.lax.stop_gradient(jnp.concatenate([played.values, jnp.zeros_like(played.values[..., :1])], axis=-1))
        targets = _over_games(lambda r, v: value_targets(r, v, settings.discount, settings.decay), rewards, values)
        return self.weights(rewards, values), targets

    def weights(self, rewards: PerStep, values: Float[Array, "agents games batch steps"]) -> PerStep:
        """A for every action: each agent's estimator against naive learners, independent trajectories against peers; centred for each agent and kind."""
        settings = self.settings

        def advantages(estimator: Callable[..., Array], rewards: Array, values: Array) -> Array:
            return jax.vmap(lambda r, v: estimator(r, self.length, v, settings.discount, settings.decay))(rewards, values)

        def of_agents(estimator: Callable[..., Array], games: slice) -> PerStep:
            return jax.vmap(partial(advantages, estimator))(rewards[:, games], values[:, games])

        naive, peers = slice(self.naive), slice(self.naive, None)
        parts = []
        if self.naive:
            parts.append(self._chosen([of_agents(of, naive) for of in self.estimators]))
        if self.peers:
            parts.append(of_agents(batch_unaware, peers))
        return jnp.concatenate([part - _centre(part) for part in parts], axis=1)

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
        over_lanes = jax.vmap(jax.vmap(lambda agent, state, seen: agent.step(state, seen), in_axes=(None, 0, 0)), in_axes=(None, 0, 0))
        decide = jax.vmap(over_lanes)  # agents; games; batch

        def step(carry: tuple[Any, Array], drawn: Array) -> tuple[tuple[Any, Array], tuple[tuple[Array, ...], Array]]:
            states, memory = carry
            states, (logits, values) = decide(agents, states, jax.nn.one_hot(memory, MEMORIES))
            probability = jax.nn.sigmoid(jax.lax.stop_gradient(logits))
            own = (drawn[:, :games] >= probability).astype(jnp.int32)
            naive_logits = jnp.take_along_axis(state.learners, jnp.asarray(SWAPPED)[memory[:, : self.naive]], axis=-1)
            naive = (drawn[:, games:] >= jax.nn.sigmoid(naive_logits)).astype(jnp.int32)
            other = jnp.concatenate([naive, own[partner][:, self.naive :]], axis=1)
            rewards = payoffs[:, own, other]
            log_probability = jax.nn.log_sigmoid(jnp.where(own == COOPERATE, logits, -logits))
            entropy = jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits)
            played = (log_probability, values, entropy, own == COOPERATE, rewards[0], rewards[1], memory)
            return (states, 1 + 2 * own + other), (played, naive)

        start = jnp.zeros((number, games, self.batch), jnp.int32)
        (states, _), (played, naive) = jax.lax.scan(step, (state.agents, start), drawn)
        rewards, seen = played[5], jnp.asarray(SWAPPED)[played[6]]
        memories, actions, rewards = (jnp.moveaxis(part[:, :, : self.naive], 0, -1) for part in (seen, naive, rewards))
        learn = jax.vmap(jax.vmap(partial(reinforce_tabular, rate=self.settings.rate)))
        return InnerState(states, learn(state.learners, memories, actions, rewards)), played

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

        whole = self._chosen([_over_games(lambda r, of=of: of(r, self.length), rewards) for of in self.estimators])
        now = self._chosen([_over_games(present(of), by_episode) for of in self.estimators])

        def norm(part: Array) -> Float[Array, " agents"]:
            squares = [jnp.sum(leaf.reshape(self.agents, -1) ** 2, axis=1) for leaf in jax.tree.leaves(pull(part - _centre(part))[0])]
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

    def _chosen(self, of_estimators: list[Array]) -> PerStep:
        """For each agent, the weights of its estimator."""
        return jnp.einsum("ae,eagbt->agbt", jnp.asarray(self.choice), jnp.stack(of_estimators))

    def _transform(self) -> optax.GradientTransformation:
        return self.optimizer(**self.hyperparameters)


def _pairing(key: Key[Array, ""], number: int) -> Int[Array, " agents"]:
    """A random co-player for each agent, who has it for a co-player too."""
    order = jax.random.permutation(key, number)
    halves = order.reshape(2, -1)
    return jnp.zeros(number, order.dtype).at[halves].set(halves[::-1])


def _centre(part: PerStep) -> Float[Array, "agents 1 1 1"]:
    return jnp.mean(part, axis=(1, 2, 3), keepdims=True)


def _over_games(function: Callable[..., Array], *parts: Array) -> Array:
    return jax.vmap(jax.vmap(function))(*parts)
