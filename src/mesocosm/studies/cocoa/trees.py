"""Variance on the tree under the uniform policy with exact coefficients, by enumeration of all action sequences (Fig. 2B and 7; Prop. 2)."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from mesocosm.analysis.tabular import dynamic_programming as dp
from mesocosm.analysis.tabular.enumeration import EveryEpisode, by_state, every_episode
from mesocosm.analysis.tabular.gradient_statistics import GradientStatistics, gradient_statistics
from mesocosm.envs.tabular import TabularMDP
from mesocosm.envs.tree import REWARDS, Tree
from mesocosm.learning.contributions import cocoa, reinforce
from mesocosm.learning.outcomes import grouped_outcomes, reward_outcomes, state_outcomes
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
    """Variances by overlap and, at one overlap, by number of groups; Prop. 2 for every reward function."""
    most = REWARDS * max(*config.groups, *config.sweep_groups)
    blocks = np.asarray(jax.random.permutation(context.keys("env")[0], most // REWARDS))[: config.offsets]
    drawn = blocks * REWARDS + np.arange(config.offsets) % REWARDS  # every reward function equally often
    by_overlap = []
    for overlap in config.overlaps:
        found = _measure(config, context, overlap, config.groups, drawn)
        by_overlap.append(_rows(context, drawn, config.groups, found).with_columns(overlap=pl.lit(overlap)))
    sweep = _rows(context, drawn, config.sweep_groups, _measure(config, context, config.sweep_overlap, config.sweep_groups, drawn))
    every = np.arange(REWARDS)
    apart = [_measure(config, context, overlap, (), every) for overlap in (0, 1)]
    grouped = _measure(config, context, config.sweep_overlap, (1, 2), every).variance  # reinforce, hca-plus, cocoa-reward, groups
    return {
        "tree": pl.concat(by_overlap),
        "tree_groups": sweep,
        "tree_identities": context.rows(
            {"offset": every.tolist()},
            episodes_without_overlap=apart[0].apart,
            episodes_with_overlap=apart[1].apart,
            variance_without_overlap=np.abs(apart[0].variance[..., 1] / apart[0].variance[..., 0] - 1),
            variance_with_overlap=np.abs(apart[1].variance[..., 1] / apart[1].variance[..., 0] - 1),
            variance_with_one_group=np.abs(grouped[..., 3] / grouped[..., 2] - 1),
            variance_with_two_groups=np.abs(grouped[..., 4] / grouped[..., 2] - 1),
        ),
    }


def _rows(context: Context, offsets: np.ndarray, groups: tuple[int, ...], found: Measured) -> pl.DataFrame:
    names = ["reinforce", "hca-plus", "cocoa-reward", *(f"groups-{number}" for number in groups)]
    return context.rows({"offset": offsets.tolist(), "estimator": names}, variance=found.variance, bias=found.bias)


def _measure(config: Trees, context: Context, overlap: int, groups: tuple[int, ...], offsets: np.ndarray) -> Measured:
    """Measure environments of several offsets at one overlap. Quantities that do not depend on the offset are computed once."""
    tree = Tree(config.depth, config.branches, overlap)
    mdp = tree.tabular()
    uniform = jnp.full((mdp.states, mdp.actions), 1.0 / mdp.actions)
    successor = dp.successor(mdp, uniform)
    return context.evaluate(Partial(_on_offsets, tree, groups), shared=(mdp, successor, every_episode(mdp), jnp.asarray(offsets)))


def _on_offsets(tree: Tree, groups: tuple[int, ...], mdp: TabularMDP, successor: Array, episodes: EveryEpisode, offsets: Int[Array, " offsets"]) -> Measured:
    def one(offset: Array) -> Measured:
        shifted = eqx.tree_at(lambda m: m.reward_probability, mdp, jax.nn.one_hot(tree.outcomes(tree.params(offset)), REWARDS))
        return _one_environment(tree, groups, shifted, successor, episodes, offset)

    return jax.lax.map(one, offsets)


def _one_environment(tree: Tree, groups: tuple[int, ...], mdp: TabularMDP, successor: Array, episodes: EveryEpisode, offset: Array) -> Measured:
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

    def by_outcome(encoding) -> Array:
        w = dp.coefficients(dp.outcome_counts(successor, dp.outcome_probability(mdp, policy, *encoding)), policy)
        outcomes = jnp.asarray(encoding.classes)[states, actions, classes]
        return gradients(jax.vmap(cocoa)(actions, rewards, here, outcomes, w[states]))

    grouped = [grouped_outcomes(mdp, tree.outcomes(tree.params(offset), number), REWARDS * number) for number in groups]
    whole = gradients(jax.vmap(reinforce)(actions, rewards, here))
    by_state_only = by_outcome(state_outcomes(mdp))
    found = [whole, by_state_only, by_outcome(reward_outcomes(mdp)), *map(by_outcome, grouped)]
    statistics: list[GradientStatistics] = [gradient_statistics(g, true) for g in found]
    apart = jnp.max(jnp.abs(by_state_only - whole)) / jnp.max(jnp.abs(whole))
    return Measured(jnp.stack([s.variance for s in statistics]), jnp.stack([s.bias for s in statistics]), apart)
