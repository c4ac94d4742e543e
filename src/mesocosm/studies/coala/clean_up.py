"""Trains agents with memory in CleanUp-lite, among naive learners and each other, with every measure that the paper plots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array

from mesocosm.envs.clean_up import CELLS, CleanUp
from mesocosm.learning.actor_critic_pool import Settings
from mesocosm.learning.environment_pool import EnvironmentPool, copied, newborn
from mesocosm.learning.naive_learner import NaiveActorCritic
from mesocosm.learning.optimizers import adamw
from mesocosm.nn import GRU
from mesocosm.nn.actor_critic import MixerChooser
from mesocosm.studies.coala.agents import MENU
from mesocosm.studies.coala.config import CleanUpPools
from mesocosm.studies.coala.tables import CLEAN_UP_COLUMNS
from mesocosm.studies.interface import Context, Tables

POINTS = 60  # of a curve
KINDS = ("naive", "peer")


@dataclass(frozen=True)
class CleanUpArm:
    """One pool: its sizes, the estimator of all agents, and whether they meet naive learners only.

    Attributes:
        sizes: of pool and agents.
        estimator: a name in `agents.MENU`.
        shaping: whether there are no games between agents; then one agent is trained.
    """

    sizes: CleanUpPools
    estimator: str
    shaping: bool


def build_choosers(arm: CleanUpArm, key: Any) -> MixerChooser:
    """All agents of a pool, for their structure and shapes."""
    return _pool(arm).init(key).agents


def train_clean_up(arm: CleanUpArm, context: Context) -> Tables:
    """Train a pool; means over the last tenth of the iterations, and trained and untrained agents by inner episode."""
    pool = _pool(arm)
    fitted = context.fit("agents", pool, arm.sizes.iterations)
    context.publish("agents", fitted.model)
    kinds = [kind for kind, games in zip(KINDS, (pool.naive, pool.peers), strict=True) if games]
    history = {column: np.stack([fitted.history[f"{kind}_{column}"] for kind in kinds], axis=1) for column in CLEAN_UP_COLUMNS}  # seeds, kinds, windows
    at = np.asarray(fitted.history_steps)
    kept = np.unique(np.linspace(0, len(at) - 1, POINTS).astype(int))
    untrained = context.evaluate(Partial(_agents, pool), context.keys("init"))
    tested = replace(pool, naive=arm.sizes.test_games if pool.naive else 0, peers=arm.sizes.test_games if pool.peers else 0)
    found = [context.evaluate(Partial(_by_episode, tested), agents, context.keys("eval")) for agents in (untrained, fitted.model)]
    by_episode = {column: np.stack([np.stack([each[kind][column] for kind in kinds], axis=1) for each in found], axis=1) for column in CLEAN_UP_COLUMNS}
    return {
        "clean_up": context.rows({"beside": kinds}, **{name: values[:, :, at > 0.9 * arm.sizes.iterations].mean(axis=2) for name, values in history.items()}),
        "clean_up_training": context.rows({"beside": kinds, "step": at[kept].tolist()}, **{name: values[:, :, kept] for name, values in history.items()}),
        "clean_up_episodes": context.rows({"when": ["untrained", "trained"], "beside": kinds, "episode": range(arm.sizes.episodes)}, **by_episode),
        "clean_up_strip": _strip(context, pool, fitted.model),
    }


def _agents(pool: EnvironmentPool, key: Any) -> Any:
    return pool.init(key).agents


def _by_episode(pool: EnvironmentPool, agents: Any, key: Any) -> dict[str, dict[str, Array]]:
    """Every measure by inner episode, mean over agents, in games against fresh naive learners and against each other."""
    played = pool.play(agents, key)
    found = {}
    for kind, games in (("naive", slice(pool.naive)), ("peer", slice(pool.naive, None))):
        part = jax.tree.map(lambda leaf, games=games: leaf[:, games], played)
        if part.rewards.shape[1]:
            found[kind] = {name: values.mean(axis=0) for name, values in pool.measures(part).items()}
    return found


def _strip(context: Context, pool: EnvironmentPool, agents: Any) -> pl.DataFrame:
    """An episode of the first seed's first and last agents: what lies in each cell, and where both stand."""
    episode = context.evaluate(Partial(_episode, pool), agents, context.keys("eval"))
    contents, places, frozen = (episode[name] for name in ("contents", "places", "frozen"))
    at = [places[..., player, None] == np.arange(CELLS) for player in range(2)]
    columns = {f"player_{player}": here.astype(int) for player, here in enumerate(at)}
    columns |= {f"frozen_{player}": (here & (frozen[..., player, None] > 0)).astype(int) for player, here in enumerate(at)}
    table = context.rows({"time": range(contents.shape[1]), "cell": range(CELLS)}, contents=contents, **columns)
    return table.filter(pl.col("seed") == table["seed"][0])


def _episode(pool: EnvironmentPool, agents: Any, key: Any) -> dict[str, Array]:
    first, last = (jax.tree.map(lambda leaf, i=i: leaf[i], agents) for i in (0, -1))

    def act(memory: tuple[Any, Any], seen: Array) -> tuple[tuple[Any, Any], Array]:
        (one, own), (two, other) = first.step(memory[0], seen[0]), last.step(memory[1], seen[1])
        return (one, two), jax.nn.softmax(jax.numpy.stack([own.logits, other.logits]))

    states = pool.env.episode(key, act, (first.init_state(), last.init_state())).states
    return {"contents": states.contents, "places": states.places, "frozen": states.frozen}


def _pool(arm: CleanUpArm) -> EnvironmentPool:
    sizes = arm.sizes
    agents, naive, peers = (1, sizes.naive + sizes.peers, 0) if arm.shaping else (2, sizes.naive, sizes.peers)
    env = CleanUp(length=sizes.length)
    return EnvironmentPool(
        build=Partial(_build, env.features, env.num_actions, sizes.width),
        estimators=tuple(MENU.values()),
        choice=np.array([[name == arm.estimator for name in MENU]] * agents, np.float32),
        optimizer=adamw,
        hyperparameters={"learning_rate": sizes.learning_rate, "eps": 1e-5, "clip_norm": 1.0},
        settings=Settings(p_naive=1.0 if arm.shaping else sizes.p_naive, reward_scale=sizes.reward_scale, entropy=sizes.entropy),
        naive=naive,
        peers=peers,
        env=env,
        learner=NaiveActorCritic(
            adamw, {"learning_rate": sizes.naive_learning_rate, "eps": 1e-5, "clip_norm": 1.0}, discount=sizes.naive_discount, reward_scale=sizes.reward_scale
        ),
        batch=sizes.batch,
        episodes=sizes.episodes,
        first=newborn if arm.shaping else copied,
    )


def _build(features: int, actions: int, width: int, key: Any) -> MixerChooser:
    return MixerChooser.create(features, actions, mixer=GRU.create, dim=width, key=key)
