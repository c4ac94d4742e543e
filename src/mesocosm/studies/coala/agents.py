"""Trains agents with memory, which learn from sampled play, among naive learners and each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jax.tree_util import Partial

from mesocosm.learning.agent_pool import MEMORIES, AgentPool, PoolState, Settings
from mesocosm.learning.opponent_shaping import batch_unaware, coala_pg, m_fos
from mesocosm.learning.optimizers import adamw
from mesocosm.nn.actor_critic import GatedAgent
from mesocosm.studies.coala.config import AgentPools
from mesocosm.studies.interface import Context, Tables
from mesocosm.studies.part_names import constructor


def m_fos_mean(rewards: Any, episode: int, values: Any = None, discount: Any = 1.0, decay: Any = 1.0) -> Any:
    """M-FOS divided by B, so that the present inner episode counts as much as in the other estimators, and later ones a B-th."""
    return m_fos(rewards, episode, values, discount, decay) / len(rewards)


MENU: dict[str, Callable[..., Any]] = {"coala": coala_pg, "m-fos": m_fos, "batch-unaware": batch_unaware, "m-fos-mean": m_fos_mean}
PEER, NAIVE = ("peer",), ("ego", "naive", "first", "last")
POINTS = 60  # of a curve


@dataclass(frozen=True)
class PoolArm:
    """One pool: its sizes, the estimator of each agent, the share of naive learners, and its iterations.

    Attributes:
        sizes: of pool and agents.
        estimators: names in `MENU`, or `package.module:function`.
        p_naive: share of naive learners.
        iterations: how long.
        parts: whether the parts of the gradient are measured along training.
    """

    sizes: AgentPools
    estimators: tuple[str, ...]
    p_naive: float
    iterations: int
    parts: bool = False


def build_agents(arm: PoolArm, key: Any) -> GatedAgent:
    """All agents of a pool, for their structure and shapes."""
    return _pool(arm).init(key).agents


def train_agents(arm: PoolArm, context: Context) -> Tables:
    """Train a pool; rewards and cooperation are means over the last tenth of the iterations, rewards from each other also over the second half."""
    probe = (Partial(_parts, _tested(arm)), arm.sizes.every)
    fitted = context.fit("agents", _pool(arm), arm.iterations, **({"probe": probe} if arm.parts else {}))
    context.publish("agents", fitted.model)
    at, agents = np.asarray(fitted.history_steps), range(len(arm.estimators))
    columns = [column for column in PEER + NAIVE if f"{column}_0" in fitted.history]
    measured = {column: np.stack([fitted.history[f"{column}_{agent}"] for agent in agents], axis=1) for column in columns}  # seeds, agents, windows
    late = at > 0.9 * arm.iterations
    last = {column: values[:, :, late].mean(axis=2) for column, values in measured.items()}
    kept = np.unique(np.linspace(0, len(at) - 1, POINTS).astype(int))
    curves = context.rows({"agent": agents, "step": at[kept].tolist()}, **{name: measured[name][:, :, kept] for name in ("peer", "ego") if name in measured})
    tables = {"agents_training": _labelled(curves, arm)}
    for kind, columns in (("peer", PEER), ("naive", NAIVE)):
        if found := {column: last[column] for column in columns if column in last}:
            tables[f"with_{kind}"] = _labelled(context.rows({"agent": agents}, **found), arm)
            means = {column: values.mean(axis=1) for column, values in found.items()}
            more = {"second_half": measured["peer"][:, :, at > 0.5 * arm.iterations].mean(axis=(1, 2))} if kind == "peer" else {}
            tables[f"{kind}_means"] = context.rows(**means, **more)
    if arm.p_naive:
        beside = context.evaluate(Partial(meet_naive, _tested(arm)), fitted.model, context.keys("eval"))
        tables["meta_episodes"] = context.rows({"agent": agents, "episode": range(arm.sizes.episodes)}, **beside)
    if arm.parts:
        balance = np.log(fitted.probes["later"] / fitted.probes["present"]).mean(axis=2)  # seeds, times
        tables["gradient_parts"] = context.rows({"step": np.asarray(fitted.probe_steps).tolist()}, balance=balance)
        tables["balances"] = context.rows(balance=balance.mean(axis=1))
    return tables


def meet_naive(pool: AgentPool, agents: Any, key: Any) -> dict[str, Any]:
    """Trained agents beside fresh naive learners: cooperation and both rewards in each inner episode, for each agent."""
    played = pool.play(agents, key)

    def by_episode(values: Any) -> Any:
        return values.reshape(*values.shape[:-1], pool.episodes, pool.length).mean(axis=(1, 2, 4))

    return {"cooperates": by_episode(played.cooperates), "ego": by_episode(played.rewards), "naive": by_episode(played.others)}


def _tested(arm: PoolArm) -> AgentPool:
    """The same agents beside naive learners only, in more games."""
    return replace(_pool(arm), naive=arm.sizes.probe_games, peers=0)


def _parts(pool: AgentPool, learner: AgentPool, state: PoolState, key: Any) -> dict[str, Any]:
    """Norms of the gradient's parts, for each agent."""
    present, later = pool.gradient_parts(learner.model(state), key)
    return {"present": present, "later": later}


