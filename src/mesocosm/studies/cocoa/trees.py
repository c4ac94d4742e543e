"""Variance on the tree under the uniform policy with exact coefficients, by enumeration of all action sequences (Fig. 2B and 7; Prop. 2; App. G.3)."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.analysis.tabular.enumeration import EveryEpisode, by_state, every_episode
from mesocosm.analysis.tabular.gradient_statistics import GradientStatistics, gradient_statistics
from mesocosm.envs.tabular import TabularMDP
from mesocosm.envs.tree import REWARDS, Tree
from mesocosm.learning.contributions import cocoa, reinforce
from mesocosm.learning.outcomes import Encoding, grouped_outcomes, reward_outcomes, state_outcomes
from mesocosm.studies.cocoa.config import Trees
from mesocosm.studies.interface import Context, Tables


class Measured(NamedTuple):
    """Measurements in one environment.

    Attributes:
        variance: of each estimator, over the squared norm of the true gradient.
        bias: squared, of each estimator, over the same.
        apart: largest difference between HCA+'s gradient and REINFORCE's of the same episode, over REINFORCE's largest entry.
    """

    variance: Float[Array, " estimators"]
    bias: Float[Array, " estimators"]
    apart: Float[Array, ""]


def measure_trees(config: Trees, context: Context) -> Tables:
    """Variances by overlap and, at one overlap, by number of groups; Prop. 2. Offsets 0 to 4 give every reward function once, with the same groups."""
    found = [_measure(config, context, overlap, config.groups) for overlap in config.overlaps]
    sweep = _measure(config, context, config.sweep_overlap, config.sweep_groups)
    places = list(zip(config.overlaps, found, strict=True))
    return {
        "tree": pl.concat([_rows(context, config.groups, each).with_columns(overlap=pl.lit(overlap)) for overlap, each in places]),
        "tree_groups": _rows(context, config.sweep_groups, sweep),
        "tree_episodes": pl.concat([context.rows({"offset": range(REWARDS)}, overlap=overlap, apart=each.apart) for overlap, each in places]),
    }


def _rows(context: Context, groups: tuple[int, ...], found: Measured) -> pl.DataFrame:
    names = ["reinforce", "hca-plus", "cocoa-reward", *(f"{kind}-{number}" for kind in ("groups", "shuffled") for number in groups), "binned"]
    return context.rows({"offset": range(REWARDS), "estimator": names}, variance=found.variance, bias=found.bias)


def _measure(config: Trees, context: Context, overlap: int, groups: tuple[int, ...]) -> Measured:
    """Measure all environments at one overlap. Quantities that do not depend on the offset are computed once."""
    tree = Tree(config.depth, config.branches, overlap)
    mdp = tree.tabular()
    uniform = jnp.full((mdp.states, mdp.actions), 1.0 / mdp.actions)
    successor = dp.successor(mdp, uniform)
    episodes = every_episode(mdp)
    draws = jax.random.uniform(context.keys("env")[0], episodes.states.shape)
    return context.evaluate(Partial(_on_offsets, tree, groups), shared=(mdp, successor, episodes, draws))


def _on_offsets(tree: Tree, groups: tuple[int, ...], mdp: TabularMDP, successor: Array, episodes: EveryEpisode, draws: Array) -> Measured:
    def one(offset: Array) -> Measured:
        shifted = eqx.tree_at(lambda m: m.reward_probability, mdp, jax.nn.one_hot(tree.outcomes(tree.params(offset)), REWARDS))
        return _one_environment(tree, groups, shifted, successor, episodes, offset, draws)

    return jax.lax.map(one, jnp.arange(REWARDS))


def _one_environment(
    tree: Tree, groups: tuple[int, ...], mdp: TabularMDP, successor: Array, episodes: EveryEpisode, offset: Array, draws: Float[Array, "episodes time"]
) -> Measured:
    logits = jnp.zeros((mdp.states, mdp.actions))
    policy = jax.nn.softmax(logits)
    states, actions, _, taken = (jnp.asarray(part) for part in episodes)
    classes = tree.outcomes(tree.params(offset))[states, actions]
    rewards, here = jnp.asarray(mdp.reward_values)[classes], policy[states]
    reward = jnp.asarray(mdp.mean_reward)
    value = reward + successor @ jnp.sum(policy * reward, axis=1)
    visits = jnp.asarray(mdp.initial) + jnp.einsum("s,sa,saz->z", jnp.asarray(mdp.initial), policy, successor)
    true = dp.policy_gradient(jax.nn.softmax, logits, visits[:, None] * value).reshape(-1)

    def gradients(contributions: Array) -> Array:
        """One gradient per episode, over all parameters."""
        tables = jax.vmap(by_state, in_axes=(0, 0, 0, None))(states, contributions, taken, mdp.states)
        return jax.vmap(lambda table: dp.policy_gradient(jax.nn.softmax, logits, table))(tables).reshape(len(states), -1)

    def by_outcome(probability: Array, outcomes: Array) -> Array:
        w = dp.coefficients(dp.outcome_counts(successor, probability), policy)
        return gradients(jax.vmap(cocoa)(actions, rewards, here, outcomes, w[states]))

    def encoded(encoding: Encoding) -> Array:
        return by_outcome(dp.outcome_probability(mdp, policy, *encoding), jnp.asarray(encoding.classes)[states, actions, classes])

    def shuffled(number: int) -> Array:
        """A group drawn at random for every event, so that outcomes are as many as with groups but tell no more than the reward."""
        probability = jnp.repeat(dp.outcome_probability(mdp, policy, *reward_outcomes(mdp)), number, axis=1) / number
        return by_outcome(probability, classes * number + (draws * number).astype(classes.dtype))

    grouped = [grouped_outcomes(mdp, tree.outcomes(tree.params(offset), number), REWARDS * number) for number in groups]
    whole = gradients(jax.vmap(reinforce)(actions, rewards, here))
    by_state_only = encoded(state_outcomes(mdp))
    binned = Encoding(jnp.broadcast_to(jnp.sign(jnp.asarray(mdp.reward_values)).astype(jnp.int32) + 1, mdp.reward_probability.shape), 3)
    found = [whole, by_state_only, encoded(reward_outcomes(mdp)), *map(encoded, grouped), *map(shuffled, groups), encoded(binned)]
    statistics: list[GradientStatistics] = [gradient_statistics(g, true) for g in found]
    apart = jnp.max(jnp.abs(by_state_only - whole)) / jnp.max(jnp.abs(whole))
    return Measured(jnp.stack([s.variance for s in statistics]), jnp.stack([s.bias for s in statistics]), apart)
