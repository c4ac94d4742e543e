r"""The function of a linear attention layer, in terms of the products of its weights; the weights themselves have a free scale and basis.

A causal layer without softmax depends on its four matrices per head only through $Q_h = W_{h,q}^\top W_{h,k}$ (row: channel of the query's token, column:
channel of the key's token) and $V_h = W_{h,v}^\top W_{h,o}^\top$ (row: channel read, column: channel written):

$$y_t = \sum_h \sum_{t' \le t} (e_t^\top Q_h\, e_{t'})\, V_h^\top e_{t'}.$$

If tokens consist of blocks of $n$ channels, each a separate vector, an algorithm such as gradient descent has blocks that are multiples of the identity.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (arXiv 2309.05858), Sec. 4.2 and Fig. 4 ("CompressedAlg").
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixer import Mixer
from mesocosm.numerics.edges import ratio, root
from mesocosm.numerics.precision import full_precision

Scalar = float | Float[Array, ""]


class ProductAttention(Mixer):
    r"""Causal linear attention with the products as parameters, $y_t = \sum_h \sum_{t' \le t} (e_t^\top Q_h\, e_{t'})\, V_h^\top e_{t'}$.

    A sequence mixer without the residual connection; it can replace the layer from which the products were taken.

    Attributes:
        query_key: $Q_h$, row = query channel, column = key channel.
        value_output: $V_h$, row = channel read, column = channel written.
    """

    query_key: Float[Array, "heads dim dim"]
    value_output: Float[Array, "heads dim dim"]

    @classmethod
    @full_precision
    def from_factors(
        cls,
        query: Float[Array, "heads key_dim dim"],
        key: Float[Array, "heads key_dim dim"],
        value: Float[Array, "heads value_dim dim"],
        output: Float[Array, "heads dim value_dim"],
    ) -> "ProductAttention":
        r"""Multiply the projections of the layer $y_t = \sum_h W_{h,o} \sum_{t' \le t} (W_{h,v} e_{t'}) \langle W_{h,k} e_{t'}, W_{h,q} e_t \rangle$."""
        return cls(jnp.einsum("hai,haj->hij", query, key), jnp.einsum("hvi,hjv->hij", value, output))

    @full_precision
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to outputs; `key` is not used."""
        scores = jnp.tril(jnp.einsum("ti,hij,sj->hts", x, self.query_key, x))
        return jnp.einsum("hts,si,hij->tj", scores, x, self.value_output)


class BlockScalars(NamedTuple):
    """One number per block of the products, which describes an algorithm in $2 (D/n)^2$ numbers per head.

    Attributes:
        query_key: row = block of the query's token, column = block of the key's token.
        value_output: row = block read, column = block written.
    """

    query_key: Float[Array, "heads blocks blocks"]
    value_output: Float[Array, "heads blocks blocks"]


class Pattern(NamedTuple):
    """The blocks, counted from 0, that gradient descent uses.

    Attributes:
        query: the block of the query's token used as the query, $s_t$.
        key: the block of the key's token used as the key, $s_{t'-1}$.
        value: the block that is read, $s_{t'}$.
        output: the block that is written, the prediction.
    """

    query: int
    key: int
    value: int
    output: int


CONSTRUCTED_TOKENS = Pattern(query=2, key=3, value=2, output=0)
"""The pattern for tokens $[0; s_t; s_t; s_{t-1}]$ whose first two blocks are zeroed before the layer, so that $s_t$ appears only once."""


@full_precision
def compress(products: ProductAttention, block_size: int) -> BlockScalars:
    r"""Replace each block of the products by the mean of its diagonal, $\mathrm{tr}(B) / n$, the nearest multiple of the identity."""
    diagonal = jnp.eye(block_size) / block_size

    def traces(matrices: Float[Array, "heads dim dim"]) -> Float[Array, "heads blocks blocks"]:
        return jnp.einsum("hirjs,rs->hij", _blocks(matrices, block_size), diagonal)

    return BlockScalars(traces(products.query_key), traces(products.value_output))


def expand(scalars: BlockScalars, block_size: int) -> ProductAttention:
    """Make the layer whose blocks are these multiples of the identity: `compress(expand(scalars, n), n)` equals `scalars`."""
    identity = jnp.eye(block_size)
    return ProductAttention(jnp.kron(scalars.query_key, identity[None]), jnp.kron(scalars.value_output, identity[None]))


def interpolate(first: ProductAttention, second: ProductAttention, weight: Scalar = 0.5) -> ProductAttention:
    r"""Average two layers head by head, $(1 - w)\, \text{first} + w\, \text{second}$.

    This averages the products; the factors are not unique, so their average would be meaningless.
    """
    if first.query_key.shape != second.query_key.shape:
        raise ValueError(f"cannot interpolate between products of shape {first.query_key.shape} and {second.query_key.shape}")
    return ProductAttention((1 - weight) * first.query_key + weight * second.query_key, (1 - weight) * first.value_output + weight * second.value_output)


def gradient_descent_scalars(step_size: Scalar, pattern: Pattern = CONSTRUCTED_TOKENS, blocks: int = 4) -> BlockScalars:
    r"""One head that takes a step of gradient descent from $\Phi_0 = 0$ on the squared error in context (Prop. 1); expand it to a layer.

    With constructed tokens it writes $\eta \sum_{t' \le t} s_{t'} \langle s_{t'-1}, s_t \rangle$ into the output block.
    """
    zeros = jnp.zeros((1, blocks, blocks))
    return BlockScalars(zeros.at[0, pattern.query, pattern.key].set(1.0), zeros.at[0, pattern.value, pattern.output].set(step_size))


def effective_step_size(scalars: BlockScalars, pattern: Pattern = CONSTRUCTED_TOKENS) -> Float[Array, ""]:
    r"""Read the step size of gradient descent off the layer, $\eta = \sum_h Q_h[\text{query}, \text{key}]\, V_h[\text{value}, \text{output}]$."""
    return jnp.sum(scalars.query_key[:, pattern.query, pattern.key] * scalars.value_output[:, pattern.value, pattern.output])


class PatternStrength(NamedTuple):
    """How close a layer is to the pattern of gradient descent.

    Attributes:
        off_pattern: norm of the largest other block, as a fraction of that of the pattern's block; 0 for gradient descent.
        identity: cosine between the pattern's block and the identity; 1 for gradient descent.
    """

    off_pattern: Float[Array, ""]
    identity: Float[Array, ""]


@full_precision
def pattern_strength(products: ProductAttention, block_size: int, pattern: Pattern = CONSTRUCTED_TOKENS) -> PatternStrength:
    r"""Compare a layer's whole weight tensor with the pattern of gradient descent.

    A layer is determined by $\mathcal{T} = \sum_h Q_h \otimes V_h$; unlike the matrices of a head, $\mathcal{T}$ does not change when a head's scale moves
    from $Q_h$ to $V_h$ or when heads mix. Its block $(i, j, k, l)$ is $\sum_h Q_h^{ij} \otimes V_h^{kl}$; gradient descent is the one block
    (query, key, value, output), equal to $\eta\, I \otimes I$. Norms are Frobenius norms, so that blocks of zero trace count as well.
    """
    query_key, value_output = _blocks(products.query_key, block_size), _blocks(products.value_output, block_size)
    # |sum_h Q_h (x) V_h|^2 = sum_hg <Q_h, Q_g> <V_h, V_g>, so Gram matrices over heads are enough.
    gram_query_key = jnp.einsum("hirjs,girjs->ijhg", query_key, query_key)
    gram_value_output = jnp.einsum("hkrls,gkrls->klhg", value_output, value_output)
    squares = jnp.einsum("ijhg,klhg->ijkl", gram_query_key, gram_value_output)
    norms = root(squares)  # rounding may leave a small negative square
    main = norms[*pattern]
    overlap = block_size * effective_step_size(compress(products, block_size), pattern)  # <T, I (x) I> / |I (x) I|
    return PatternStrength(norms.at[*pattern].set(0.0).max() / main, ratio(overlap, main))


def _blocks(matrices: Float[Array, "heads dim dim"], block_size: int) -> Float[Array, "heads blocks block_size blocks block_size"]:
    heads, dim, _ = matrices.shape
    if dim % block_size:
        raise ValueError(f"{dim} channels cannot be cut into blocks of {block_size}")
    return matrices.reshape(heads, dim // block_size, block_size, dim // block_size, block_size)
