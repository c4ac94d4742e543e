r"""How a layer of attention sees positions: by channels beside the tokens, by rotating queries and keys, or by a bias on the scores.

References: Vaswani et al., "Attention is all you need" (2017), sinusoids; Su et al., "RoFormer: Enhanced transformer with rotary position embedding" (2021);
Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer" (2020), relative bias.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray


def sinusoidal_positions(positions: Int[Array, "*rows"], dim: int) -> Float[Array, "*rows dim"]:
    r"""$\sin(p\,\omega_i)$ and $\cos(p\,\omega_i)$ with $\omega_i = 10000^{-2i/\mathrm{dim}}$, sines in the first half of the channels, cosines in the
    second.

    Raises:
        ValueError: `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"Sinusoidal positions come in pairs of channels: dim must be even, got {dim}.")
    angles = positions[..., None] * 10000.0 ** (-jnp.arange(0, dim, 2) / max(dim, 1))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Position(eqx.Module):
    """How an attention layer sees positions. Subclasses override `extend` with `channels`, or `rotate`, or `bias`; by default, these do nothing."""

    def extend(self, x: Float[Array, "*time dim"], positions: Int[Array, "*time"]) -> Float[Array, "*time wider"]:
        """Add channels to the input of the query and key maps."""
        return x

    def rotate(self, heads: Float[Array, "*time heads n"], positions: Int[Array, "*time"]) -> Float[Array, "*time heads n"]:
        """Transform queries or keys, after the query and key maps."""
        return heads

    def bias(self, queries: Int[Array, " q"], keys: Int[Array, " k"]) -> Float[Array, "heads q k"] | None:
        """A term to add to the scores of queries and keys at these positions, before normalisation."""
        return None

    def channels(self) -> int:
        """Number of channels that `extend` adds."""
        return 0


class SinusoidalChannels(Position):
    """`dim` sinusoidal channels beside the input of the query and key maps, but not of the value map."""

    dim: int = eqx.field(static=True)

    @classmethod
    def create(cls, heads: int, *, dim: int = 16, key: PRNGKeyArray | None = None) -> "SinusoidalChannels":
        """It has no parameters."""
        return cls(dim)

    def extend(self, x: Float[Array, "*time dim"], positions: Int[Array, "*time"]) -> Float[Array, "*time wider"]:
        """Append the channels."""
        return jnp.concatenate([x, sinusoidal_positions(positions, self.dim).astype(x.dtype)], axis=-1)

    def channels(self) -> int:
        """`dim`."""
        return self.dim


class Rotary(Position):
    r"""Rotates the pairs of channels $(i, i + m/2)$ of queries and keys at position p by $p\,\omega_i$, $\omega_i = \mathrm{base}^{-2i/m}$.

    Scores then depend on distances alone. m is `size`, or all channels if that is None; channels from m on stay as they are.
    """

    base: float = eqx.field(static=True, default=10000.0)
    size: int | None = eqx.field(static=True, default=None)

    @classmethod
    def create(cls, heads: int, *, base: float = 10000.0, size: int | None = None, key: PRNGKeyArray | None = None) -> "Rotary":
        """It has no parameters."""
        return cls(base, size)

    def rotate(self, heads: Float[Array, "*time heads n"], positions: Int[Array, "*time"]) -> Float[Array, "*time heads n"]:
        """Rotate; angles are computed in float32 or wider.

        Raises:
            ValueError: the number of rotated channels is odd or exceeds the size of a head.
        """
        size = heads.shape[-1] if self.size is None else self.size
        if size % 2 or size > heads.shape[-1]:
            raise ValueError(f"Rotary positions turn pairs of channels: their number must be even and at most {heads.shape[-1]}, got {size}.")
        dtype = jnp.promote_types(heads.dtype, jnp.float32)
        angles = positions[..., None, None].astype(dtype) * self.base ** (-jnp.arange(0, size, 2, dtype=dtype) / max(size, 1))
        first, second = jnp.split(heads[..., :size].astype(dtype), 2, axis=-1)
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(heads.dtype)
        return jnp.concatenate([turned, heads[..., size:]], axis=-1)


class RelativeBias(Position):
    r"""A learned bias per head and bucket of the distance n = q - k.

    With m buckets for one side, each distance below m / 2 has a bucket of its own; larger distances share buckets, logarithmically up to `max_distance`, and
    the last bucket holds the rest. By default there is one side: keys after the query share the bucket of distance 0, as in the decoder of T5. With
    `two_sided`, each side has half of the buckets, as in the encoder of T5.
    """

    table: Float[Array, "heads buckets"]
    max_distance: int = eqx.field(static=True, default=128)
    two_sided: bool = eqx.field(static=True, default=False)

    @classmethod
    def create(cls, heads: int, *, buckets: int = 32, max_distance: int = 128, two_sided: bool = False, key: PRNGKeyArray) -> "RelativeBias":
        """A table with entries N(0, 1 / buckets).

        Raises:
            ValueError: there are too few buckets, or the distance does not exceed the buckets that hold one distance each.
        """
        exact = buckets // (4 if two_sided else 2)
        if exact < 1 or max_distance <= exact:
            raise ValueError(
                f"{buckets} buckets up to distance {max_distance}: at least {4 if two_sided else 2} buckets and a distance above {exact} are needed."
            )
        return cls(jax.random.normal(key, (heads, buckets)) / math.sqrt(buckets), max_distance, two_sided)

    def bias(self, queries: Int[Array, " q"], keys: Int[Array, " k"]) -> Float[Array, "heads q k"]:
        """Look up the bucket of every pair."""
        distance, (heads, buckets) = queries[:, None] - keys[None, :], self.table.shape
        half = buckets // 2
        bucket = self._bucket(jnp.abs(distance), half) + half * (distance < 0) if self.two_sided else self._bucket(distance, buckets)
        # XLA lays `table[:, bucket]` out with the heads last, and every later pass over the scores would read it across.
        return self.table.reshape(-1)[buckets * jnp.arange(heads)[:, None, None] + bucket]

    def _bucket(self, distance: Int[Array, "q k"], buckets: int) -> Int[Array, "q k"]:
        """The distances' buckets, from a table that is computed in float32 as in T5."""
        exact, distances = buckets // 2, np.arange(self.max_distance, dtype=np.float32)
        ratio = np.log(np.maximum(distances, 1) / np.float32(exact) + np.finfo(np.float32).eps) / np.float32(math.log(self.max_distance / exact))
        far = np.minimum(exact + (ratio * (buckets - exact)).astype(np.int32), buckets - 1)
        table = jnp.asarray(np.where(distances < exact, distances.astype(np.int32), far))
        return jnp.where(distance < self.max_distance, table[jnp.clip(distance, 0, self.max_distance - 1)], buckets - 1)
