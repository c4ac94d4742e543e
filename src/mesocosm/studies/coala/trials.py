"""Trials of the coala study: the estimators by enumeration, pools with exact gradients, LOLA-DICE, and pools of agents that learn from sampled play."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mesocosm.studies.coala.agents import PoolArm, build_agents, check_estimator, train_agents
from mesocosm.studies.coala.clean_up import CleanUpArm, build_choosers, train_clean_up
from mesocosm.studies.coala.config import Config
from mesocosm.studies.coala.identities import check_estimators
from mesocosm.studies.coala.in_context import MixedArm, build_mixed, build_one, build_two, train_mixed, train_steps
from mesocosm.studies.coala.landscape import Plane, survey
from mesocosm.studies.coala.pairs import train_look_ahead, train_pools
from mesocosm.studies.coala.tables import (
    AGENTS_ALONE,
    AMONG_POLICIES,
    FOUR_ALONE,
    IN_CONTEXT,
    METHODS,
    NEW_PAIRS,
    NO_POLICIES,
    NOT_PULLED,
    PULLED,
    PULLED_AGENT,
    TOLD,
    clean_up,
    mixed,
    of_four,
    shaping,
)
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


def check_numbers(config: Config) -> None:
    """Reject sizes that cannot be played, shares and discounts out of range, and agents that cannot be paired.

    Raises:
        ValueError: names the field.
    """
    sizes = {
        "estimators": ("instances", "batch", "episodes", "steps", "learners"),
        "pairs": ("steps", "learners", "test_learners", "every"),
        "look_ahead": ("steps", "every"),
        "agents": ("agents", "naive", "peers", "shaping_games", "batch", "episodes", "length", "width", "hidden", "probe_games", "every"),
        "in_context": ("games", "extorting_games", "meeting_games", "length", "width", "test_games"),
        "clean_up": ("naive", "peers", "batch", "episodes", "length", "width", "test_games"),
    }
    for part, fields in sizes.items():
        for field in fields:
            if (number := getattr(getattr(config, part), field)) < 1:
                raise ValueError(f"{part}.{field} must be at least 1, not {number}")
    shares = {
        "pairs": ("p_naive", "escape_p_naive", "discount", "escape_discount"),
        "look_ahead": ("discount",),
        "agents": ("p_naive",),
        "in_context": ("p_tabular", "discount", "decay"),
        "clean_up": ("p_naive", "naive_discount"),
    }
    for part, fields in shares.items():
        for field in fields:
            if not 0 <= (number := getattr(getattr(config, part), field)) <= 1:
                raise ValueError(f"{part}.{field} must be between 0 and 1, not {number:g}")
    for field, discount in (("pairs.discount", config.pairs.discount), ("look_ahead.discount", config.look_ahead.discount)):
        if discount == 1:
            raise ValueError(f"{field} must be less than 1: these returns have no end")
    if config.agents.agents % 2:
        raise ValueError(f"agents.agents must be even, not {config.agents.agents}: agents play in pairs")


def trials(config: Config) -> list[Trial]:
    """The exact trials, each of which trains all its arms in one program, and one per pool of agents; pools of one size share a compiled program.

    Raises:
        ValueError: a number in the config is out of range; the message names its field.
    """
    check_numbers(config)
    if config.estimator:
        return _beside(config)
    return [
        Trial("estimators", check_estimators, config, precision="float64", seeds=1),
        Trial("pools", train_pools, config.pairs),
        Trial("look-ahead", train_look_ahead, config),
        *([Trial("landscape", survey, Plane(config.pairs, config.landscape), seeds=1)] if config.landscape else []),
        *_pools(config),
        *_in_context(config),
        *_clean_up(config),
    ]


def _pools(config: Config) -> list[Trial]:
    """Mixed pools and pools of naive learners only with each estimator, and pools without naive learners, in which all estimators are the same."""
    if not config.agents.iterations:
        return []
    found = [_pool(config, mixed(method), method, config.agents.p_naive, parts=True) for method in METHODS]
    found.append(_pool(config, AGENTS_ALONE, METHODS[0], 0.0))
    return found + [_pool(config, shaping(method), method, 1.0) for method in METHODS] + _four(config)


def _four(config: Config) -> list[Trial]:
    """Mixed pools of four with COALA-PG and batch-unaware (none with M-FOS), pools of four without naive learners, and an M-FOS agent among COALA agents or its
    like."""
    if not config.agents.iterations_of_four:
        return []
    plain = replace(config.agents, iterations=config.agents.iterations_of_four)
    noisy = replace(plain, entropy=config.agents.entropy_beside)
    pools = {
        of_four("coala"): (plain, ("coala",) * 4, config.agents.p_naive),
        of_four("batch-unaware"): (plain, ("batch-unaware",) * 4, config.agents.p_naive),
        FOUR_ALONE: (plain, ("coala",) * 4, 0.0),
        PULLED: (noisy, ("coala",) * PULLED_AGENT + ("m-fos-mean",), config.agents.p_naive),
        NOT_PULLED: (noisy, ("m-fos-mean",) * 4, config.agents.p_naive),
    }
    return [_train(config, name, PoolArm(sizes, estimators, p_naive, sizes.iterations)) for name, (sizes, estimators, p_naive) in pools.items()]


def _in_context(config: Config) -> list[Trial]:
    """Agents that infer their co-player within an episode."""
    sizes, found, arms = config.in_context, [], {}
    if sizes.iterations:
        models = {"responder": build_one, "extorter": build_two, "met": build_two}
        found.append(Trial(IN_CONTEXT, train_steps, sizes, models=models, seeds=config.agent_replicates, over_seeds="map"))
        arms[NEW_PAIRS] = MixedArm(replace(sizes, mixed=sizes.meeting, games=sizes.meeting_games, settling=0.0), 0.0)
    if sizes.mixed:
        arms |= {AMONG_POLICIES: MixedArm(sizes, sizes.p_tabular), TOLD: MixedArm(sizes, sizes.p_tabular, told=True), NO_POLICIES: MixedArm(sizes, 0.0)}
    rest: Any = {"models": {"agents": build_mixed}, "seeds": config.agent_replicates, "over_seeds": "map"}
    return found + [Trial(name, train_mixed, arm, **rest) for name, arm in arms.items()]


def _clean_up(config: Config) -> list[Trial]:
    """Agents in CleanUp-lite with each estimator, among naive learners only and in mixed pools."""
    if not config.clean_up.iterations:
        return []
    rest: Any = {"models": {"agents": build_choosers}, "seeds": config.clean_up_replicates, "over_seeds": "map"}
    arms = {clean_up(method, shaping=alone): CleanUpArm(config.clean_up, method, alone) for alone in (True, False) for method in METHODS}
    return [Trial(name, train_clean_up, arm, **rest) for name, arm in arms.items()]


def _beside(config: Config) -> list[Trial]:
    """Mixed pools and pools of naive learners with a user's estimator and with ours."""
    return [
        _pool(config, name(label), method, p_naive)
        for label, method in (("coala", "coala"), ("user", config.estimator))
        for name, p_naive in ((mixed, config.agents.p_naive), (shaping, 1.0))
    ]


def _pool(config: Config, name: str, method: str, p_naive: float, *, parts: bool = False) -> Trial:
    sizes = config.agents
    return _train(config, name, PoolArm(sizes, (method,) * sizes.agents, p_naive, sizes.shaping_iterations if p_naive == 1.0 else sizes.iterations, parts))


def _train(config: Config, name: str, arm: PoolArm) -> Trial:
    user = [code_of(method) for method in set(arm.estimators) if method == config.estimator]
    seeds = config.shaping_replicates if arm.p_naive == 1.0 else config.agent_replicates
    return Trial(name, train_agents, arm, models={"agents": build_agents}, seeds=seeds, over_seeds="map", user_parts=user[0] if user else ())
