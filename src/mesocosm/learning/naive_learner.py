"""Co-players that learn by themselves: one step of policy gradient on what they have just played, as if nobody reacted to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from mesocosm.envs.matrix_game import COOPERATE

Number = float | Float[Array, ""]


def reinforce_tabular(
    logits: Float[Array, " memories"],
    memories: Int[Array, "batch time"],
    actions: Int[Array, "batch time"],
    rewards: Float[Array, "batch time"],
    rate: Number,
) -> Float[Array, " memories"]:
    r"""One REINFORCE step of a policy with a logit to cooperate for each memory,

    $$\theta \leftarrow \theta + \frac{\eta}{B T} \sum_{b, t} \nabla \log \pi(a^b_t \mid m^b_t)\, \big(G^b_t - \bar G_t\big),$$

    with the rewards to go $G$ of the episode and their mean over the batch (which is taken from a single trajectory too: with B = 1 nothing is learned).

    Args:
        logits: $\theta$.
        memories: what each action was conditioned on, an index into the logits.
        actions: 0 to cooperate.
        rewards: the learner's own.
        rate: $\eta$.
    """
    later = jnp.cumsum(rewards[:, ::-1], axis=1)[:, ::-1]
    score = (actions == COOPERATE) - jax.nn.sigmoid(logits)[memories]
    gradient = jnp.zeros_like(logits).at[memories].add(score * (later - jnp.mean(later, axis=0)))
    return logits + rate * gradient / rewards.size


class NaiveActorCritic(eqx.Module):
    r"""A2C on one inner episode of B trajectories, for a learner that is any `nn.actor_critic.Chooser`: one step of its optimiser on

    $$\frac{1}{B T} \sum_{b, t} \Big[ -\log \pi(a^b_t \mid h^b_t)\, (A^b_t - \bar A) + c\, (V^b_t - G^b_t)^2 \Big], \qquad A^b_t = G^b_t - V^b_t,$$

    with the discounted rewards to go $G$ of the episode and the mean $\bar A$ over trajectories and steps. The optimiser's state passes from one inner
    episode to the next.

    Attributes:
        optimizer: hyperparameters -> optax transformation.
        hyperparameters: passed to it by name; traced.
        discount: of G.
        reward_scale: factor of the rewards.
        value_weight: c.

    Reference: Meulemans et al., "Multi-agent cooperation through learning-aware policy gradients" (2025), App. B.
    """

    optimizer: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, Any]
    discount: Number = 1.0
    reward_scale: Number = 0.1
    value_weight: Number = 0.5

    def init(self, learner: Any) -> PyTree:
        """The optimiser's state before the first step."""
        return self.optimizer(**self.hyperparameters).init(eqx.filter(learner, eqx.is_inexact_array))

    def learn(
        self,
        learner: Any,
        state: PyTree,
        observations: Float[Array, "batch time features"],
        actions: Int[Array, "batch time"],
        rewards: Float[Array, "batch time"],
    ) -> tuple[Any, PyTree]:
        """The learner and its optimiser's state after the step."""
        trained, fixed = eqx.partition(learner, eqx.is_inexact_array)
        gradient = jax.grad(lambda leaves: self.loss(eqx.combine(leaves, fixed), observations, actions, rewards))(trained)
        moves, state = self.optimizer(**self.hyperparameters).update(gradient, state, trained)
        return eqx.combine(optax.apply_updates(trained, moves), fixed), state

    def loss(
        self, learner: Any, observations: Float[Array, "batch time features"], actions: Int[Array, "batch time"], rewards: Float[Array, "batch time"]
    ) -> Float[Array, ""]:
        """The formula above; advantages are constants."""
        choices = jax.vmap(learner)(observations)
        log_probabilities = jnp.take_along_axis(jax.nn.log_softmax(choices.logits), actions[..., None], axis=-1)[..., 0]

        def back(after: Array, reward: Array) -> tuple[Array, Array]:
            after = reward + self.discount * after
            return after, after

        returns = jax.lax.scan(back, jnp.zeros_like(rewards[:, 0]), self.reward_scale * rewards.T, reverse=True)[1].T
        advantages = jax.lax.stop_gradient(returns - choices.value)
        scored = log_probabilities * (advantages - jnp.mean(advantages))
        return jnp.mean(self.value_weight * (choices.value - returns) ** 2 - scored)
