r"""Features of state and action from which the reward can be predicted, as outcomes of COCOA-feature. They are learned first, by regression of the reward
under a fixed policy, and then frozen.

Reference: Meulemans et al., "Would I have gotten that reward?" (2023), App. E.8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from mesocosm.learning.gradient_learner import GradientLearner, GradientState, Metrics, Step, Transform

THRESHOLD = 0.05


class RewardFeatures(eqx.Module):
    r"""$\hat r(s, a) = \rho^\top y$ with $y_i = \text{ReLU}(m_{ai}^2\, s_i)$; the outcome is $u_i = 1\{m_{ai}^2\, s_i > 0.05\}$.

    The mask m selects parts of the observation for each action; the readout $\rho$ is common. The derivative treats the ReLU as the identity.
    """

    mask: Float[Array, "actions features"]
    readout: Float[Array, " features"]

    @classmethod
    def create(cls, features: int, actions: int, *, key: PRNGKeyArray) -> RewardFeatures:
        """All of the observation, and a readout from N(0, 1 / features)."""
        return cls(jnp.ones((actions, features)), jax.random.normal(key, (features,)) / jnp.sqrt(features))

    def selected(self, observations: Float[Array, "*rows features"], actions: Int[Array, "*rows"]) -> Float[Array, "*rows outcome_dim"]:
        """What the actions' masks leave."""
        return self.mask[actions] ** 2 * observations

    def __call__(self, observations: Float[Array, "*rows features"], actions: Int[Array, "*rows"]) -> Float[Array, "*rows"]:
        """Predict rewards."""
        y = self.selected(observations, actions)
        return (y + jax.lax.stop_gradient(jax.nn.relu(y) - y)) @ self.readout

    def outcomes(self, observations: Float[Array, "*rows features"], actions: Int[Array, "*rows"]) -> Float[Array, "*rows outcome_dim"]:
        """The outcomes, 0 or 1."""
        return jax.lax.stop_gradient(self.selected(observations, actions) > THRESHOLD).astype(observations.dtype)


class GatedRewardFeatures(RewardFeatures):
    r"""As in the authors' code for key-to-door: $u = 1\{(g_a \odot g_a)\, s > 0.05\}$ and $\hat r = \rho^\top u$, with a matrix of gates $g_a$ for each action.

    The derivative treats the step as the identity.
    """

    mask: Float[Array, "actions outcome_dim features"]
    readout: Float[Array, " outcome_dim"]

    @classmethod
    def create(cls, features: int, actions: int, *, outcome_dim: int = 128, key: PRNGKeyArray) -> GatedRewardFeatures:
        """Gates from N(0.05, 1), and a readout from N(0, 1 / outcome_dim)."""
        gate_key, readout_key = jax.random.split(key)
        gates = 0.05 + jax.random.normal(gate_key, (actions, outcome_dim, features))
        return cls(gates, jax.random.normal(readout_key, (outcome_dim,)) / jnp.sqrt(outcome_dim))

    def selected(self, observations: Float[Array, "*rows features"], actions: Int[Array, "*rows"]) -> Float[Array, "*rows outcome_dim"]:
        """What the actions' gates leave."""
        return jnp.einsum("...of,...f->...o", self.mask[actions] ** 2, observations)

    def __call__(self, observations: Float[Array, "*rows features"], actions: Int[Array, "*rows"]) -> Float[Array, "*rows"]:
        """Predict rewards."""
        y = self.selected(observations, actions)
        return (y + jax.lax.stop_gradient(1.0 * (y > THRESHOLD) - y)) @ self.readout


class RewardSamples(NamedTuple):
    """Steps of episodes under a fixed policy, or different events with their mean rewards.

    Attributes:
        observations, actions, rewards: of each sample.
        shares: how often each event was seen, over the number of steps; None if every sample counts the same.
    """

    observations: Float[Array, "samples features"]
    actions: Int[Array, " samples"]
    rewards: Float[Array, " samples"]
    shares: Float[Array, " samples"] | None = None


def reward_error(model: RewardFeatures, samples: RewardSamples) -> Float[Array, ""]:
    """The mean squared error; of mean rewards, it is that of the steps but for a constant."""
    errors = (model(samples.observations, samples.actions) - samples.rewards) ** 2
    return jnp.mean(errors) if samples.shares is None else jnp.sum(samples.shares * errors)


class FeatureLearner(GradientLearner):
    r"""Minimise the mean squared error of predicted rewards; after each step, multiply the mask by $1 - \eta_1$ and the readout by $1 - \eta_2$.

    Because masks are squared, the first acts like an L1 penalty: parts of the observation that do not help disappear.

    Attributes:
        build: key -> `RewardFeatures`.
        samples: from episodes of a fixed policy.
        optimizer: hyperparameters -> optax transformation, a module-level function.
        hyperparameters: passed to `optimizer` by name.
        mask_shrinkage: $\eta_1$ (paper: 0.001 in key-to-door, 0.05 in interleaving).
        readout_shrinkage: $\eta_2$ (paper: 0.03 and 0.0003).
    """

    build: Callable[[Any], RewardFeatures]
    samples: RewardSamples
    optimizer: Callable[..., Transform]
    hyperparameters: Mapping[str, Any]
    mask_shrinkage: Any = 0.001
    readout_shrinkage: Any = 0.03

    def batch(self, model: Any, key: Key[Array, ""]) -> RewardSamples:
        """All samples."""
        return self.samples

    def objective(self, model: RewardFeatures, batch: RewardSamples, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """The error of rewards."""
        return reward_error(model, batch), {}

    def step(self, state: GradientState, batch: RewardSamples, key: Key[Array, ""]) -> Step:
        """Take one step, then shrink."""
        (model, optimizer), metrics = super().step(state, batch, key)
        shrunk = eqx.tree_at(lambda m: (m.mask, m.readout), model, (model.mask * (1.0 - self.mask_shrinkage), model.readout * (1.0 - self.readout_shrinkage)))
        return Step(GradientState(shrunk, optimizer), metrics)
