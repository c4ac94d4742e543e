"""The maps that multi-head layers share."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixer import StreamingMixer


class Projections(StreamingMixer):
    r"""The maps that multi-head layers share: $q_{h,t} = W_{h,q} e_t$, likewise for keys and values, and the output $\sum_h P_h o_{h,t}$.

    `place_dim` is `dim`, plus the channels that a position part appends to the input of the query and key maps.
    """

    query: Float[Array, "heads key_dim place_dim"]
    key: Float[Array, "heads key_dim place_dim"]
    value: Float[Array, "heads value_dim dim"]
    output: Float[Array, "heads dim value_dim"]

    def __check_init__(self):
        heads = [w.shape[0] for w in (self.query, self.key, self.value, self.output)]
        if len(set(heads)) > 1:
            raise ValueError(f"Query, key, value and output have {heads} heads; they must have the same number.")
        if self.query.shape[1] != self.key.shape[1]:
            raise ValueError(f"Queries have {self.query.shape[1]} channels, keys {self.key.shape[1]}.")
        if self.output.shape[2] != self.value.shape[1]:
            raise ValueError(f"Values have {self.value.shape[1]} channels, the output map reads {self.output.shape[2]}.")

    def split(self, x: Float[Array, "*time dim"]) -> tuple[Float[Array, "*time heads n"], Float[Array, "*time heads n"], Float[Array, "*time heads m"]]:
        """Queries, keys and values of every head."""
        return project(x, self.query), project(x, self.key), project(x, self.value)

    def merge(self, heads: Float[Array, "*time heads value_dim"]) -> Float[Array, "*time dim"]:
        """Map the outputs of the heads back and add them up."""
        return jnp.einsum("...hv,hdv->...d", heads, self.output)


def project(x: Float[Array, "*time dim"], weights: Float[Array, "heads n dim"], dtype: DTypeLike | None = None) -> Float[Array, "*time heads n"]:
    """Apply the map of every head, with sums and result in `dtype`."""
    return jnp.einsum("...d,hnd->...hn", x, weights, preferred_element_type=dtype)


DEFAULT_HEADS = 4


def head_sizes(dim: int, heads: int | None, key_dim: int | None, value_dim: int | None) -> tuple[int, int, int]:
    """Number of heads, and sizes of their keys and values.

    Args:
        dim: width of the tokens.
        heads: default: 4; if 4 heads do not divide `dim` and `key_dim` is not given, 3, 2 or 1.
        key_dim: default: dim / heads.
        value_dim: default: `key_dim`.

    Raises:
        ValueError: `heads`, `key_dim` or `value_dim` is below 1, or `heads` does not divide `dim` and `key_dim` is not given.
    """
    if heads is None:
        heads = DEFAULT_HEADS if key_dim is not None else max(n for n in range(1, DEFAULT_HEADS + 1) if dim % n == 0)
    if heads < 1:
        raise ValueError(f"A layer has at least one head, not {heads}.")
    if key_dim is None:
        if dim % heads:
            raise ValueError(f"{dim} channels cannot be split into {heads} heads of the same size; give key_dim, or another number of heads.")
        key_dim = dim // heads
    value_dim = key_dim if value_dim is None else value_dim
    if min(key_dim, value_dim) < 1:
        raise ValueError(f"A head has keys and values of size 1 or more, not {key_dim} and {value_dim}.")
    return heads, key_dim, value_dim


def random_projections(
    dim: int, heads: int, key_dim: int, value_dim: int, std: float | None, key: PRNGKeyArray, *, position_dim: int = 0
) -> tuple[
    Float[Array, "heads key_dim place_dim"], Float[Array, "heads key_dim place_dim"], Float[Array, "heads value_dim dim"], Float[Array, "heads dim value_dim"]
]:
    """Query, key, value and output maps with entries N(0, std^2).

    If `std` is None, entries are N(0, 1 / fan in), where the output map's fan in is over all heads, and the key map starts as a copy of the query map. Tokens
    then look at tokens like themselves from the first step, and recall is learned several times sooner (Trockman and Kolter, "Mimetic initialization of
    self-attention layers", arXiv 2305.09828, start close to this).
    """
    shapes = ((heads, key_dim, dim + position_dim), (heads, key_dim, dim + position_dim), (heads, value_dim, dim), (heads, dim, value_dim))
    fans = (dim + position_dim, dim + position_dim, dim, heads * value_dim)
    query, key_map, value, output = (
        (fan**-0.5 if std is None else std) * jax.random.normal(k, shape) for k, shape, fan in zip(jax.random.split(key, 4), shapes, fans, strict=True)
    )
    return query, jnp.copy(query) if std is None else key_map, value, output
