"""Affine maps and their initial weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def gaussian(shape: tuple[int, ...], gain: float, key: PRNGKeyArray) -> Float[Array, "..."]:
    """Independent N(0, gain^2 / fan in); the fan in is the last axis."""
    return gain / jnp.sqrt(shape[-1]) * jax.random.normal(key, shape)


def truncated_gaussian(shape: tuple[int, ...], gain: float, key: PRNGKeyArray) -> Float[Array, "..."]:
    """As `gaussian`, but cut off at two standard deviations of the normal; the variance is gain^2 / fan in after the cut."""
    return gain / (_CUT * shape[-1] ** 0.5) * jax.random.truncated_normal(key, -2.0, 2.0, shape)


_CUT = 0.8796256610342398  # standard deviation of a standard normal cut off at -2 and 2


class Linear(eqx.Module):
    """$W x + b$ along the last axis."""

    weight: Float[Array, "out dim"]
    bias: Float[Array, " out"] | None

    @classmethod
    def create(cls, dim: int, *, out_dim: int, bias: bool = True, key: PRNGKeyArray) -> "Linear":
        """Gaussian weights with standard deviation 1 / sqrt(dim), bias 0."""
        return cls(gaussian((out_dim, dim), 1.0, key), jnp.zeros(out_dim) if bias else None)

    def __call__(self, x: Float[Array, "*rows dim"]) -> Float[Array, "*rows out"]:
        """Map rows."""
        return x @ self.weight.T if self.bias is None else x @ self.weight.T + self.bias
