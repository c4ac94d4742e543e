"""Policies for finite environments: they map the observations of all states to logits, one row per state."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class TabularPolicy(eqx.Module):
    """A free logit for each state and action, independent of the observation."""

    logits: Float[Array, "states actions"]

    def __call__(self, observations: Float[Array, "states *shape"]) -> Float[Array, "states actions"]:
        """Return the table of logits."""
        return self.logits


class NetworkPolicy(eqx.Module):
    """A perceptron with ReLU, the same for all states."""

    network: eqx.nn.MLP

    @classmethod
    def create(cls, features: int, actions: int, *, width: int = 64, depth: int = 2, key: PRNGKeyArray) -> NetworkPolicy:
        """`depth` hidden layers of `width` units."""
        return cls(eqx.nn.MLP(features, actions, width, depth, key=key))

    def __call__(self, observations: Float[Array, "states features"]) -> Float[Array, "states actions"]:
        """Apply the network to each state."""
        return jax.vmap(self.network)(observations)


def explore(logits: Float[Array, "*batch actions"], exploration: float | Array) -> Float[Array, "*batch actions"]:
    r"""Probabilities of the behaviour policy, $\pi = (1 - \epsilon)\, \text{softmax} + \epsilon / A$."""
    return (1.0 - exploration) * jax.nn.softmax(logits, axis=-1) + exploration / jnp.asarray(logits.shape[-1], logits.dtype)
