"""Random seeds as inputs: four ways to show a JAX key to a model that reads tokens, and a model without a choice of seed.

Reference: von Oswald et al., "Learning randomized algorithms with transformers" (2025), App. A.2.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt32


class SharedBits(eqx.Module):
    """`size` fair bits, the same ones appended to every token."""

    size: int = eqx.field(static=True, default=10)

    def __call__(self, tokens: Float[Array, "time dim"], *, key: PRNGKeyArray) -> Float[Array, "time wider"]:
        """Append the bits."""
        bits = jax.random.bernoulli(key, shape=(self.size,)).astype(tokens.dtype)
        return jnp.concatenate([tokens, jnp.broadcast_to(bits, (tokens.shape[0], self.size))], axis=1)


class TokenNoise(eqx.Module):
    """`size` numbers uniform on [0, 1) for each token, independent and appended."""

    size: int = eqx.field(static=True, default=1)

    def __call__(self, tokens: Float[Array, "time dim"], *, key: PRNGKeyArray) -> Float[Array, "time wider"]:
        """Append the noise."""
        return jnp.concatenate([tokens, jax.random.uniform(key, (tokens.shape[0], self.size), tokens.dtype)], axis=1)


class SlotPermutation(eqx.Module):
    r"""A slot for each of `keys` keys, $\pi(i)$ with a uniform permutation $\pi$, appended as a one-hot vector.

    The first `keys` channels of a token are its key, one-hot; tokens with the same key get the same slot.
    """

    keys: int = eqx.field(static=True)

    def __call__(self, tokens: Float[Array, "time dim"], *, key: PRNGKeyArray) -> Float[Array, "time wider"]:
        """Append the slots."""
        slots = jax.random.permutation(key, jnp.eye(self.keys, dtype=tokens.dtype))
        return jnp.concatenate([tokens, tokens[:, : self.keys] @ slots], axis=1)


class NoiseToken(eqx.Module):
    """One more token in front, with N(0, 1) entries."""

    def __call__(self, tokens: Float[Array, "time dim"], *, key: PRNGKeyArray) -> Float[Array, "later dim"]:
        """Prepend the token."""
        return jnp.concatenate([jax.random.normal(key, (1, tokens.shape[1]), tokens.dtype), tokens])


class Seeded(eqx.Module):
    """A model whose tokens carry the seed: `model(encoding(tokens, key=key), ...)`.

    Attributes:
        model: (tokens, ...) -> output.
        encoding: (tokens, key) -> tokens, one of the ways above or your own.
    """

    model: Any
    encoding: Any

    def __call__(self, tokens: Float[Array, "time dim"], *rest: Any, key: PRNGKeyArray) -> Any:
        """Run the model under a seed."""
        return self.model(self.encoding(tokens, key=key), *rest)


class OneSeed(eqx.Module):
    """A deterministic control: the model under one seed, drawn once, whatever key it is called with."""

    model: Any
    seed: UInt32[Array, " words"]

    @classmethod
    def create(cls, model: Any, *, key: Key[Array, ""]) -> OneSeed:
        """The model under the seed `key`, which is kept as plain numbers, no parameter."""
        return cls(model, jax.random.key_data(key))

    def __call__(self, *inputs: Any, key: PRNGKeyArray | None = None) -> Any:
        """Run the model; `key` is ignored."""
        return self.model(*inputs, key=jax.random.wrap_key_data(self.seed))
