r"""Squared norms of single rows: those of $W_K$ against those of $W_Q$, and columns of $P$ against rows of $W_V$.

At balance, $A^\top A = B^\top B$, both sides have equal diagonals: row $i$ of $W_Q$ is as long as row $i$ of $W_K$, and row $i$ of $W_V$ as column $i$ of
$P$. If several queries share a key, the squared norms of their rows are added up. Rotary positions mix two coordinates of a head, and only the sum over such
a pair must agree. Closeness alone shows little: the rows of random wide matrices are nearly equally long (`relative_difference` $\approx 1 / \sqrt{d}$), so
that each number stands beside that of Gaussian factors with the same shapes and norms.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819), Figs. 4 and 6, which show no null.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from mesocosm.audit.measure import Pair
from mesocosm.audit.settings import Settings


class RowNorms(NamedTuple):
    """Squared norms of what must agree at balance.

    Attributes:
        a, b: of the columns of both factors; of rotary pairs, their sums.
        pair: whether an entry is a rotary pair rather than a row.
    """

    a: Float64[np.ndarray, " rows"]
    b: Float64[np.ndarray, " rows"]
    pair: Bool[np.ndarray, " rows"]


def row_norms(pair: Pair, settings: Settings) -> RowNorms:
    """The norms of a product's rows; where the rotary pairs of QK are known, of pairs, followed by the coordinates that do not rotate."""
    a, b = (np.sum(np.square(np.ascontiguousarray(factor), dtype=np.float64), axis=0) for factor in (pair.a, pair.b))  # one order of summation
    if pair.product != "QK" or settings.positions != "rotary" or settings.interleaved is None:
        return RowNorms(a, b, np.zeros(len(a), bool))
    rotated = rotated_coordinates(len(a), settings)
    shape = (-1, 2) if settings.interleaved else (2, -1)

    def paired(norms: np.ndarray) -> np.ndarray:
        return np.concatenate([norms[:rotated].reshape(shape).sum(axis=shape.index(2)), norms[rotated:]])

    sums = paired(a)
    return RowNorms(sums, paired(b), np.arange(len(sums)) < rotated // 2)


def rotated_coordinates(size: int, settings: Settings) -> int:
    """The even number of coordinates of a head that rotate."""
    return min(size, settings.rotated if isinstance(settings.rotated, int) else int(size * settings.rotated)) // 2 * 2


def row_columns(pair: Pair, norms: RowNorms, draws: int) -> dict[str, Any]:
    r"""The columns of the audit's row: how far the norms differ, beside Gaussian factors, and whether long rows face long rows.

    `rows_relD` is $\|a - b\| / (\|a\| + \|b\|)$; `rows_corr` is the correlation of $a$ and $b$ over rows, with standard deviation $1 / \sqrt{r - 1}$ for rows
    in random order; None where all rows are equally long.
    """
    null = _gaussian(len(pair.a), len(pair.b), tuple((1 + norms.pair.astype(int)).tolist()), draws)
    scaled = null * np.array([norms.a.sum(), norms.b.sum()])[:, None, None]
    differences = relative_difference(scaled[0], scaled[1])
    spread = np.std(norms.a) * np.std(norms.b)
    return {
        "rows_relD": float(relative_difference(norms.a, norms.b)),
        "rows_relD_null1": float(differences.mean()),
        "rows_relD_null1_sd": float(differences.std(ddof=1)),
        "rows_corr": float(np.mean((norms.a - norms.a.mean()) * (norms.b - norms.b.mean())) / spread) if spread > 0 else None,
    }


def relative_difference(a: Float64[np.ndarray, "*draws rows"], b: Float64[np.ndarray, "*draws rows"]) -> Float64[np.ndarray, "*draws"]:
    r"""$\|a - b\| / (\|a\| + \|b\|)$, 0 for two zeros."""
    total = np.linalg.norm(a, axis=-1) + np.linalg.norm(b, axis=-1)
    return np.asarray(np.linalg.norm(a - b, axis=-1) / np.where(total > 0, total, 1.0))


@lru_cache(maxsize=64)
def _gaussian(m: int, n: int, coordinates: tuple[int, ...], draws: int) -> Float64[np.ndarray, "2 draws rows"]:
    """Squared norms of the rows of Gaussian factors, as shares of the whole: chi-squared numbers."""
    random = np.random.default_rng([m, n, len(coordinates), draws])
    drawn = np.stack([random.chisquare(size * np.asarray(coordinates), (draws, len(coordinates))) for size in (m, n)])
    return drawn / drawn.sum(axis=-1, keepdims=True)
