"""Builds and tests the layer in a study's slot for a mixer: one of ours or a user's, named as `part_names` describes."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixer import Mixer
from mesocosm.numerics.programs import filter_jit
from mesocosm.studies.part_names import find_constructor

MIXER = (
    "a mixer is an equinox module that maps tokens (time, dim) to tokens of the same shape and dtype, built by Class.create(dim, key=key), Class(dim, key=key) "
    "or a function (dim, *, key)"
)


class UserMixer(Mixer):
    """Wraps a user's layer in our interface; the layer only needs `__call__`."""

    layer: Any

    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Return the layer's output."""
        return self.layer(x)


def user_mixer(text: str, dim: int, key: PRNGKeyArray) -> UserMixer:
    """Build the layer that the user names, for tokens of width `dim`."""
    build, options = find_constructor(text)
    return UserMixer(build(dim, key=key, **options))


def check_mixer(text: str, dim: int, length: int, *, causal: bool = True) -> None:
    """Build the layer and call it.

    `causal` is whether the task asks it to predict later tokens, which it then must not see.

    Raises:
        ValueError: it cannot be found, built or called, it changes shape or dtype, its output is not finite, or it is not causal but must be;
            the message says which.
    """
    build, options = find_constructor(text)
    hint = f"; {MIXER}" if ":" in text else ""
    key, later = jax.random.split(jax.random.key(0))
    tokens = jax.random.normal(key, (length, dim))
    try:
        layer = build(dim, key=key, **options)
    except Exception as error:
        raise ValueError(f"{text} cannot be built for tokens of width {dim}: {_line(error)}{'' if isinstance(error, ValueError) else hint}") from error
    if not isinstance(layer, eqx.Module):
        raise ValueError(f"{text} is not an equinox module (it is a {type(layer).__name__}){hint}")
    call = filter_jit(lambda layer, tokens: layer(tokens))
    try:
        out = call(layer, tokens)
    except Exception as error:
        raise ValueError(f"{text} cannot be called with tokens {tokens.dtype}{list(tokens.shape)}: {_line(error)}{hint}") from error
    if not isinstance(out, jax.Array) or (out.shape, out.dtype) != (tokens.shape, tokens.dtype):
        found = f"{out.dtype}{list(out.shape)}" if isinstance(out, jax.Array) else type(out).__name__
        raise ValueError(f"{text} does not fit: it gives {found} for tokens {tokens.dtype}{list(tokens.shape)}{hint}")
    if not np.isfinite(out).all():
        raise ValueError(f"{text} does not fit: a new layer's output for normally distributed tokens is not finite")
    if not causal:
        return
    half = length // 2
    changed = call(layer, tokens.at[half:].set(jax.random.normal(later, (length - half, dim))))
    if not np.allclose(out[:half], changed[:half], rtol=1e-4, atol=1e-5):
        raise ValueError(f"{text} does not fit: its output at one position depends on later tokens, which are what the task asks it to predict")


def _line(error: Exception) -> str:
    """The first line of an error's message, and its type unless it is a ValueError, whose message is for the user."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0].strip().rstrip(".") if isinstance(error, ValueError) else f"{type(error).__name__}: {lines[0].strip()}"
