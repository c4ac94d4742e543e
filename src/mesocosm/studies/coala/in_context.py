"""Trains agents with memory in single long episodes, among fixed memory-one policies that are drawn anew and each other: what they infer of a co-player, they
infer within the episode (arXiv 2602.16301)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Key

from mesocosm.analysis.memory_one import ALWAYS_COOPERATE, ALWAYS_DEFECT, TIT_FOR_TAT
from mesocosm.learning.agent_pool import MEMORIES, MetaEpisodes, PoolState, Settings
from mesocosm.learning.fit import Fitted
from mesocosm.learning.informed_pool import InformedPool
from mesocosm.learning.opponent_shaping import batch_unaware
from mesocosm.learning.optimizers import adamw
from mesocosm.nn import GRU
from mesocosm.nn.actor_critic import Agent, MixerAgent, TabularAgent
from mesocosm.studies.coala.config import InContext
from mesocosm.studies.coala.tables import COOPERATOR, DEFECTOR, RETALIATOR
from mesocosm.studies.interface import Context, Tables

OPPONENTS = {RETALIATOR: TIT_FOR_TAT, COOPERATOR: ALWAYS_COOPERATE, DEFECTOR: ALWAYS_DEFECT}
FAR = 40.0  # a logit whose probability is 1
SHORT = 1e-3  # distance of drawn probabilities from 0 and 1
PARTS = 3  # of an episode, in which cooperation is measured
SHORTEST = 3 * PARTS  # an episode whose last part has more than the two rounds that are left out of it
FIXED, FRESH = 0, 1  # agents of the pool in which one does not learn
POINTS = 60  # of a curve
PHASES = 4  # of settling


@dataclass(frozen=True)
class MixedArm:
    """A pool of two agents, memory-one policies and what is known of these.

    Attributes:
        sizes: of pool and agents.
        p_tabular: share of memory-one policies among the co-players.
        told: whether agents are told their policy.
    """

    sizes: InContext
    p_tabular: float
    told: bool = False


class Trained(NamedTuple):
    """Agents after training, the pool's state, metrics over the last tenth of training, and a curve of rewards from each other."""

    agents: Any
    state: PoolState
    last: dict[str, np.ndarray]
    steps: list[int]
    curve: Float[np.ndarray, "seeds points"]


@dataclass(frozen=True)
class StepsArm:
    """An agent that learns beside memory-one policies only, another that learns beside it, and two copies of the latter.

    Attributes:
        sizes: of pools and agents.
        memory: whether agents are recurrent; without memory, they are tables over what they see, the last pair of actions, and the third step is left out.
    """

    sizes: InContext
    memory: bool = True


def build_one(arm: StepsArm, key: Any) -> Agent:
    """The agent of a pool of one, for its structure and shapes."""
    return _of_arm(arm, _pool(arm.sizes, 1, 1.0)).init(key).agents


def build_two(arm: StepsArm, key: Any) -> Agent:
    """The agents of a pool of two."""
    return _of_arm(arm, _pool(arm.sizes, 2, 0.0)).init(key).agents


def build_mixed(arm: MixedArm, key: Any) -> Agent:
    """The same for a mixed pool."""
    return build_two(StepsArm(arm.sizes), key)


def any_policy(key: Key[Array, ""]) -> Float[Array, "5"]:
    """Logits of a memory-one policy whose probabilities are uniform."""
    probability = jax.random.uniform(key, (MEMORIES,), minval=SHORT, maxval=1 - SHORT)
    return jnp.log(probability) - jnp.log1p(-probability)


def this_policy(policy: Any, key: Key[Array, ""]) -> Float[Array, "5"]:
    """Logits of a given deterministic policy."""
    return jnp.where(jnp.asarray(policy) > 0, FAR, -FAR)


# --- three steps: best responses, extortion of one that responds, and extorters among each other


def train_steps(arm: StepsArm, context: Context) -> Tables:
    """An agent among memory-one policies only; a fresh one whose co-player is that agent, which no longer learns; two copies of the latter among each other."""
    sizes = arm.sizes
    alone, pair = _of_arm(arm, _pool(sizes, 1, 1.0)), _of_arm(arm, _pool(sizes, 2, 0.0, games=sizes.extorting_games))
    responder = _settle(context, "responder", alone, sizes, sizes.iterations)
    both = context.evaluate(Partial(_beside, pair), responder.agents, context.keys("init"))
    against = replace(pair, settings=pair.settings._replace(step=np.array([0.0, 1.0], np.float32)))
    start = math.ceil(1 + sizes.settling) * sizes.iterations + PHASES
    extorter = _train(context, "extorter", against, sizes.extorting, both, start)
    context.publish("responder", responder.agents)
    context.publish("extorter", extorter.agents)
    fixed, fresh = (extorter.last[f"peer_{agent}"] for agent in (FIXED, FRESH))
    tables = {
        **_responses(sizes, context, alone, responder.agents),
        "extortion": context.rows(
            difference=fresh - fixed,
            yields=(fixed + 2 * fresh) / 3,  # how often the fixed agent cooperates, from the payoffs 2 c' - c of both
        ),
    }
    return {**tables, **_meet_again(sizes, context, pair, extorter, start + sizes.extorting)} if arm.memory else tables


