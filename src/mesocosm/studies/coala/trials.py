"""Trials of the coala study: the estimators by enumeration, pools with exact gradients, LOLA-DICE, and pools of agents that learn from sampled play."""

from __future__ import annotations

from mesocosm.studies.coala.agents import PoolArm, build_agents, check_estimator, train_agents
from mesocosm.studies.coala.config import Config
from mesocosm.studies.coala.identities import check_estimators
from mesocosm.studies.coala.pairs import train_look_ahead, train_pools
from mesocosm.studies.coala.tables import AGENTS_ALONE, METHODS, mixed, shaping
from mesocosm.studies.interface import Trial
from mesocosm.studies.part_names import code_of


def check(config: Config) -> None:
    """Reject an estimator that does not fit, and a preset that trains no pools of agents.

    Raises:
        ValueError: see `check_estimator`.
    """
    if not config.agents.iterations:
        raise ValueError("this preset trains no agents with memory, and no other uses an estimator: choose --preset cpu, or set --config.agents.iterations")
    check_estimator(config.estimator, config.agents.length)


def trials(config: Config) -> list[Trial]:
    """The exact trials, each of which trains all its arms in one program, and one per pool of agents; pools of one size share a compiled program."""
    if config.estimator:
        return _beside(config)
    return [
        Trial("estimators", check_estimators, config, precision="float64", seeds=1),
        Trial("pools", train_pools, config.pairs),
        Trial("look-ahead", train_look_ahead, config),
        *_pools(config),
    ]


def _pools(config: Config) -> list[Trial]:
    """Mixed pools and pools of naive learners only with each estimator, and pools without naive learners, in which all estimators are the same."""
    if not config.agents.iterations:
        return []
    found = [_pool(config, mixed(method), method, config.agents.p_naive) for method in METHODS]
    found.append(_pool(config, AGENTS_ALONE, METHODS[0], 0.0))
    return found + [_pool(config, shaping(method), method, 1.0) for method in METHODS]


def _beside(config: Config) -> list[Trial]:
    """Mixed pools and pools of naive learners with a user's estimator and with ours."""
    return [
        _pool(config, name(label), method, p_naive)
        for label, method in (("coala", "coala"), ("user", config.estimator))
        for name, p_naive in ((mixed, config.agents.p_naive), (shaping, 1.0))
    ]


def _pool(config: Config, name: str, method: str, p_naive: float) -> Trial:
    sizes = config.agents
    arm = PoolArm(sizes, (method,) * sizes.agents, p_naive, sizes.shaping_iterations if p_naive == 1.0 else sizes.iterations)
    parts = code_of(method) if method == config.estimator else ()
    return Trial(name, train_agents, arm, models={"agents": build_agents}, seeds=config.agent_replicates, over_seeds="map", user_parts=parts)
