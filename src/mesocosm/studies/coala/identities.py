"""What holds exactly of the estimators, by enumeration of every outcome in float64, and the gradient at always defecting.

An instance is a random agent, whose logits depend on episode, step and memory, and a random learner. Every statement stands beside a mutant.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.analysis.batched_shaping import every_meta_trajectory, expected_gradients, shaping_gradient
from mesocosm.analysis.memory_one import DC, episode_values, values
from mesocosm.envs.matrix_game import PRISONERS_DILEMMA
from mesocosm.learning.lola import lola_dice
from mesocosm.learning.naive_learner import reinforce_tabular
from mesocosm.learning.opponent_shaping import batch_unaware, coala_pg, full_return, m_fos
from mesocosm.studies.coala.config import Config, Estimators, Pairs
from mesocosm.studies.identity_trials import Errors, instance_keys, relative_error
from mesocosm.studies.interface import Context, Tables

LOLA_STEPS = 2


class Gradients(NamedTuple):
    """Expected estimates, the gradient by autodiff, and the part of it that comes from the present inner episode."""

    coala: Array
    full_return: Array
    m_fos: Array
    batch_unaware: Array
    present: Array
    true: Array


class Bias(NamedTuple):
    """Distances of expected estimates from the gradient, relative to its length."""

    m_fos: Array
    batch_unaware: Array
    coala: Array


class Outward(NamedTuple):
    """The gradient at always defecting, in probability space.

    Attributes:
        reward: of the entry DC, cooperation after the other alone has cooperated.
        others: the largest of the other entries; below 0 is towards the edge.
        alone: the entry DC where there are no naive learners.
    """

    reward: Array
    others: Array
    alone: Array


def check_estimators(config: Config, context: Context) -> Tables:
    """All statements on random instances."""
    sizes = config.estimators
    axes = {"instance": range(sizes.instances)}
    errors, bias = context.evaluate(Partial(_one_by_one, enumerated, sizes), shared=(instance_keys(context, 0, sizes.instances),))
    outward = context.evaluate(Partial(_one_by_one, at_always_defecting, (config.pairs, sizes.learners)), shared=(instance_keys(context, 1, sizes.instances),))
    rows = [context.rows(axes, identity=name, error=found.error, mutant=found.mutant) for name, found in errors.items()]
    return {
        "identities": pl.concat(rows),
        "biases": context.rows(axes, **bias._asdict()),
        "always_defecting": context.rows(axes, **outward._asdict(), slack=jnp.maximum(outward.others, 0.0), with_reward=jnp.maximum(outward.reward, 0.0)),
    }


def _one_by_one(statement: Any, config: Any, keys: Array) -> Any:
    return jax.lax.map(partial(statement, config), keys)


def enumerated(sizes: Estimators, key: PRNGKeyArray) -> tuple[dict[str, Errors], Bias]:
    """The errors of all statements about estimators for one agent and one learner."""
    own_key, learner_key, fixed_key = jax.random.split(key, 3)
    own, learner = jax.random.normal(own_key, (sizes.episodes, sizes.steps, 5)), jax.random.normal(learner_key, (5,))
    found = expected(sizes, own, learner, sizes.rate)
    wanted = found.present + (found.true - found.present) / sizes.batch
    errors = {
        "C1 coala": Errors(relative_error(found.coala, found.true), relative_error(found.m_fos, found.true)),
        "C1 full-return": Errors(relative_error(found.full_return, found.true), relative_error(found.batch_unaware, found.true)),
        "C2 m-fos": Errors(
            relative_error(found.m_fos, found.true + (sizes.batch - 1) * found.present), relative_error(found.m_fos, found.true + sizes.batch * found.present)
        ),
        "C2 batch-unaware": Errors(relative_error(found.batch_unaware, wanted), relative_error(found.batch_unaware, found.true)),
        "C2 alike": Errors(relative_error(found.m_fos, sizes.batch * found.batch_unaware), relative_error(found.m_fos, found.batch_unaware)),
        **with_short_memory(sizes, jax.random.normal(fixed_key, (sizes.steps, 5)), learner),
    }
    return errors, Bias(*(jnp.linalg.norm(g - found.true) / jnp.linalg.norm(found.true) for g in (found.m_fos, found.batch_unaware, found.coala)))


def expected(sizes: Estimators, own: Float[Array, "episodes steps 5"], learner: Float[Array, "5"], rate: Any) -> Gradients:
    """Each estimator's mean over all outcomes, and the gradient."""

    def follow(own: Array) -> Any:
        return every_meta_trajectory(PRISONERS_DILEMMA, own, learner, _learning(rate), sizes.batch)

    def weights(rewards: Float[Array, "batch time"]) -> Float[Array, "estimators batch time"]:
        by_episode = rewards.reshape(len(rewards), sizes.episodes, sizes.steps)
        present = jnp.cumsum(by_episode[..., ::-1], axis=-1)[..., ::-1].reshape(rewards.shape) / len(rewards)
        return jnp.stack([*(of(rewards, sizes.steps) for of in (coala_pg, full_return, m_fos, batch_unaware)), present])

    coala, full, mfos, unaware, present = expected_gradients(follow, own, weights)
    return Gradients(coala, full, mfos, unaware, present, shaping_gradient(follow, own))