def _meet_again(sizes: InContext, context: Context, pair: InformedPool, extorter: Trained, start: int) -> Tables:
    """Two copies of the agent that learned, among each other."""
    among = _meeting(sizes)
    twins = context.evaluate(Partial(_twice, among), extorter.agents)
    met = _train(context, "met", among, sizes.meeting, twins, start)
    context.publish("met", met.agents)
    before, after = (context.evaluate(Partial(_each_other, _tested(pair, sizes)), agents, context.keys("eval")) for agents in (twins.agents, met.agents))
    return {
        "extorters_met": context.rows(before=before["peer"].mean(axis=1), after=(met.last["peer_0"] + met.last["peer_1"]) / 2),
        "within_episodes": context.rows({"when": ["before", "after"], "part": range(PARTS)}, cooperates=np.stack([before["parts"], after["parts"]], axis=1)),
        "in_context_training": context.rows({"step": met.steps}, peer=met.curve),
    }


def _beside(pair: InformedPool, responder: Any, key: Any) -> PoolState:
    """A pool of the given agent and a fresh one."""
    fresh = pair.init(key)
    return fresh._replace(agents=jax.tree.map(lambda old, new: new.at[FIXED].set(old[0]), responder, fresh.agents))


def _twice(pair: InformedPool, both: Any) -> PoolState:
    """A pool of two copies of the agent that learned, whose optimisers begin anew."""
    agents = jax.tree.map(lambda leaf: jnp.stack([leaf[FRESH]] * 2), both)
    return pair.started(agents)


# --- mixed pools


def train_mixed(arm: MixedArm, context: Context) -> Tables:
    """Two agents among memory-one policies and each other."""
    pool = _pool(arm.sizes, 2, arm.p_tabular, told=arm.told)
    trained = _settle(context, "agents", pool, arm.sizes, arm.sizes.mixed)
    context.publish("agents", trained.agents)
    found, last = context.evaluate(Partial(_each_other, _tested(pool, arm.sizes)), trained.agents, context.keys("eval")), trained.last
    tables = {
        "in_context_peers": context.rows(peer=(last["peer_0"] + last["peer_1"]) / 2),
        "within_episodes": context.rows({"when": ["after"], "part": range(PARTS)}, cooperates=found["parts"][:, None]),
        "in_context_training": context.rows({"step": trained.steps}, peer=trained.curve),
    }
    return {**tables, **(_responses(arm.sizes, context, pool, trained.agents) if arm.p_tabular else {})}


# --- training and tests


def _train(context: Context, name: str, pool: InformedPool, iterations: int, state: PoolState, start: int) -> Trained:
    """Train from a state on, with the pool's own settings."""
    fitted = context.fit(name, pool, iterations, state=state, start=start)
    return _trained(fitted, np.asarray(fitted.history_steps) - start, fitted.history)


def _settle(context: Context, name: str, pool: InformedPool, sizes: InContext, iterations: int) -> Trained:
    """Train with much entropy; then in phases, in which entropy and learning rate fall to their last values by equal factors."""
    fits, start, each = [context.fit(f"{name}-exploring", pool, iterations)], iterations, round(sizes.settling * iterations / PHASES)
    for phase in range(1, PHASES + 1 if each else 1):
        share = phase / PHASES
        settings = pool.settings._replace(entropy=pool.settings.entropy * (sizes.last_entropy / sizes.entropy) ** share)
        settled = replace(pool, settings=settings, hyperparameters={**pool.hyperparameters, "learning_rate": sizes.learning_rate * sizes.last_rate**share})
        fits.append(context.fit(f"{name}-settling-{phase}", settled, each, state=fits[-1].state, start=start))
        start += each
    steps = np.concatenate([np.asarray(fitted.history_steps) for fitted in fits])
    return _trained(fits[-1], steps, {metric: np.concatenate([fitted.history[metric] for fitted in fits], axis=1) for metric in fits[0].history})


def _trained(fitted: Fitted, steps: Int[np.ndarray, " windows"], history: Mapping[str, np.ndarray]) -> Trained:
    kept = np.unique(np.linspace(0, len(steps) - 1, POINTS).astype(int))
    peers = [values for metric, values in history.items() if metric.startswith("peer_")]
    last = {metric: values[:, steps > 0.9 * steps[-1]].mean(axis=1) for metric, values in history.items()}
    return Trained(fitted.model, fitted.state, last, steps[kept].tolist(), sum(peers, np.zeros(()))[..., kept] / len(peers) if peers else np.zeros((1, 0)))


