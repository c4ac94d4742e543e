r"""Linear attention as a gated linear RNN, with explicit weights.

A layer $y_t = \sum_h A_h X_t M_h x_t$ with $X_t = \sum_{s \le t} x_s x_s^\top$, $A_h = P_h W_{V,h}$ and $M_h = W_{K,h}^\top W_{Q,h}$ needs neurons that never
forget ($\lambda = 1$) for entries of $X_t$, or for sums of products of keys and values, and neurons without memory ($\lambda = 0$) for the queries;
the output gate multiplies the two kinds.

Reference: Zucchet et al., "Gated recurrent neural networks discover attention" (arXiv 2309.01775), Sec. 3; the compact and minimal forms are derived
here.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from mesocosm.nn.mixer import Mixer
from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.nn.recurrences.decays import FreeDecay
from mesocosm.nn.recurrences.gated_linear_rnn import GatedLinearRNN
from mesocosm.nn.recurrences.gates import BilinearGate, SideGate

RANK_TOLERANCE = 1e-9


def full_construction(attention: LinearAttention) -> GatedLinearRNN:
    r"""One memory neuron per product of a value and a key, and one query neuron per query: $d_v d_k + d_k$ per head; needs no invertibility.

    It has $O(d^4)$ parameters: for each of the $d_v d_k$ products, the output gate has a row with one entry per neuron.
    """
    heads, value_dim, dim = attention.value.shape
    key_dim = attention.key.shape[1]
    values = jnp.repeat(attention.value, key_dim, axis=1).reshape(-1, dim)
    keys = jnp.tile(attention.key, (1, value_dim, 1)).reshape(-1, dim)
    queries = attention.query.reshape(-1, dim)
    memory = np.arange(len(values))
    asked = np.concatenate([h * key_dim + np.tile(np.arange(key_dim), value_dim) for h in range(heads)])
    readout = jnp.repeat(jnp.swapaxes(attention.output, 0, 1), key_dim, axis=2).reshape(attention.output.shape[1], -1)
    return _assemble(values, keys, queries, np.eye(len(memory))[memory], asked, readout)


def compact_construction(attention: LinearAttention) -> GatedLinearRNN:
    r"""The $d(d+1)/2$ distinct entries of $X_t$ and the queries $M_h x_t$, $d$ per head: $d(d+3)/2$ neurons for one head, $d^2$ products per head."""
    heads, _, dim = attention.value.shape
    i, j = np.triu_indices(dim)
    one = jnp.eye(dim, dtype=attention.value.dtype)
    place = np.zeros((dim, dim), int)
    place[i, j] = place[j, i] = np.arange(len(i))
    before, after = _maps(attention)
    reads = np.tile(np.eye(len(i))[place.reshape(-1)], (heads, 1))
    asked = np.concatenate([h * dim + np.tile(np.arange(dim), dim) for h in range(heads)])
    readout = jnp.repeat(jnp.swapaxes(before, 0, 1), dim, axis=2).reshape(before.shape[1], -1)
    return _assemble(one[i], one[j], after.reshape(-1, dim), reads, asked, readout)


def minimal_construction(attention: LinearAttention) -> GatedLinearRNN:
    r"""As many memory neurons as the space of needed quadratic forms $x \mapsto (v \cdot x)(k \cdot x)$ has dimensions, see `minimal_count`.

    v runs through a basis of the row space of $A_h$, k through a basis of the column space of $M_h$. A largest independent set of forms is kept; the output
    gate combines them into the others. Computed on the host, in the precision of the weights.
    """
    parts = thin_heads(attention)
    forms = independent_forms(parts)
    queries = np.concatenate([part.asked for part in parts])
    readout = np.concatenate([np.repeat(part.written, len(part.columns), axis=1) for part in parts], axis=1)
    first = np.cumsum([0, *(len(part.columns) for part in parts)])
    asked = np.concatenate([start + np.tile(np.arange(len(part.columns)), len(part.rows)) for start, part in zip(first, parts, strict=False)])
    dtype = attention.value.dtype
    left, right, queries = (jnp.asarray(array, dtype) for array in (forms.left, forms.right, queries))
    return _assemble(left, right, queries, forms.combinations, asked, jnp.asarray(readout, dtype))


def side_gated_construction(attention: LinearAttention) -> GatedLinearRNN:
    r"""No query neurons: the output gate reads the query from the token, so the neurons hold only the $d(d+1)/2$ entries of $X_t$."""
    compact = compact_construction(attention)
    assert isinstance(compact.input, BilinearGate)
    assert isinstance(compact.output, BilinearGate)
    dim = attention.value.shape[2]
    memory = dim * (dim + 1) // 2
    queries = compact.output.right[:, memory:] @ compact.input.left[memory:]
    return GatedLinearRNN(
        BilinearGate(compact.input.left[:memory], compact.input.right[:memory]),
        FreeDecay(compact.decay()[:memory]),
        SideGate(compact.output.left[:, :memory], queries),
        compact.readout,
    )


def as_gated_rnn(attention: Mixer, construction: Callable[[LinearAttention], GatedLinearRNN] = compact_construction) -> GatedLinearRNN:
    """The gated linear RNN with the same outputs as a linear attention layer, for every input.

    Args:
        attention: a `LinearAttention` layer with any number of heads.
        construction: `compact_construction`, `full_construction`, `minimal_construction` or `side_gated_construction`.

    Raises:
        TypeError: another layer, such as softmax attention, which no such RNN computes.
    """
    if not isinstance(attention, LinearAttention):
        raise TypeError(f"only linear attention has an equivalent gated linear RNN, not {type(attention).__name__}")
    return construction(attention)


def full_count(value_dim: int, key_dim: int) -> int:
    """Neurons of the full construction, one head."""
    return value_dim * key_dim + key_dim


def compact_count(dim: int) -> int:
    """Neurons of the compact construction, one head."""
    return dim * (dim + 3) // 2


def minimal_count(attention: LinearAttention) -> int:
    r"""$r_v r_k - s(s-1)/2 + r_k$ for one head, $r_v = \mathrm{rank}\, A$, $r_k = \mathrm{rank}\, M$ and $s = \dim(\mathrm{rowspace}\, A \cap
    \mathrm{colspace}\, M)$; for several heads, the rank of all needed forms together, and the $r_k$ of each."""
    parts = thin_heads(attention)
    return len(independent_forms(parts).left) + sum(len(part.columns) for part in parts)


class ThinHead(NamedTuple):
    """One head restricted to its row and column spaces: $A X M x = \\sum_{ab} \\mathrm{written}_{:,a} (v_a^\\top X k_b)(\\mathrm{asked}_b \\cdot x)$.

    rows: the v, an orthonormal basis of the row space of A. columns: the k, one of the column space of M. written: A v. asked: k^T M.
    """

    rows: Float64[np.ndarray, "rank_v dim"]
    columns: Float64[np.ndarray, "rank_k dim"]
    written: Float64[np.ndarray, "out rank_v"]
    asked: Float64[np.ndarray, "rank_k dim"]


class Forms(NamedTuple):
    """Independent quadratic forms $(v \\cdot x)(k \\cdot x)$, and all needed forms as combinations of them.

    left, right: v and k of the kept forms. combinations: one row per needed form. condition: condition number of the kept forms.
    """

    left: Float64[np.ndarray, "kept dim"]
    right: Float64[np.ndarray, "kept dim"]
    combinations: Float64[np.ndarray, "needed kept"]
    condition: float


def independent_forms(parts: list[ThinHead]) -> Forms:
    """Find a largest independent set of the forms of all heads by pivoted QR; ranks are relative to the largest singular value."""
    from scipy.linalg import lstsq, qr

    left = np.concatenate([np.repeat(part.rows, len(part.columns), axis=0) for part in parts])
    right = np.concatenate([np.tile(part.columns, (len(part.rows), 1)) for part in parts])
    i, j = np.triu_indices(left.shape[1])
    triangles = left[:, i] * right[:, j] + left[:, j] * right[:, i]
    _, upper, order = qr(triangles.T, mode="economic", pivoting=True)  # pyright: ignore[reportAssignmentType]
    diagonal = np.abs(np.diag(upper))
    kept = np.sort(order[: int(np.sum(diagonal > RANK_TOLERANCE * diagonal.max(initial=0.0)))])
    combinations = lstsq(triangles[kept].T, triangles.T)[0].T  # pyright: ignore[reportOptionalSubscript]
    return Forms(left[kept], right[kept], combinations, float(np.linalg.cond(triangles[kept])))


def thin_heads(attention: LinearAttention) -> list[ThinHead]:
    """Compute the bases of every head, in float64 on the host."""
    query, key, value, output = (np.asarray(part, np.float64) for part in (attention.query, attention.key, attention.value, attention.output))
    return [_thin(output[h] @ value[h], key[h].T @ query[h]) for h in range(len(query))]


def _thin(before: Float64[np.ndarray, "out dim"], after: Float64[np.ndarray, "dim dim"]) -> ThinHead:
    _, values, rows = np.linalg.svd(before)
    rows = rows[: _rank(values)]
    columns, values, _ = np.linalg.svd(after)
    columns = columns[:, : _rank(values)].T
    return ThinHead(rows, columns, before @ rows.T, columns @ after)


def _rank(singular_values: Float64[np.ndarray, " n"]) -> int:
    return int(np.sum(singular_values > RANK_TOLERANCE * max(singular_values[0], np.finfo(float).tiny)))


def _maps(attention: LinearAttention) -> tuple[Float[Array, "heads out dim"], Float[Array, "heads dim dim"]]:
    """$A_h$ and $M_h$."""
    return jnp.einsum("hov,hvi->hoi", attention.output, attention.value), jnp.einsum("hki,hkj->hij", attention.key, attention.query)


def _assemble(
    left: Float[Array, "memory dim"],
    right: Float[Array, "memory dim"],
    queries: Float[Array, "queries dim"],
    reads: Float[np.ndarray, "products memory"],
    asked: Int[np.ndarray, " products"],
    readout: Float[Array, "out products"],
) -> GatedLinearRNN:
    """Memory neurons (left x)(right x), query neurons (queries x) times the appended 1; product p is (reads_p . memory) times query number asked_p."""
    dtype, memory, asking = left.dtype, len(left), len(queries)
    constant = jnp.zeros((asking, left.shape[1] + 1), dtype).at[:, -1].set(1.0)
    padded = [jnp.pad(weights, [(0, 0), (0, 1)]) for weights in (left, queries, right)]
    picks = jnp.asarray(np.eye(asking)[asked], dtype)
    return GatedLinearRNN(
        BilinearGate(jnp.concatenate([padded[0], padded[1]]), jnp.concatenate([padded[2], constant])),
        FreeDecay(jnp.concatenate([jnp.ones(memory, dtype), jnp.zeros(asking, dtype)])),
        BilinearGate(jnp.pad(jnp.asarray(reads, dtype), [(0, 0), (0, asking)]), jnp.pad(picks, [(0, 0), (memory, 0)])),
        readout,
    )