def _labelled(table: pl.DataFrame, arm: PoolArm) -> pl.DataFrame:
    return table.with_columns(estimator=pl.col("agent").replace_strict(dict(enumerate(arm.estimators)), return_dtype=pl.String))


def _pool(arm: PoolArm) -> AgentPool:
    sizes, games = arm.sizes, arm.sizes.naive + arm.sizes.peers
    naive, peers = {0.0: (0, games), 1.0: (sizes.shaping_games, 0)}.get(arm.p_naive, (sizes.naive, sizes.peers))  # no games without weight
    menu = MENU | {name: find_estimator(name) for name in arm.estimators if name not in MENU}
    return AgentPool(
        build=Partial(_build, sizes.width, sizes.hidden),
        estimators=tuple(menu.values()),
        choice=np.array([[name == each for name in menu] for each in arm.estimators], np.float32),
        optimizer=adamw,
        hyperparameters={"learning_rate": sizes.learning_rate, "eps": 1e-5, "clip_norm": 1.0},
        settings=Settings(p_naive=arm.p_naive, rate=sizes.rate, reward_scale=sizes.reward_scale, entropy=sizes.entropy),
        naive=naive,
        peers=peers,
        batch=sizes.batch,
        episodes=sizes.episodes,
        length=sizes.length,
    )


def _build(width: int, hidden: int, key: Any) -> GatedAgent:
    return GatedAgent.create(MEMORIES, width=width, hidden=hidden, key=key)


def find_estimator(name: str) -> Callable[..., Any]:
    """The user's estimator.

    Raises:
        ValueError: it cannot be found, or is not called package.module:function.
    """
    if ":" not in name:
        raise ValueError(f"{name} is not an estimator: name yours as package.module:function")
    return constructor(name)


def check_estimator(name: str, episode: int) -> None:
    """Call a user's estimator with rewards and values.

    Raises:
        ValueError: it cannot be found or called, has options, or its weights have another shape than the rewards or are not finite.
    """
    if "(" in name:
        raise ValueError(f"{name} has options, which estimators do not take: name a function that sets them, as package.module:function")
    estimator = find_estimator(name)
    rewards, values = np.ones((3, 2 * episode), np.float32), np.zeros((3, 2 * episode + 1), np.float32)
    try:
        found = np.asarray(estimator(rewards, episode, values, 1.0, 1.0))
    except Exception as error:
        told = next((line.strip() for line in str(error).splitlines() if line.strip()), "it says no more")
        raise ValueError(f"{name} cannot be called as estimator(rewards, episode, values, discount, decay): {type(error).__name__}: {told}") from error
    if found.shape != rewards.shape:
        raise ValueError(f"{name} does not fit: it gives weights of shape {list(found.shape)} for rewards of shape {list(rewards.shape)}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} does not fit: its weights for rewards of 1 and values of 0 are not finite")
