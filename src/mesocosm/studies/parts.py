"""Loads and tests a user's part for a study's slot, named on the command line as `package.module:Class`."""

from __future__ import annotations

import importlib
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixer import Mixer

MIXER = "a mixer is an equinox module, built as Class(dim, key=key), that maps tokens (time, dim) to tokens of the same shape and dtype"


def part(path: str) -> Any:
    """Import the object at `package.module:Name`.

    Raises:
        ValueError: it cannot be imported.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ValueError(f"{path!r} is no part: write package.module:Class")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ValueError(f"{path}: the module {module} cannot be imported ({type(error).__name__}: {error})") from error
    if not hasattr(found, name):
        raise ValueError(f"{path}: the module {module} has no {name}")
    return getattr(found, name)


class UserMixer(Mixer):
    """Wraps a user's layer in our interface; the layer only needs `__call__`."""

    layer: Any

    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Return the layer's output."""
        return self.layer(x)


def user_mixer(path: str, dim: int, key: PRNGKeyArray) -> UserMixer:
    """Build a layer of the class at `path`, for tokens of width `dim`."""
    return UserMixer(part(path)(dim, key=key))


def check_mixer(path: str, dim: int, length: int) -> None:
    """Build the layer and call it once.

    Raises:
        ValueError: it cannot be built or called, it changes shape or dtype, its output is not finite, or it is not causal; the message says which.
    """
    key, later = jax.random.split(jax.random.key(0))
    kind = part(path)
    if not (isinstance(kind, type) and issubclass(kind, eqx.Module)):
        raise ValueError(f"{path} is no equinox module; {MIXER}")
    tokens = jax.random.normal(key, (length, dim))
    try:
        out = (layer := user_mixer(path, dim, key).layer)(tokens)
    except Exception as error:
        raise ValueError(f"{path} does not fit: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}; {MIXER}") from error
    if not isinstance(out, jax.Array) or (out.shape, out.dtype) != (tokens.shape, tokens.dtype):
        found = f"{out.dtype}{list(out.shape)}" if isinstance(out, jax.Array) else type(out).__name__
        raise ValueError(f"{path} does not fit: it gives {found} for tokens {tokens.dtype}{list(tokens.shape)}; {MIXER}")
    if not np.isfinite(out).all():
        raise ValueError(f"{path} does not fit: a new layer's output for normally distributed tokens is not finite")
    half = length // 2
    changed = layer(tokens.at[half:].set(jax.random.normal(later, (length - half, dim))))
    if not np.allclose(out[:half], changed[:half], rtol=1e-4, atol=1e-5):
        raise ValueError(f"{path} does not fit: its output at one position depends on later tokens, which are what the task asks it to predict")
