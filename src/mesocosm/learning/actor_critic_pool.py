r"""What pools of actor-critic learners share: the credit of games against naive learners and against each other, the loss, and each agent's own step.

A game is a batch of B trajectories of M inner episodes of T steps; arrays have the axes agents, games, trajectories and time, with the games against naive
learners first. All agents take a step of

$$-\; p \sum_{b, l} \log \pi(a^b_l)\, A^b_l - (1 - p) \sum_{b, l} \log \pi(a^b_l)\, \tilde A^b_l + c\, (V^b_l - G^b_l)^2 - \epsilon H,$$

(means over games and steps), with the weights A of the agent's estimator (`opponent_shaping`) against naive learners and those of independent trajectories
($\tilde A$, `batch_unaware`) against each other.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), Sec. 4.2, Alg. 1, App. A.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from mesocosm.learning.learner import Learner
from mesocosm.learning.opponent_shaping import batch_unaware, value_targets

Number = float | Float[Array, ""]
PerStep = Float[Array, "agents games batch time"]


class PoolState(NamedTuple):
    """State of a pool: all agents and their optimisers, with a leading axis of agents."""

    agents: Any
    optimizers: PyTree


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


class Decided(NamedTuple):
    """Games read again: log probabilities of what was done, values and entropies, differentiable, and the rewards."""

    log_probabilities: PerStep
    values: PerStep
    entropies: PerStep
    rewards: PerStep


@runtime_checkable
class Rewarded(Protocol):
    """What credit is given for: rewards, and values before each step."""

    @property
    def rewards(self) -> PerStep:
        """Of the agents."""
        ...

    @property
    def values(self) -> PerStep:
        """Their expectations."""
        ...


class ActorCriticPool(Learner):
    """A pool whose subclass says how it is played.

    Attributes:
        build: key -> agent, the same structure for all.
        estimators: what agents may use against naive learners.
        choice: factor of each estimator's weights for each agent; a 1 in each row chooses one of them.
        optimizer: hyperparameters -> optax transformation, for each agent alone.
        hyperparameters: passed to it by name; traced.
        settings: the other numbers.
        naive, peers: games of each agent per iteration against naive learners and against another agent; with a single agent, `peers` is 0.
        batch: B.
        episodes: M.

    Raises:
        ValueError: there are no agents, games, trajectories, inner episodes or steps; there are games against peers, but an odd number of agents; or the choice
            is not among the estimators.
    """

    build: eqx.AbstractVar[Callable[[Any], Any]]
    estimators: eqx.AbstractVar[tuple[Callable[..., Array], ...]]
    choice: eqx.AbstractVar[Float[Array | np.ndarray, "agents estimators"]]
    optimizer: eqx.AbstractVar[Callable[..., optax.GradientTransformation]]
    hyperparameters: eqx.AbstractVar[Mapping[str, Any]]
    settings: eqx.AbstractVar[Settings]
    naive: eqx.AbstractVar[int]
    peers: eqx.AbstractVar[int]
    batch: eqx.AbstractVar[int]
    episodes: eqx.AbstractVar[int]

    def __check_init__(self) -> None:
        """Reject a pool in which nothing is played, agents that cannot be paired, and a choice of another number of estimators."""
        if self.agents < 1:
            raise ValueError("a pool needs at least one agent: the choice has a row for each of them, and there is none")
        if min(self.naive, self.peers) < 0 or self.naive + self.peers < 1:
            raise ValueError(f"agents need at least one game per iteration, not {self.naive} against naive learners and {self.peers} against each other")
        for what, number in (("trajectories of a game", self.batch), ("inner episodes", self.episodes), ("steps of an inner episode", self.inner_steps)):
            if number < 1:
                raise ValueError(f"the number of {what} must be at least 1, not {number}")
        if self.peers and self.agents % 2:
            raise ValueError(f"{self.agents} agents cannot be paired: use an even number, or no games against peers")
        if self.choice.shape[-1] != len(self.estimators):
            raise ValueError(f"the choice is among {self.choice.shape[-1]} estimators, but there are {len(self.estimators)}")

    @property
    @abstractmethod
    def inner_steps(self) -> int:
        """T."""

    @property
    def agents(self) -> int:
        """Their number."""
        return self.choice.shape[0]

    def init(self, key: Key[Array, ""]) -> PoolState:
        """Build all agents."""
        return self.started(jax.vmap(self.build)(jax.random.split(key, self.agents)))

    def started(self, agents: Any) -> PoolState:
        """Given agents before their first step."""
        return PoolState(agents, jax.vmap(self._transform().init)(eqx.filter(agents, eqx.is_inexact_array)))

    def model(self, state: PoolState) -> Any:
        """All agents."""
        return state.agents

    def take_step(self, trained: PyTree, gradients: PyTree, optimizers: PyTree) -> tuple[PyTree, PyTree]:
        """Each agent's step along its own gradient: new parameters and optimisers."""
        moves, optimizers = jax.vmap(self._transform().update)(gradients, optimizers, trained)
        factor = jnp.broadcast_to(self.settings.step, (self.agents,))
        return optax.apply_updates(trained, jax.tree.map(lambda move: jax.vmap(jnp.multiply)(factor, move), moves)), optimizers

    def total(self, scored: PerStep, errors: PerStep, entropies: PerStep, naive: int) -> Float[Array, ""]:
        """The loss of weighted scores, squared errors of values, and entropies; the first `naive` games are those against naive learners."""
        settings = self.settings
        other = settings.value_weight * errors - settings.entropy * entropies
        each = jnp.mean(jnp.mean(other, axis=2) - jnp.sum(scored, axis=2), axis=-1)
        share = [(settings.p_naive, each[:, :naive]), (1 - settings.p_naive, each[:, naive:])]
        return sum((p * jnp.sum(jnp.mean(part, axis=1)) for p, part in share if part.shape[1]), jnp.zeros(()))

    def credit(self, played: Rewarded) -> tuple[PerStep, PerStep]:
        """A and G of whole games; constants."""
        settings, rewards = self.settings, self.settings.reward_scale * played.rewards
        values = jax.lax.stop_gradient(jnp.concatenate([played.values, jnp.zeros_like(played.values[..., :1])], axis=-1))
        targets = over_games(lambda r, v: value_targets(r, v, settings.discount, settings.decay), rewards, values)
        return self.weights(rewards, values), targets

    def weights(self, rewards: PerStep, values: Float[Array, "agents games batch steps"]) -> PerStep:
        """A for every action: each agent's estimator against naive learners, independent trajectories against peers; centred for each agent and kind."""
        settings = self.settings

        def advantages(estimator: Callable[..., Array], rewards: Array, values: Array) -> Array:
            return jax.vmap(lambda r, v: estimator(r, self.inner_steps, v, settings.discount, settings.decay))(rewards, values)

        def of_agents(estimator: Callable[..., Array], games: slice) -> PerStep:
            return jax.vmap(partial(advantages, estimator))(rewards[:, games], values[:, games])

        naive, peers = slice(self.naive), slice(self.naive, None)
        parts = []
        if self.naive:
            parts.append(self.chosen([of_agents(of, naive) for of in self.estimators]))
        if self.peers:
            parts.append(of_agents(batch_unaware, peers))
        return jnp.concatenate([part - centre(part) for part in parts], axis=1)

    def chosen(self, of_estimators: list[Array]) -> PerStep:
        """For each agent, the weights of its estimator."""
        return jnp.einsum("ae,eagbt->agbt", jnp.asarray(self.choice), jnp.stack(of_estimators))

    def _transform(self) -> optax.GradientTransformation:
        return self.optimizer(**self.hyperparameters)


def pairs(key: Key[Array, ""], number: int) -> Int[Array, "2 pairs"]:
    """Agents in random pairs, each in one of them."""
    return jax.random.permutation(key, number).reshape(2, -1)


def centre(part: PerStep) -> Float[Array, "agents 1 1 1"]:
    """The mean over all games of each agent."""
    return jnp.mean(part, axis=(1, 2, 3), keepdims=True)


def over_games(function: Callable[..., Array], *parts: Array) -> Array:
    """Apply a function of a batch of trajectories to every game."""
    return jax.vmap(jax.vmap(function))(*parts)
