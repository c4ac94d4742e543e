r"""Pools of learning agents, naive learners and each other, in any environment of two agents: a whole meta-episode and its update are one program.

As in `agent_pool`, a game is a batch of B trajectories of M inner episodes, after each of which the environment begins anew. Agents and naive learners are
`nn.actor_critic.Chooser`s. A naive learner forgets what it has seen after each inner episode and takes a step of A2C on its B trajectories; its optimiser lives
as long as the game. An agent keeps its state over the M episodes. Games are played first; the agents then read again what they saw, and take a step on the loss
of `actor_critic_pool`.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), Sec. 4.3, App. A, B.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from mesocosm.envs.environment import choose
from mesocosm.envs.multi_agent import MultiAgentEnvironment
from mesocosm.learning.actor_critic_pool import ActorCriticPool, Decided, PoolState, Settings, pairs
from mesocosm.learning.naive_learner import NaiveActorCritic
from mesocosm.nn.actor_critic import Choice


class Games(NamedTuple):
    """What was played, each player's own view; leading axes may precede.

    Attributes:
        observations: what a player saw before each step.
        actions: what it did.
        rewards: its own.
        others: those of its co-player.
        own, other: `info` of the environment with a number for each player, its own and its co-player's.
        shared: `info` with one number for both; anything larger is left out.
    """

    observations: Float[Array, "*games batch time features"]
    actions: Int[Array, "*games batch time"]
    rewards: Float[Array, "*games batch time"]
    others: Float[Array, "*games batch time"]
    own: Mapping[str, Array]
    other: Mapping[str, Array]
    shared: Mapping[str, Array]


def newborn(build: Callable[[Any], Any], agents: Any, key: Key[Array, ""]) -> Any:
    """A naive learner that has learned nothing."""
    return build(key)


def copied(build: Callable[[Any], Any], agents: Any, key: Key[Array, ""]) -> Any:
    """A naive learner that begins as one of the agents, drawn at random."""
    number = jax.tree.leaves(eqx.filter(agents, eqx.is_array))[0].shape[0]
    return _of(agents, jax.random.randint(key, (), 0, number))


class EnvironmentPool(ActorCriticPool):
    """Actor-critic learners in a pool that plays in an environment.

    Attributes:
        build: key -> `Chooser`, the same structure for agents and naive learners; this and what is not named here is that of `ActorCriticPool`, but that the
            naive learners' rate is in `learner`.
        env: of two agents; its episodes are the inner ones.
        learner: how naive learners learn.
        first: (build, agents, key) -> a naive learner at the beginning of a game, `newborn` or `copied`.

    Raises:
        ValueError: the environment has another number of agents than two.
    """

    build: Callable[[Any], Any]
    estimators: tuple[Callable[..., Array], ...] = eqx.field(static=True)
    choice: Float[Array | np.ndarray, "agents estimators"]
    optimizer: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, Any]
    settings: Settings
    naive: int = eqx.field(static=True)
    peers: int = eqx.field(static=True)
    env: MultiAgentEnvironment = eqx.field(kw_only=True)
    learner: NaiveActorCritic = eqx.field(kw_only=True)
    batch: int = eqx.field(static=True, default=8)
    episodes: int = eqx.field(static=True, default=5)
    first: Callable[[Callable[[Any], Any], Any, Any], Any] = newborn

    def __check_init__(self) -> None:
        """Reject environments of another number of players."""
        if self.env.num_agents != 2:
            raise ValueError(f"games are played by two agents, but {self.env.name} has {self.env.num_agents}")

    @property
    def inner_steps(self) -> int:
        """T, the environment's."""
        return self.env.length

    def update(self, state: PoolState, key: Key[Array, ""]) -> tuple[PoolState, dict[str, Float[Array, ""]]]:
        """One meta-episode of every agent and its step; metrics are in the environment's own rewards."""
        trained, fixed = eqx.partition(state.agents, eqx.is_inexact_array)
        played = self.play(state.agents, key)

        def objective(leaves: PyTree) -> Array:
            decided = self.replay(eqx.combine(leaves, fixed), played)
            weights, targets = self.credit(decided)
            return self.total(decided.log_probabilities * weights, (decided.values - targets) ** 2, decided.entropies, self.naive)

        loss, gradients = jax.value_and_grad(objective)(trained)
        moved, optimizers = self.take_step(trained, gradients, state.optimizers)
        return PoolState(eqx.combine(moved, fixed), optimizers), {"loss": loss, **self.summary(played)}

    def replay(self, agents: Any, played: Games) -> Decided:
        """What agents decide on what was seen."""
        choices: Choice = jax.vmap(lambda agent, seen: jax.vmap(jax.vmap(agent))(seen))(agents, played.observations)
        every = jax.nn.log_softmax(choices.logits)
        taken = jnp.take_along_axis(every, played.actions[..., None], axis=-1)[..., 0]
        return Decided(taken, choices.value, -jnp.sum(jnp.exp(every) * every, axis=-1), played.rewards)

    # --- play

    def play(self, agents: Any, key: Key[Array, ""]) -> Games:
        """Play one meta-episode of every game, in the order of `PerStep`; nothing is differentiated."""
        pair_key, *keys = jax.random.split(key, 3)
        parts = []
        if self.naive:
            parts.append(self.beside_learners(agents, keys[0]))
        if self.peers:
            parts.append(self.among_agents(agents, pair_key, keys[1]))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *parts)

    def beside_learners(self, agents: Any, key: Key[Array, ""]) -> Games:
        """The games of all agents against naive learners of their own."""
        first_key, play_key = jax.random.split(key)
        lanes = (self.agents, self.naive)
        learners = jax.vmap(jax.vmap(lambda key: self.first(self.build, agents, key)))(jax.random.split(first_key, lanes))
        over = jax.vmap(jax.vmap(lambda agent, learner, key: self.game(agent, learner, key, learns=True), in_axes=(None, 0, 0)))
        return jax.tree.map(lambda part: part[:, :, 0], over(agents, learners, jax.random.split(play_key, lanes)))

    def among_agents(self, agents: Any, pair_key: Key[Array, ""], play_key: Key[Array, ""]) -> Games:
        """The games of random pairs, from the view of each agent."""
        order = pairs(pair_key, self.agents)
        first, second = (_of(agents, half) for half in order)
        lanes = (order.shape[1], self.peers)
        over = jax.vmap(jax.vmap(lambda one, other, key: self.game(one, other, key, learns=False), in_axes=(None, None, 0)))
        played = over(first, second, jax.random.split(play_key, lanes))
        place = jnp.argsort(order.reshape(-1))
        return jax.tree.map(lambda part: jnp.concatenate([part[:, :, 0], part[:, :, 1]])[place], played)

    def game(self, agent: Any, other: Any, key: Key[Array, ""], *, learns: bool) -> Games:
        """One game; the first axis of the result is that of the players, the agent first. If the other learns, it is naive."""
        moving, fixed = eqx.partition(other, eqx.is_inexact_array)

        def fresh(player: Any) -> Any:
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.batch, *leaf.shape)), player.init_state())

        def episode(carry: tuple[Any, Any, PyTree, PyTree], key: Key[Array, ""]) -> tuple[tuple[Any, Any, PyTree, PyTree], tuple[Any, ...]]:
            own_state, other_state, moving, optimizer = carry
            learner = eqx.combine(moving, fixed)
            own_state, after, played = self.inner_episode(agent, learner, own_state, fresh(learner) if learns else other_state, key)
            if learns:
                seen, actions, rewards = (jnp.moveaxis(part[:, :, 1], 0, 1) for part in played[:3])
                learner, optimizer = self.learner.learn(learner, optimizer, seen, actions, rewards)
                moving = eqx.filter(learner, eqx.is_inexact_array)
            return (own_state, after, moving, optimizer), played

        carry = (fresh(agent), fresh(other), moving, self.learner.init(other) if learns else ())
        _, (seen, actions, rewards, info) = jax.lax.scan(episode, carry, jax.random.split(key, self.episodes))

        def by_player(part: Array) -> Array:
            """(episodes, time, batch, players, ...) -> (players, batch, all steps, ...)."""
            return jnp.moveaxis(part.reshape(-1, *part.shape[2:]), (2, 1), (0, 1))

        each = {name: by_player(part) for name, part in info.items() if part.shape[3:] == (2,)}
        whole = {
            name: jnp.broadcast_to(part.reshape(-1, self.batch).T, (2, self.batch, self.episodes * self.inner_steps))
            for name, part in info.items()
            if part.ndim == 3
        }
        rewards = by_player(rewards)
        return Games(by_player(seen), by_player(actions), rewards, rewards[::-1], each, {name: part[::-1] for name, part in each.items()}, whole)

    def inner_episode(self, agent: Any, other: Any, own_state: Any, other_state: Any, key: Key[Array, ""]) -> tuple[Any, Any, tuple[Any, ...]]:
        """B trajectories of one inner episode: the players' states after it, and what was seen, done and earned, and `info`, with time in front."""
        start_key, step_key, action_key = jax.random.split(key, 3)

        def step(carry: tuple[Any, Any, Any], drawn: tuple[Array, Array]) -> tuple[tuple[Any, Any, Any], tuple[Any, ...]]:
            (state, own_state, other_state), (key, uniform) = carry, drawn
            seen = jax.vmap(self.env.observe)(state)
            own_state, own = jax.vmap(agent.step)(own_state, seen[:, 0])
            other_state, reply = jax.vmap(other.step)(other_state, seen[:, 1])
            actions = choose(jax.nn.softmax(jnp.stack([own.logits, reply.logits], axis=1)), uniform)
            after, rewards, info = jax.vmap(self.env.transition)(jax.random.split(key, self.batch), state, actions)
            return (after, own_state, other_state), (seen, actions, rewards, dict(info))

        start = jax.vmap(self.env.start)(jax.random.split(start_key, self.batch))
        drawn = (jax.random.split(step_key, self.inner_steps), jax.random.uniform(action_key, (self.inner_steps, self.batch, 2)))
        (_, own_state, other_state), played = jax.lax.scan(step, (start, own_state, other_state), drawn)
        return own_state, other_state, played

    # --- what is measured

    def summary(self, played: Games) -> dict[str, Float[Array, ""]]:
        """Means over agents, for games against naive learners and against each other; see `measures`."""
        kinds = [(name, games) for name, games, number in (("naive", slice(self.naive), self.naive), ("peer", slice(self.naive, None), self.peers)) if number]
        found = {kind: self.measures(jax.tree.map(lambda part, games=games: part[:, games], played)) for kind, games in kinds}
        return {f"{kind}_{name}": jnp.mean(value) for kind, measures in found.items() for name, value in measures.items()}

    def measures(self, played: Games) -> dict[str, Float[Array, "agents episodes"]]:
        """For each agent and inner episode, per step: its reward, its co-player's, and `info` of both or of the environment; "gap" is how far what both did
        differs within an inner episode.
        """

        def by_episode(part: Array) -> Float[Array, "agents games batch episodes"]:
            return jnp.mean(part.reshape(*part.shape[:-1], self.episodes, self.inner_steps).astype(float), axis=-1)

        every = {"reward": played.rewards, "other_reward": played.others, **played.shared}
        every |= {f"own_{name}": part for name, part in played.own.items()} | {f"other_{name}": part for name, part in played.other.items()}
        found = {name: by_episode(part) for name, part in every.items()}
        found |= {f"gap_{name}": jnp.abs(found[f"own_{name}"] - found[f"other_{name}"]) for name in played.own}
        return {name: jnp.mean(part, axis=(1, 2)) for name, part in found.items()}


def _of(agents: Any, which: Array) -> Any:
    """Some of the agents, by their numbers."""
    return jax.tree.map(lambda leaf: leaf[which] if eqx.is_array(leaf) else leaf, agents)