def with_short_memory(sizes: Estimators, own: Float[Array, "steps 5"], learner: Float[Array, "5"]) -> dict[str, Errors]:
    r"""An agent that remembers nothing of earlier inner episodes: COALA-PG is the total derivative of the returns through the learner's update.

    The second statement is of that derivative to first order in the learner's step size, where it is LOLA-DICE's, times $(1 - 1/B) / T$: the update's mean
    is this share of the learner's own gradient.
    """

    def coala() -> Array:
        both = jnp.broadcast_to(own, (2, *own.shape))

        def follow(own: Array) -> Any:
            return every_meta_trajectory(PRISONERS_DILEMMA, own, learner, _learning(sizes.rate), sizes.batch)

        return jnp.sum(expected_gradients(follow, both, lambda rewards: coala_pg(rewards, sizes.steps)[None])[0], axis=0)

    def value(own: Array, other: Array, key: Any = None) -> Array:
        return episode_values(PRISONERS_DILEMMA, jax.nn.sigmoid(own), jax.nn.sigmoid(other), len(own))

    def through_update(own: Array, rate: Any, constant: bool) -> Array:
        first = every_meta_trajectory(PRISONERS_DILEMMA, own[None], learner, _learning(rate), sizes.batch)
        probability = jax.lax.stop_gradient(first.probability()) if constant else first.probability()
        return value(own, learner)[0] + probability @ jax.vmap(lambda learned: value(own, learned)[0])(first.learners[:, -1])

    found = coala()
    total, fixed = (jax.grad(through_update)(own, sizes.rate, constant) for constant in (False, True))
    longer = jnp.concatenate([own, own + 1.0])[:LOLA_STEPS]  # with a single step, the update's part of the gradient is 0
    slope = jax.jvp(lambda rate: jax.grad(through_update)(longer, rate, False), (0.0,), (1.0,))[1]
    lola = jax.jvp(lambda rate: jax.grad(lambda own: lola_dice(value, own, learner, rate, 1))(longer), (0.0,), (1.0,))[1]
    share = 1 / LOLA_STEPS
    return {
        "C3 total": Errors(relative_error(found, total), relative_error(found, fixed)),
        "C3 lola": Errors(relative_error(slope, (1 - 1 / sizes.batch) * share * lola), relative_error(slope, share * lola)),
    }


def at_always_defecting(given: tuple[Pairs, int], key: PRNGKeyArray) -> Outward:
    """The gradient of the mixed pool's return in the agent's probabilities, where both always defect; naive learners are random."""
    config, number = given
    learners = jax.random.normal(key, (number, 5))

    def shaped(own: Array) -> Array:
        def value(own: Array, learner: Array, key: Any = None) -> Array:
            return values(PRISONERS_DILEMMA, own, jax.nn.sigmoid(learner), config.escape_discount)

        def lifetime(learner: Array) -> Array:
            def learn(q: Array, _: Any) -> tuple[Array, Array]:
                return q + config.rate * jax.grad(lambda q: value(own, q)[1])(q), value(own, q)[0]

            last, returns = jax.lax.scan(learn, learner, None, config.updates)
            return (jnp.sum(returns) + value(own, last)[0]) / (config.updates + 1)

        return jnp.mean(jax.vmap(lifetime)(learners))

    def met(own: Array) -> Array:
        return values(PRISONERS_DILEMMA, own, jnp.zeros(5), config.escape_discount)[0]

    naive, peer = jax.grad(shaped)(jnp.zeros(5)), jax.grad(met)(jnp.zeros(5))
    mixed = config.escape_p_naive * naive + (1 - config.escape_p_naive) * peer
    return Outward(mixed[DC], jnp.max(jnp.delete(mixed, DC)), peer[DC])


def _learning(rate: Any) -> Any:
    return partial(reinforce_tabular, rate=rate)
