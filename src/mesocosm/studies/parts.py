"""Builds and tests the part in a study's slot: a mixer, one of ours or a user's, or a user's seeded model, named as `part_names` describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixer import Mixer
from mesocosm.numerics.programs import filter_jit
from mesocosm.studies.part_names import find_constructor, read_name

MIXER = (
    "a mixer is an equinox module that maps tokens (time, dim) to tokens of the same shape and dtype, built by Class.create(dim, key=key), Class(dim, key=key) "
    "or a function (dim, *, key)"
)

MODEL = (
    "a model is an equinox module that maps tokens (time, channels) and a seed, model(tokens, key=key), to logits (time, outputs), built by "
    "Class.create(channels, outputs=outputs, key=key), Class(channels, outputs=outputs, key=key) or a function (channels, *, outputs, key)"
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
    call = filter_jit(lambda layer, tokens: layer(tokens))
    key, later = jax.random.split(jax.random.key(0))
    tokens = jax.random.normal(key, (length, dim))
    layer, out = _try(text, {}, tokens, dim, call, MIXER if ":" in text else "")
    if not causal:
        return
    half = length // 2
    changed = call(layer, tokens.at[half:].set(jax.random.normal(later, (length - half, dim))))
    if not np.allclose(out[:half], changed[:half], rtol=1e-4, atol=1e-5):
        raise ValueError(f"{text} does not fit: its output at one position depends on later tokens, which are what the task asks it to predict")


def user_model(text: str, channels: int, outputs: int, key: PRNGKeyArray) -> Any:
    """Build the seeded model that the user names, for tokens with `channels` and logits with `outputs` entries."""
    build, options = find_constructor(text)
    return build(channels, outputs=outputs, key=key, **options)


def check_model(text: str, channels: int, outputs: int, length: int) -> None:
    """Build the seeded model and call it under a seed.

    Raises:
        ValueError: it cannot be found, built or called, its output has another shape or dtype than logits have, or is not finite; the message says which.
    """
    if ":" not in read_name(text).path:
        raise ValueError(f"{text} is not a model: name yours as package.module:Name; {MODEL}")
    key, seed = jax.random.split(jax.random.key(0))
    tokens = jax.random.normal(key, (length, channels))
    _try(text, {"outputs": outputs}, tokens, outputs, filter_jit(lambda model, tokens: model(tokens, key=seed)), MODEL)


def _try(text: str, sizes: Mapping[str, int], tokens: Array, outputs: int, call: Callable[[Any, Array], Any], form: str) -> tuple[Any, Array]:
    """Build the part and call it with tokens: the part, and its output of width `outputs`. `form` says in an error how a part is built and called."""
    build, options = find_constructor(text)
    hint = f"; {form}" if form else ""
    length, dim = tokens.shape
    try:
        part = build(dim, key=jax.random.key(0), **sizes, **options)
    except Exception as error:
        raise ValueError(f"{text} cannot be built for tokens of width {dim}: {_line(error)}{'' if isinstance(error, ValueError) else hint}") from error
    if not isinstance(part, eqx.Module):
        raise ValueError(f"{text} is not an equinox module (it is a {type(part).__name__}){hint}")
    try:
        out = call(part, tokens)
    except Exception as error:
        raise ValueError(f"{text} cannot be called with tokens {tokens.dtype}{list(tokens.shape)}: {_line(error)}{hint}") from error
    if not isinstance(out, jax.Array) or (out.shape, out.dtype) != ((length, outputs), tokens.dtype):
        found = f"{out.dtype}{list(out.shape)}" if isinstance(out, jax.Array) else type(out).__name__
        raise ValueError(f"{text} does not fit: it gives {found} for tokens {tokens.dtype}{list(tokens.shape)}{hint}")
    if not np.isfinite(out).all():
        raise ValueError(f"{text} does not fit: the output of a new one for normally distributed tokens is not finite")
    return part, out


def _line(error: Exception) -> str:
    """The first line of an error's message, and its type unless it is a ValueError, whose message is for the user."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0].strip().rstrip(".") if isinstance(error, ValueError) else f"{type(error).__name__}: {lines[0].strip()}"
