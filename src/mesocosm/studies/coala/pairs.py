"""Trains pairs of memory-one agents with exact gradients, and lets each agent meet naive learners that it has not met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from mesocosm.analysis.memory_one import ALWAYS_DEFECT, TIT_FOR_TAT, nearest_extortion
from mesocosm.envs.matrix_game import PRISONERS_DILEMMA
from mesocosm.learning.exact_pool import LookingAhead, MixedPairs, logit_values, scattered_pairs
from mesocosm.learning.lola import lifetime
from mesocosm.learning.optimizers import adamw
from mesocosm.studies.coala.config import Config, Pairs
from mesocosm.studies.coala.tables import (
    ALONE,
    ALONE_FROM_TIT_FOR_TAT,
    DEFECTORS,
    ESCAPE,
    ESCAPE_ALONE,
    FROM_DEFECTING,
    FROM_TIT_FOR_TAT,
    MIXED,
    RETALIATORS,
    SHAPERS,
    ahead,
    mixed_ahead,
)
from mesocosm.studies.interface import Context, Tables

WEIGHT_DECAY = 1e-4  # optax's default for AdamW
FAR = 40.0  # a logit whose probability is 1


class Start(NamedTuple):
    """Where an arm's agents start: about a centre, all at it if the spread is 0."""

    centre: np.ndarray
    spread: float


class Arm(NamedTuple):
    """An arm's start, share of naive co-players and discount."""

    start: Start
    p_naive: float
    discount: float


class Tested(NamedTuple):
    """An arm's pair after training; means over its two agents.

    Attributes:
        peer: each agent's return against the other.
        lives: mean returns of agent and naive learner, after each of the learner's updates.
        retaliation: the same lives where the policy from which arms start at tit-for-tat takes the agent's place.
        defection: the same where always defecting does.
        distance: squared distance from the nearest extortion strategy.
        random: the same for two policies whose probabilities are drawn uniformly.
        policies: the agents' probabilities to cooperate.
    """

    peer: Float[Array | np.ndarray, "*seeds arms"]
    lives: Float[Array | np.ndarray, "*seeds arms moments 2"]
    retaliation: Float[Array | np.ndarray, "*seeds arms moments 2"]
    defection: Float[Array | np.ndarray, "*seeds arms moments 2"]
    distance: Float[Array | np.ndarray, "*seeds arms"]
    random: Float[Array | np.ndarray, "*seeds arms"]
    policies: Float[Array | np.ndarray, "*seeds arms 2 5"]


def pool_arms(config: Pairs) -> dict[str, Arm]:
    """The arms by name."""
    anywhere = Start(np.zeros(5), 1.0)
    defecting, retaliating = (Start(_near(policy, config.edge), 0.0) for policy in (ALWAYS_DEFECT, TIT_FOR_TAT))
    arms = {
        SHAPERS: Arm(anywhere, 1.0, config.discount),
        FROM_DEFECTING: Arm(defecting, 1.0, config.discount),
        ALONE: Arm(anywhere, 0.0, config.discount),
        DEFECTORS: Arm(defecting, 0.0, config.discount),
    }
    if config.mixed:
        arms[MIXED] = Arm(anywhere, config.p_naive, config.discount)
        arms[FROM_TIT_FOR_TAT] = Arm(retaliating, config.p_naive, config.discount)
        arms[RETALIATORS] = Arm(retaliating, 1.0, config.discount)
        arms[ALONE_FROM_TIT_FOR_TAT] = Arm(retaliating, 0.0, config.discount)
        arms[ESCAPE] = Arm(defecting, config.escape_p_naive, config.escape_discount)
        arms[ESCAPE_ALONE] = Arm(defecting, 0.0, config.escape_discount)
    return arms


def train_pools(config: Pairs, context: Context) -> Tables:
    """Train all arms side by side and test them; then the agents of every arm learn from each other only."""
    arms = pool_arms(config)
    discounts = np.array([arm.discount for arm in arms.values()], np.float32)
    learner = MixedPairs(
        build=Partial(scattered_pairs, *_centres([arm.start for arm in arms.values()])),
        optimizer=adamw,
        hyperparameters={"learning_rate": config.learning_rate, "weight_decay": WEIGHT_DECAY},
        p_naive=np.array([arm.p_naive for arm in arms.values()], np.float32),
        discount=discounts,
        rate=config.rate,
        updates=config.updates,
        learners=config.learners,
    )
    probe = (Partial(_peers, discounts), config.every)
    fitted = context.fit("pools", learner, config.steps, probe=probe)
    without = replace(learner, p_naive=np.zeros_like(learner.p_naive))
    meeting = context.fit("meeting", without, config.meeting_steps, state=fitted.state, start=config.steps, probe=probe)
    tested = _test(context, fitted.model, discounts, config.rate, config)
    names = list(arms)
    lives, retaliation, defection = (found.mean(axis=2) for found in (tested.lives, tested.retaliation, tested.defection))
    after = meeting.probes["peer"]
    return {
        "pools": context.rows(
            {"arm": names},
            peer=tested.peer,
            ego=lives[..., 0],
            naive=lives[..., 1],
            above_retaliating=lives[..., 0] - retaliation[..., 0],
            above_defecting=lives[..., 0] - defection[..., 0],
            defecting_gain=defection[..., 0] - defection[..., 1],
            distance=tested.distance,
            random=tested.random,
        ),
        "pool_training": context.rows({"step": np.asarray(fitted.probe_steps).tolist(), "arm": names}, peer=fitted.probes["peer"]),
        "pool_lives": context.rows({"arm": names, "update": range(config.updates + 1)}, ego=tested.lives[..., 0], naive=tested.lives[..., 1]),
        "pool_policies": context.rows({"arm": names, "agent": range(2), "memory": range(5)}, cooperates=tested.policies),
        "meeting": context.rows({"step": (np.asarray(meeting.probe_steps) - meeting.probe_steps[0]).tolist(), "arm": names}, peer=after),
        "met": context.rows({"arm": names}, before=after[:, 0], after=after[:, -1]),
    }


