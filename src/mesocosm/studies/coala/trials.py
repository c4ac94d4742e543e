"""Trials of the coala study: the estimators by enumeration, pools with exact gradients, LOLA-DICE, and pools of agents that learn from sampled play."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mesocosm.studies.coala.agents import PoolArm, build_agents, check_estimator, train_agents
from mesocosm.studies.coala.clean_up import CleanUpArm, build_choosers, train_clean_up
from mesocosm.studies.coala.config import Config, InContext
from mesocosm.studies.coala.identities import check_estimators
from mesocosm.studies.coala.in_context import SHORTEST, MixedArm, StepsArm, build_mixed, build_one, build_two, train_mixed, train_steps
from mesocosm.studies.coala.landscape import Plane, survey
from mesocosm.studies.coala.pairs import train_look_ahead, train_pools
from mesocosm.studies.coala.tables import (
    AGENTS_ALONE,
    AMONG_POLICIES,
    FOUR_ALONE,
    IN_CONTEXT,
    METHODS,
    NEW_PAIRS,
    NO_MEMORY,
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
    """Reject sizes that cannot be played, shares and discounts out of range, agents that cannot be paired, and episodes too short to be measured.

    Raises:
        ValueError: names the field.
    """
    sizes = {
        "estimators": ("instances", "batch", "episodes", "steps", "learners"),
        "pairs": ("steps", "meeting_steps", "learners", "test_learners", "every"),
        "look_ahead": ("steps", "every"),
        "agents": ("shaping_iterations", "agents", "naive", "peers", "shaping_games", "batch", "episodes", "length", "width", "hidden", "probe_games", "every"),
        "in_context": ("extorting", "meeting", "games", "extorting_games", "meeting_games", "length", "width", "test_games"),
        "clean_up": ("naive", "peers", "batch", "episodes", "length", "width", "test_games"),
        "": ("agent_replicates", "pair_replicates", "shaping_replicates", "clean_up_replicates"),
    }
    for field, number in _numbers(config, sizes):
        if number < 1:
            raise ValueError(f"{field} must be at least 1, not {number}")
    amounts = {
        "pairs": ("updates",),
        "agents": ("iterations", "iterations_of_four", "entropy", "entropy_beside"),
        "in_context": ("iterations", "mixed", "settling", "entropy", "last_entropy", "last_rate"),
        "clean_up": ("iterations", "entropy"),
        "": ("landscape",),
    }
    for field, number in _numbers(config, amounts):
        if number < 0:
            raise ValueError(f"{field} must be at least 0, not {number:g}")
    shares = {
        "pairs": ("p_naive", "escape_p_naive", "discount", "escape_discount"),
        "look_ahead": ("discount",),
        "agents": ("p_naive",),
        "in_context": ("p_tabular", "discount", "decay"),
        "clean_up": ("p_naive", "naive_discount"),
    }
    for field, number in _numbers(config, shares):
        if not 0 <= number <= 1:
            raise ValueError(f"{field} must be between 0 and 1, not {number:g}")
    for field, discount in (("pairs.discount", config.pairs.discount), ("look_ahead.discount", config.look_ahead.discount)):
        if discount == 1:
            raise ValueError(f"{field} must be less than 1: these returns have no end")
    if config.agents.agents % 2:
        raise ValueError(f"agents.agents must be even, not {config.agents.agents}: agents play in pairs")
    if config.landscape == 1:
        raise ValueError("landscape must be 0, or at least 2 points per side, not 1: a plane has corners")
    _check_episodes(config.in_context)


def _check_episodes(sizes: InContext) -> None:
    """Reject episodes of agents that infer their co-player which cannot be measured, mixed or settled."""
    if sizes.length < SHORTEST:
        raise ValueError(f"in_context.length must be at least {SHORTEST}, not {sizes.length}: cooperation is measured in the last third but for two rounds")
    if sizes.mixed and sizes.games < 2:
        raise ValueError(f"in_context.games must be at least 2 in mixed pools, not {sizes.games}: half of them are against memory-one policies")
    if sizes.mixed and sizes.p_tabular == 1:
        raise ValueError("in_context.p_tabular must be less than 1 in mixed pools: there, agents also meet each other")
    if sizes.settling and not sizes.entropy:
        raise ValueError("in_context.entropy must be above 0 if in_context.settling is: while agents settle, it falls by equal factors")


def _numbers(config: Config, fields: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, float]]:
    """Names and values of fields by the part of the config, "" for its own."""
    for part, names in fields.items():
        holder = getattr(config, part) if part else config
        yield from ((f"{part}.{name}" if part else name, getattr(holder, name)) for name in names)


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
    arms = {name: PoolArm(sizes, estimators, p_naive, sizes.iterations) for name, (sizes, estimators, p_naive) in pools.items()}
    return [_train(config, name, arm, config.agent_replicates) for name, arm in arms.items()]


def _in_context(config: Config) -> list[Trial]:
    """Agents that infer their co-player within an episode."""
    sizes, found, arms = config.in_context, [], {}
    if sizes.iterations:
        steps = {"responder": build_one, "extorter": build_two}
        for name, memory, models in ((IN_CONTEXT, True, {**steps, "met": build_two}), (NO_MEMORY, False, steps)):
            found.append(Trial(name, train_steps, StepsArm(sizes, memory), models=models, seeds=config.agent_replicates, over_seeds="map"))
        as_extorters = replace(sizes, mixed=sizes.meeting, games=sizes.meeting_games, learning_rate=sizes.meeting_rate, settling=0.0)
        arms[NEW_PAIRS] = MixedArm(as_extorters, 0.0)
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
    iterations, seeds = (sizes.shaping_iterations, config.shaping_replicates) if p_naive == 1.0 else (sizes.iterations, config.pair_replicates)
    return _train(config, name, PoolArm(sizes, (method,) * sizes.agents, p_naive, iterations, parts), seeds)


def _train(config: Config, name: str, arm: PoolArm, seeds: int) -> Trial:
    user = [code_of(method) for method in set(arm.estimators) if method == config.estimator]
    return Trial(name, train_agents, arm, models={"agents": build_agents}, seeds=seeds, over_seeds="map", user_parts=user[0] if user else ())
