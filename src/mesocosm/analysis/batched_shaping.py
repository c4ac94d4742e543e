r"""All outcomes of a batched meta-trajectory in an iterated matrix game, with their probabilities: expectations of shaping gradients without sampling.

Two players meet in B games at once, in M episodes of T steps. The agent has a logit to cooperate for each episode, step and memory; the learner one for each
memory, which it updates after every episode from all B games. There are $4^{B M T}$ outcomes.

Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), Sec. 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mesocosm.analysis.memory_one import SWAPPED
from mesocosm.envs.matrix_game import MatrixGame

Table = Float[Array, "episodes steps 5"]
Update = Callable[..., Float[Array, "5"]]
"""(logits, memories, actions, rewards) -> logits; the last three have shape (batch, steps) and are the learner's own (`learning.naive_learner`)."""


class MetaTrajectories(NamedTuple):
    """Every outcome.

    Attributes:
        own: log probability of each action of the agent.
        other: log probability of each action of the learner.
        rewards: the agent's.
        learners: the learner's logits in each episode, and after the last.
    """

    own: Float[Array, "outcomes batch time"]
    other: Float[Array, "outcomes batch time"]
    rewards: Float[Array, "outcomes batch time"]
    learners: Float[Array, "outcomes updates 5"]

    def probability(self) -> Float[Array, " outcomes"]:
        """Of each outcome; they sum to one."""
        return jnp.exp(jnp.sum(self.own + self.other, axis=(1, 2)))


def every_meta_trajectory(game: MatrixGame, own: Table, learner: Float[Array, "5"], update: Update, batch: int, most: int = 2**20) -> MetaTrajectories:
    """Follow every outcome; differentiable in `own`.

    Args:
        game: the payoffs.
        own: the agent's logits to cooperate.
        learner: the learner's first logits.
        update: the learner's update.
        batch: B.
        most: the largest number of outcomes.

    Raises:
        ValueError: there are more outcomes.
    """
    episodes, steps, _ = own.shape
    binary = 2 * batch * episodes * steps
    if 2**binary > most:
        raise ValueError(f"{batch} games of {episodes} x {steps} steps have 4^{binary // 2} outcomes, more than {most}")
    actions = (np.arange(2**binary)[:, None] >> np.arange(binary) & 1).reshape(-1, episodes, batch, steps, 2)
    return jax.vmap(lambda actions: _follow(game, own, learner, update, actions))(jnp.asarray(actions, jnp.int32))


def _follow(game: MatrixGame, own: Table, learner: Array, update: Update, actions: Int[Array, "episodes batch steps 2"]) -> Any:
    payoffs = jnp.asarray(game.payoffs, own.dtype)

    def episode(logits: Array, played: tuple[Array, Array]) -> tuple[Array, tuple[Array, ...]]:
        table, actions = played
        memory = jnp.concatenate([jnp.zeros_like(actions[:, :1, 0]), 1 + 2 * actions[:, :-1, 0] + actions[:, :-1, 1]], axis=1)
        theirs = jnp.asarray(SWAPPED)[memory]
        rewards = payoffs[:, actions[..., 0], actions[..., 1]]
        ours = _log_probability(jnp.take_along_axis(table.T, memory, axis=0), actions[..., 0])
        after = update(logits, theirs, actions[..., 1], rewards[1])
        return after, (ours, _log_probability(logits[theirs], actions[..., 1]), rewards[0], logits)

    last, (ours, theirs, rewards, learners) = jax.lax.scan(episode, learner, (own, actions))
    ours, theirs, rewards = (jnp.moveaxis(part, 0, 1).reshape(actions.shape[1], -1) for part in (ours, theirs, rewards))
    return MetaTrajectories(ours, theirs, rewards, jnp.concatenate([learners, last[None]]))


def _log_probability(logits: Array, actions: Array) -> Array:
    return jax.nn.log_sigmoid(jnp.where(actions == 0, logits, -logits))


def expected_gradients(
    trajectories: Callable[[Table], MetaTrajectories], own: Table, weights: Callable[[Array], Float[Array, "estimators batch time"]]
) -> Float[Array, "estimators episodes steps 5"]:
    r"""$E \sum_b \sum_l \nabla \log \pi(a^b_l)\, A^b_l$ of several estimators.

    Args:
        trajectories: the agent's logits -> `every_meta_trajectory`.
        own: these logits.
        weights: rewards of one outcome, shape (batch, time) -> $A$ of each estimator, as in `learning.opponent_shaping`.
    """

    def scores(own: Table) -> tuple[Array, MetaTrajectories]:
        found = trajectories(own)
        return found.own, found

    _, pull_back, found = jax.vjp(scores, own, has_aux=True)
    weighed = jax.vmap(weights, out_axes=1)(found.rewards) * found.probability()[:, None, None]
    return jax.lax.map(lambda weighed: pull_back(weighed)[0], weighed)


def shaping_gradient(trajectories: Callable[[Table], MetaTrajectories], own: Table) -> Table:
    r"""Autodiff of $E \frac1B \sum_b \sum_l r^b_l$, through the probability of every outcome."""

    def expected(own: Table) -> Array:
        found = trajectories(own)
        return found.probability() @ jnp.mean(jnp.sum(found.rewards, axis=2), axis=1)

    return jax.grad(expected)(own)
