"""Divisions and square roots with a value and a derivative where the plain ones have none."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array


def ratio(numerator: ArrayLike, denominator: ArrayLike, otherwise: ArrayLike = 0.0) -> Array:
    """Numerator over denominator where the denominator is positive; `otherwise`, without a derivative, where it is not."""
    positive = jnp.asarray(denominator) > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), otherwise)


def root(x: ArrayLike) -> Array:
    """The square root of what is positive, and 0 with derivative 0 elsewhere."""
    x = jnp.asarray(x)
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)