def train_look_ahead(config: Config, context: Context) -> Tables:
    """Pairs with LOLA-DICE, for each number of look-ahead steps, mixed with the plain gradient or not; and pairs with the plain gradient alone."""
    sizes = config.look_ahead
    arms = {ahead(0): (0, 0.0), **{ahead(k): (k, 1.0) for k in sizes.ahead}, **{mixed_ahead(k): (k, mix) for k, mix in sizes.mixes}}
    discounts = np.full(len(arms), sizes.discount, np.float32)
    learner = _looking_ahead(arms, sizes.discount, sizes.rate, sizes.learning_rate, Start(np.zeros(5), 1.0))
    fitted = context.fit("pairs", learner, sizes.steps, probe=(Partial(_peers, discounts), sizes.every))
    tested = _test(context, fitted.model, discounts, sizes.rate, config.pairs)
    return {
        "look_ahead": context.rows({"arm": list(arms)}, peer=tested.peer, ego=tested.lives[..., -1, 0], naive=tested.lives[..., -1, 1]),
        "look_ahead_training": context.rows({"step": np.asarray(fitted.probe_steps).tolist(), "arm": list(arms)}, peer=fitted.probes["peer"]),
    }


def _looking_ahead(arms: Mapping[str, tuple[int, float]], discount: float, rate: float, learning_rate: float, start: Start) -> LookingAhead:
    steps = np.array([k for k, _ in arms.values()])
    number = len(arms)
    return LookingAhead(
        build=Partial(scattered_pairs, *_centres([start] * number)),
        optimizer=adamw,
        hyperparameters={"learning_rate": learning_rate, "weight_decay": WEIGHT_DECAY},
        mix=np.array([mix for _, mix in arms.values()], np.float32),
        discount=np.full(number, discount, np.float32),
        rate=np.where(steps == 1, 2 * rate, rate).astype(np.float32),
        steps=steps,
        longest=int(steps.max()),
    )


def _peers(discounts: Any, learner: Any, state: Any, key: Any) -> dict[str, Array]:
    """Each arm's mean return of its two agents against each other."""
    return {"peer": jax.vmap(_peer)(jnp.asarray(discounts), learner.model(state))}


def _peer(discount: Array, pair: Float[Array, "2 5"]) -> Float[Array, ""]:
    return jnp.mean(logit_values(PRISONERS_DILEMMA, discount, pair[0], pair[1]))


def _test(context: Context, model: Any, discounts: np.ndarray, rate: float, config: Pairs) -> Tested:
    """The test of each arm, all by one program."""
    naive = context.evaluate(partial(_naive, config.test_learners), shared=(context.evaluation_key,))[0]
    keys = context.keys("eval")
    meet = Partial(meet_learners, rate, config.updates, _near(TIT_FOR_TAT, config.edge).astype(np.float32))
    found = [context.evaluate(meet, model[:, arm], keys, shared=(naive, discount)) for arm, discount in enumerate(discounts)]
    return Tested(*(np.stack(parts, axis=1) for parts in zip(*found, strict=True)))


def _naive(number: int, key: Any) -> Float[Array, "learners 5"]:
    return jax.random.normal(key, (number, 5))


def meet_learners(rate: float, updates: int, start: Any, pair: Float[Array, "2 5"], key: Any, naive: Float[Array, "learners 5"], discount: Any) -> Tested:
    """Test a pair; `start` holds the logits from which arms start at tit-for-tat."""
    value = partial(logit_values, PRISONERS_DILEMMA, discount)
    policies = jax.nn.sigmoid(pair)
    fixed = jnp.stack([jnp.asarray(start, pair.dtype), jnp.full(5, -FAR, pair.dtype)])

    def lives(own: Array) -> Float[Array, "moments 2"]:
        return jnp.mean(jax.vmap(lambda learner: lifetime(value, own, learner, rate, updates))(naive), axis=0)

    def distance(policy: Array) -> Array:
        return jnp.sum((nearest_extortion(PRISONERS_DILEMMA, policy[1:]).policy - policy[1:]) ** 2)

    first, second, retaliation, defection = jax.lax.map(lives, jnp.concatenate([pair, fixed]))
    drawn = jax.random.uniform(key, (2, 5))
    of_policies, of_drawn = (jnp.mean(jax.vmap(distance)(each)) for each in (policies, drawn))
    return Tested(_peer(discount, pair), (first + second) / 2, retaliation, defection, of_policies, of_drawn, policies)


def _near(policy: np.ndarray, edge: float) -> np.ndarray:
    """Logits of a deterministic policy whose probabilities are moved by `edge` from 0 and 1."""
    return (2 * policy - 1) * (np.log1p(-edge) - np.log(edge))


def _centres(starts: list[Start]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([start.centre for start in starts]).astype(np.float32), np.array([start.spread for start in starts], np.float32)
