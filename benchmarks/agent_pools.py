"""A pool of learning agents in one program, against a Python loop over inner episodes and against one program for each agent and kind of game."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.learning.actor_critic_pool import Decided
from mesocosm.learning.agent_pool import MEMORIES, AgentPool, MetaEpisodes, PoolState, Settings
from mesocosm.learning.opponent_shaping import coala_pg
from mesocosm.learning.optimizers import sgd
from mesocosm.learning.proximal_pool import ProximalPool, clipped
from mesocosm.nn.actor_critic import GatedAgent
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "agent_pools"
TITLE = "meta-episodes of a pool in one program, and dispatched from Python"
BY_EPISODE = "a Python loop over inner episodes"
BY_AGENT = "a program for each agent and kind of game"
BOUND = "One program differentiates through the play itself; for four agents, playing first and then differentiating a replay is faster, as in the loop"


@dataclass(frozen=True)
class Size:
    """Agents, games of each kind, trajectories, inner episodes, their steps, width, and seconds of timing a row."""

    agents: int
    games: int
    batch: int
    episodes: int
    length: int
    width: int
    seconds: float


SIZES = {
    "tiny": [Size(2, 1, 2, 2, 2, 2, 0.0)],
    "small": [Size(2, 1, 2, 10, 6, 8, 1.0)],
    "full": [Size(2, 1, 4, 10, 6, 16, 10.0), Size(2, 4, 16, 10, 6, 16, 10.0), Size(4, 4, 16, 10, 6, 16, 10.0)],
}


def cases(sizes: str) -> Sequence[Case]:
    """One for each size."""
    return [Case(words(size), size.agents * size.games * size.batch, partial(meta_steps, size)) for size in SIZES[sizes]]


def words(size: Size) -> str:
    """How the table names a size."""
    return f"{size.agents} agents, {size.games} + {size.games} games x {size.batch}, {size.episodes} x {size.length} steps"


def build(width: int, key: Any) -> GatedAgent:
    """An agent whose heads are not zero."""
    agent = GatedAgent.create(MEMORIES, width=width, key=key)
    return eqx.tree_at(lambda agent: agent.direct, agent, 0.1 * jax.random.normal(key, agent.direct.shape))


def pool_of(size: Size, kind: type[AgentPool] = AgentPool, **options: Any) -> AgentPool:
    """The pool of a size."""
    choice = np.ones((size.agents, 1), np.float32)
    sizes = {"naive": size.games, "peers": size.games, "batch": size.batch, "episodes": size.episodes, "length": size.length}
    return kind(jax.tree_util.Partial(build, size.width), (coala_pg,), choice, sgd, {"learning_rate": 0.1}, Settings(p_naive=0.5), **sizes, **options)


def meta_steps(size: Size) -> list[Row]:
    """Meta-episode, gradient and step, all agents; the first comparison also compares the agents after the step."""
    pool, key = pool_of(size), jax.random.key(1)
    state = pool.init(jax.random.key(0))
    update = eqx.filter_jit(pool.update)
    ours = Contender("one program", lambda: jax.block_until_ready(update(state, key)[0]), agents_of)
    by_episode = Contender(BY_EPISODE, loop_over_episodes(size, state, key), agents_of)
    by_agent = Contender(BY_AGENT, loop_over_agents(size, state, key))
    comparison = Comparison(NAME, "meta-episode and step", words(size), size.seconds, None, BOUND)
    first = replace(comparison, target=Target("ratio", "≥", 1)).timed(ours, by_episode, lambda _: agents_of(update(state, key)[0]))
    return [first, comparison.timed(ours, by_agent)]


def agents_of(state: PoolState) -> list[np.ndarray]:
    """All parameters."""
    return [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.agents)])]


def loop_over_episodes(size: Size, state: PoolState, key: Any) -> Callable[[], PoolState]:
    """The same games from the same random numbers: a compiled inner episode, called M times, then a compiled gradient and step on what was played."""
    pool = pool_of(size, ProximalPool, epochs=1, minibatches=1)
    assert isinstance(pool, ProximalPool)
    begin, episode = eqx.filter_jit(pool.begin), eqx.filter_jit(pool.inner_episode)
    trained, fixed = eqx.partition(state.agents, eqx.is_inexact_array)

    @eqx.filter_jit
    def learn(trained: Any, optimizers: Any, parts: list[tuple[Any, ...]]) -> tuple[Any, Any]:
        played = MetaEpisodes(*(jnp.moveaxis(jnp.concatenate(part), 0, -1) for part in zip(*parts, strict=True)))
        credit = pool.credit(played)
        old = Decided(played.log_probabilities, played.values, played.entropies, played.rewards)
        gradients = jax.grad(lambda leaves: clipped(pool, eqx.combine(leaves, fixed), played, old, *credit))(trained)
        return pool.take_step(trained, gradients, optimizers)

    def run() -> PoolState:
        partner, carry, drawn = begin(state.agents, key)
        parts = []
        for numbers in drawn:
            carry, played = episode(state.agents, partner, carry, numbers)
            parts.append(played)
        moved, optimizers = learn(trained, state.optimizers, parts)
        return jax.block_until_ready(PoolState(eqx.combine(moved, fixed), optimizers))

    run()
    return run


def loop_over_agents(size: Size, state: PoolState, key: Any) -> Callable[[], Any]:
    """A compiled gradient of each agent against its learners and of each pair, and a compiled step of each agent; the random numbers are others."""
    whole = pool_of(size)
    solitary = replace(whole, choice=np.ones((1, 1), np.float32), peers=0)
    pair = replace(whole, choice=np.ones((2, 1), np.float32), naive=0)

    def gradient(pool: AgentPool) -> Callable[..., Any]:
        @eqx.filter_jit
        def of(agents: Any, key: Any) -> Any:
            trained, fixed = eqx.partition(agents, eqx.is_inexact_array)
            return jax.grad(lambda leaves: pool.loss(pool.play(eqx.combine(leaves, fixed), key)))(trained)

        return of

    against_learners, against_each_other = gradient(solitary), gradient(pair)
    singles = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], state.agents) for i in range(size.agents)]
    pairs = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 2], state.agents) for i in range(0, size.agents, 2)]
    optimizers = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], state.optimizers) for i in range(size.agents)]

    @eqx.filter_jit
    def step(agent: Any, first: Any, second: Any, optimizer: Any, place: int) -> Any:
        gradients = jax.tree.map(lambda a, b: a + b[place][None], first, second)
        return solitary.take_step(eqx.filter(agent, eqx.is_inexact_array), gradients, optimizer)

    def run() -> Any:
        among = [against_each_other(both, key) for both in pairs]
        alone = [against_learners(agent, key) for agent in singles]
        return jax.block_until_ready([step(agent, alone[i], among[i // 2], optimizers[i], i % 2) for i, agent in enumerate(singles)])

    run()
    return run


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
