"""A layer that remembers by a decaying average, one rate a channel."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def decaying_average(decay: Float[Array, "*channels"], x: Float[Array, "time *channels"]) -> Float[Array, "time *channels"]:
    r"""$h_t = a h_{t-1} + (1 - a) x_t$ with $h_0 = 0$, by an associative scan."""
    steps = jnp.broadcast_to(decay, x.shape), (1 - decay) * x
    return jax.lax.associative_scan(lambda early, late: (early[0] * late[0], late[0] * early[1] + late[1]), steps)[1]


class DecayingAverage(eqx.Module):
    r"""$y = \mathrm{outward}(\mathrm{average}(\mathrm{inward}(x)))$, with learned decays in (0, 1)."""

    inward: Float[Array, "dim dim"]
    outward: Float[Array, "dim dim"]
    logit: Float[Array, " dim"]

    def __init__(self, dim: int, *, key: PRNGKeyArray):
        inward, outward, logit = jax.random.split(key, 3)
        self.inward = jax.random.normal(inward, (dim, dim)) / jnp.sqrt(dim)
        self.outward = 0.1 * jax.random.normal(outward, (dim, dim)) / jnp.sqrt(dim)
        self.logit = jax.random.normal(logit, (dim,))

    def __call__(self, x: Float[Array, "time dim"]) -> Float[Array, "time dim"]:
        """Tokens in, tokens out."""
        return decaying_average(jax.nn.sigmoid(self.logit), x @ self.inward.T) @ self.outward.T
