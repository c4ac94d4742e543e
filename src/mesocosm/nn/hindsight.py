"""The network of hindsight models: how much an outcome changes the log probability of each action, given the policy's own log probabilities."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.linear import Linear, gaussian


class DeadUnits(NamedTuple):
    """Shares of rectified units that are 0 on every row, and so pass no gradient.

    Attributes:
        hidden: of the hidden layer.
        outputs: of the two maps behind it.
    """

    hidden: Float[Array, ""]
    outputs: Float[Array, ""]


class HindsightNetwork(eqx.Module):
    r"""$x(s, u, l) = b(z) + G(z)\, [l;\ \log(1 - e^l)]$, $z = \text{ReLU}(W [s; u] + c)$, for the log probabilities $l$ of the policy.

    $b(z) \in \mathbb{R}^A$ and $G(z) \in \mathbb{R}^{A \times 2A}$ are differences of two rectified linear maps: the network generates the weights of
    a linear map of $l$. If both are 0, so is $x$, and the outcome tells nothing about the action.

    Attributes:
        leak: slope of the rectified maps below 0. With 0, as in the paper, a network whose rectified maps are all below 0 stays at x = 0 for ever.

    Reference: Meulemans et al., "Would I have gotten that reward?" (2023), App. D and Fig. 8.
    """

    hidden: Linear
    shift: Linear
    gates: Linear
    leak: float = eqx.field(static=True, default=0.0)

    @classmethod
    def create(
        cls, features: int, outcome_dim: int, actions: int, *, width: int = 256, gain: float = 1.0, leak: float = 0.0, key: PRNGKeyArray
    ) -> HindsightNetwork:
        """One hidden layer of `width` units; a small `gain` starts close to x = 0."""
        hidden, shift, gates = jax.random.split(key, 3)
        return cls(
            Linear.create(features + outcome_dim, out_dim=width, key=hidden),
            Linear(gaussian((2 * actions, width), gain, shift), jnp.zeros(2 * actions)),
            Linear(gaussian((4 * actions**2, width), gain, gates), jnp.zeros(4 * actions**2)),
            leak,
        )

    def __call__(
        self, observation: Float[Array, "*rows features"], outcome: Float[Array, "*rows outcome_dim"], log_policy: Float[Array, "*rows actions"]
    ) -> Float[Array, "*rows actions"]:
        """Map rows."""
        z = self._hidden(observation, outcome)
        shift, gates = _rectified_difference(self.shift(z), self.leak), _rectified_difference(self.gates(z), self.leak)
        unlikely = jnp.log(jnp.maximum(-jnp.expm1(log_policy), jnp.finfo(log_policy.dtype).eps))
        modulation = jnp.concatenate([log_policy, unlikely], axis=-1)
        return shift + jnp.einsum("...ij,...j->...i", gates.reshape(*shift.shape, modulation.shape[-1]), modulation)

    def dead(self, observation: Float[Array, "*rows features"], outcome: Float[Array, "*rows outcome_dim"]) -> DeadUnits:
        """Which share of the units is 0 on all of these rows; a leak does not count."""
        z = self._hidden(observation, outcome)
        behind = jnp.concatenate([self.shift(z), self.gates(z)], axis=-1)
        return DeadUnits(*(jnp.mean(jnp.all(units <= 0, axis=tuple(range(units.ndim - 1)))) for units in (z, behind)))

    def _hidden(self, observation: Float[Array, "*rows features"], outcome: Float[Array, "*rows outcome_dim"]) -> Float[Array, "*rows width"]:
        return jax.nn.relu(self.hidden(jnp.concatenate([observation, outcome], axis=-1)))


def _rectified_difference(y: Float[Array, "*rows two_n"], leak: float) -> Float[Array, "*rows n"]:
    """ReLU of the first half less that of the second; with a leak, leaky ReLU."""
    positive, negative = jnp.split(jax.nn.leaky_relu(y, leak) if leak else jax.nn.relu(y), 2, axis=-1)
    return positive - negative