def _responses(sizes: InContext, context: Context, pool: InformedPool, agents: Any) -> Tables:
    """How trained agents treat known policies: rewards of both per step, and cooperation in the parts of an episode."""
    tested = _tested(replace(pool, peers=0), sizes)
    found = [
        context.evaluate(Partial(_meet, replace(tested, first=Partial(this_policy, policy))), agents, context.keys("eval")) for policy in OPPONENTS.values()
    ]
    anybody = context.evaluate(Partial(_meet_anybody, tested), agents, context.keys("eval"))
    axes = {"opponent": list(OPPONENTS)}
    return {
        "responses": context.rows(axes, **{column: np.stack([each[column] for each in found], axis=1) for column in ("reward", "other", "late")}),
        "response_curves": context.rows({**axes, "round": range(sizes.length)}, cooperates=np.stack([each["rounds"] for each in found], axis=1)),
        "anybody": context.rows(**anybody),
    }


def _meet(pool: InformedPool, agents: Any, key: Any) -> dict[str, Array]:
    """Means over agents and games against memory-one policies; "late" is the last third but for the last two rounds, in which nothing is to be gained."""
    played = pool.play(agents, key)
    rounds = jnp.mean(played.cooperates.astype(float), axis=(0, 1, 2))
    late = jnp.mean(rounds[-(pool.length // PARTS) : -2])
    return {"reward": jnp.mean(played.rewards), "other": jnp.mean(played.others), "rounds": rounds, "late": late}


def _meet_anybody(pool: InformedPool, agents: Any, key: Any) -> dict[str, Array]:
    """Means over agents and games against policies drawn at random: the reward, and how much it is above that of always defecting in the same games, in which
    the policies and what is drawn for each of their decisions are the same."""
    defectors = jax.vmap(TabularAgent)(jnp.zeros((pool.agents, 2 * MEMORIES, 2)).at[:, :MEMORIES, 0].set(-FAR))
    reward, defecting = (jnp.mean(pool.play(each, key).rewards) for each in (agents, defectors))
    return {"reward": reward, "above_defecting": reward - defecting}


def _each_other(pool: InformedPool, agents: Any, key: Any) -> dict[str, Array]:
    """Rewards of two agents from each other, and cooperation in the parts of an episode."""
    played: MetaEpisodes = replace(pool, naive=0).play(agents, key)
    rounds = jnp.mean(played.cooperates.astype(float), axis=(0, 1, 2))
    return {"peer": jnp.mean(played.rewards, axis=(1, 2, 3)), "parts": jnp.stack([jnp.mean(part) for part in jnp.array_split(rounds, PARTS)])}


def _tested(pool: InformedPool, sizes: InContext) -> InformedPool:
    """The same agents in more games."""
    return replace(pool, naive=sizes.test_games, peers=sizes.test_games if pool.peers else 0)


def _meeting(sizes: InContext) -> InformedPool:
    """The pool of two that extort."""
    return _pool(replace(sizes, learning_rate=sizes.meeting_rate), 2, 0.0, games=sizes.meeting_games)


def _pool(sizes: InContext, agents: int, p_tabular: float, *, told: bool = False, games: int | None = None) -> InformedPool:
    """A pool without inner episodes; co-players of one kind have all games."""
    games = games or sizes.games
    tabular = {0.0: 0, 1.0: games}.get(p_tabular, games // 2)
    return InformedPool(
        build=Partial(_build, sizes.width),
        estimators=(batch_unaware,),
        choice=np.ones((agents, 1), np.float32),
        optimizer=adamw,
        hyperparameters={"learning_rate": sizes.learning_rate, "eps": 1e-5, "clip_norm": 1.0},
        settings=Settings(
            p_naive=p_tabular,
            rate=0.0,
            reward_scale=sizes.reward_scale,
            discount=sizes.discount,
            decay=sizes.decay,
            entropy=sizes.entropy * sizes.reward_scale,
        ),
        naive=tabular,
        peers=games - tabular,
        batch=1,
        episodes=1,
        length=sizes.length,
        first=any_policy,
        told=float(told),
    )


def _of_arm(arm: StepsArm, pool: InformedPool) -> InformedPool:
    """The pool with the agents of an arm."""
    return pool if arm.memory else replace(pool, build=_build_table)


def _build_table(key: Any) -> TabularAgent:
    return TabularAgent.create(2 * MEMORIES, key=key)


def _build(width: int, key: Any) -> MixerAgent:
    return MixerAgent.create(2 * MEMORIES, mixer=GRU.create, dim=width, key=key)
