"""Normalisation over channels, with statistics in float32 or wider."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

_RMS_EPSILON = 1e-6


def unit_norm(x: Float[Array, "*rows dim"]) -> Float[Array, "*rows dim"]:
    """x / ||x|| along the last axis; a zero vector stays zero, with zero gradient."""
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(squared > 0, x * jax.lax.rsqrt(jnp.where(squared > 0, squared, 1)), 0)


def rms_normalise(x: Float[Array, "*rows dim"], scale: Float[Array, "*heads dim"]) -> Float[Array, "*rows dim"]:
    r"""scale * x / sqrt(mean(x^2) + 1e-6), along the last axis, computed in float32 or wider."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + _RMS_EPSILON) * scale).astype(x.dtype)


class LayerNorm(eqx.Module):
    r"""$\gamma \odot (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$, with mean and variance over the last axis."""

    scale: Float[Array, " dim"]
    bias: Float[Array, " dim"]
    epsilon: float = eqx.field(static=True, default=1e-6)

    @classmethod
    def create(cls, dim: int, *, epsilon: float = 1e-6, key: PRNGKeyArray | None = None) -> "LayerNorm":
        """Scale 1 and bias 0."""
        return cls(jnp.ones(dim), jnp.zeros(dim), epsilon)

    def __call__(self, x: Float[Array, "*rows dim"]) -> Float[Array, "*rows dim"]:
        """Normalise."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.mean(centred**2, axis=-1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + self.epsilon) * self.scale + self.bias).astype(x.dtype)


class RMSNorm(eqx.Module):
    r"""$\gamma \odot x / \sqrt{\mathrm{mean}(x^2) + 10^{-6}}$ over the last axis."""

    scale: Float[Array, " dim"]

    @classmethod
    def create(cls, dim: int, *, key: PRNGKeyArray | None = None) -> "RMSNorm":
        """Scale 1."""
        return cls(jnp.ones(dim))

    def __call__(self, x: Float[Array, "*rows dim"]) -> Float[Array, "*rows dim"]:
        """Normalise."""
        return rms_normalise(x, self.scale)
