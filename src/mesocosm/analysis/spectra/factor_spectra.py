r"""The spectrum of a product $W = A B^\top$ from its factors, measures of its rank, and the imbalance of the factors.

The query-key and value-output products of an attention head have this form. $A$ and $B$ have as many columns as the head has dimensions, far fewer than the
model's width, so $W$ itself is never formed. This module uses only NumPy in float64, so that a checkpoint audit needs no JAX.

Reference: Kobayashi, Akram and von Oswald, "Weight decay induces low-rank attention layers" (arXiv 2410.23819).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

Spectrum = Float64[np.ndarray, "*batch values"]


def triangular_factor(factor: Any) -> Float64[np.ndarray, "*batch k inner"]:
    r"""$R$ of $A = Q R$, which suffices for spectra, Gram matrices and norms, because $Q$ has orthonormal columns.

    Args:
        factor: $A$, shape (*batch, outer, inner), any array-like.

    Returns:
        Shape (*batch, min(outer, inner), inner).

    Raises:
        ValueError: there are fewer than two axes, or an entry is not finite.
    """
    factor = np.asarray(factor, dtype=np.float64)
    if factor.ndim < 2:
        raise ValueError(f"a factor must have the shape (..., outer, inner), not {factor.shape}")
    if not np.all(np.isfinite(factor)):
        raise ValueError(f"{int(np.sum(~np.isfinite(factor)))} entries of a factor are not finite")
    return np.asarray(np.linalg.qr(factor, mode="r"))


def product_spectrum(a: Any, b: Any) -> Spectrum:
    r"""Singular values of $A B^\top$, largest first, from $R_A R_B^\top$: $O((m + n) r^2)$ instead of $O(m n \min(m, n))$.

    Args:
        a, b: the factors, shapes (*batch, m, r) and (*batch, n, r); all other singular values of the product are zero.

    Returns:
        Shape (*batch, min(m, n, r)).

    Raises:
        ValueError: inner dimensions that differ, or entries that are not finite.
    """
    return core_spectrum(*triangular_pair(a, b))


def core_spectrum(a: Float64[np.ndarray, "*batch k inner"], b: Float64[np.ndarray, "*batch l inner"]) -> Spectrum:
    r"""Singular values of $R_A R_B^\top$ from two triangular factors."""
    return np.linalg.svd(a @ np.swapaxes(b, -1, -2), compute_uv=False)


def triangular_pair(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """The triangular factors of $A$ and $B$.

    Raises:
        ValueError: inner dimensions that differ, or entries that are not finite.
    """
    a, b = triangular_factor(a), triangular_factor(b)
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"the factors of a product must have the same inner dimension; these have {a.shape[-1]} and {b.shape[-1]}")
    return a, b


# --- rank measures --------------------------------------------------------------------------------------------------


def rank_by_sum(spectrum: Spectrum, share: float = 0.95) -> Int64[np.ndarray, "*batch"]:
    r"""The smallest $k$ with $\sum_{i \le k} s_i \ge \text{share} \cdot \sum_i s_i$; 0 for the zero product."""
    return _smallest_part(spectrum, share)


def interpolated_rank_by_sum(spectrum: Spectrum, share: float = 0.95) -> Float64[np.ndarray, "*batch"]:
    r"""$k - 1 + (\text{share} \cdot \sum_i s_i - \sum_{i < k} s_i) / s_k$ with the $k$ of `rank_by_sum`, which is this rounded up; 0 for the zero product."""
    last = np.maximum(rank_by_sum(spectrum, share), 1)[..., None] - 1
    parts = np.cumsum(spectrum, axis=-1)
    value, until = (np.take_along_axis(array, last, axis=-1)[..., 0] for array in (spectrum, parts))
    return np.asarray(last[..., 0] + _over(share * parts[..., -1] - (until - value), value))


def rank_by_energy(spectrum: Spectrum, share: float = 0.95) -> Int64[np.ndarray, "*batch"]:
    r"""The smallest $k$ with $\sum_{i \le k} s_i^2 \ge \text{share} \cdot \sum_i s_i^2$; 0 for the zero product."""
    return _smallest_part(spectrum**2, share)


def stable_rank(spectrum: Spectrum) -> Float64[np.ndarray, "*batch"]:
    r"""$\sum_i s_i^2 / s_1^2$; 0 for the zero product."""
    return _over(np.sum(spectrum**2, axis=-1), spectrum[..., 0] ** 2)


def effective_rank(spectrum: Spectrum) -> Float64[np.ndarray, "*batch"]:
    r"""$\exp(-\sum_i p_i \log p_i)$ with $p_i = s_i / \sum_j s_j$; 0 for the zero product.

    Reference: Roy and Vetterli, "The effective rank: a measure of effective dimensionality" (2007).
    """
    total = np.sum(spectrum, axis=-1, keepdims=True)
    share = _over(spectrum, np.broadcast_to(total, spectrum.shape))
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def numerical_rank(spectrum: Spectrum, tolerance: float = 1e-3) -> Int64[np.ndarray, "*batch"]:
    r"""The number of values with $s_i > \text{tolerance} \cdot s_1$."""
    return np.asarray(np.sum(spectrum > tolerance * spectrum[..., :1], axis=-1))


def _smallest_part(parts: Spectrum, share: float) -> Int64[np.ndarray, "*batch"]:
    if not 0 < share <= 1:
        raise ValueError(f"the share must be between 0 and 1, not {share}")
    sums = np.cumsum(parts, axis=-1)
    return np.where(sums[..., -1] > 0, 1 + np.sum(sums < share * sums[..., -1:], axis=-1), 0)


def _over(numerator: Any, denominator: Any) -> np.ndarray:
    """A quotient, with 0 / 0 = 0."""
    denominator = np.asarray(denominator)
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)


# --- balance --------------------------------------------------------------------------------------------------------


class Balance(NamedTuple):
    r"""How close two factors are to balance, where their L2 penalty equals the nuclear norm of their product. $P = A^\top A$, $Q = B^\top B$.

    Attributes:
        nuclear: $\|A B^\top\|_*$.
        mean_square: $(\|A\|_F^2 + \|B\|_F^2) / 2$, never below `nuclear`.
        gap: `mean_square - nuclear`.
        bound: $\frac12 \|P - Q\|_*$, never below `gap`.
        imbalance: $\|P - Q\|_F / (\|P\|_F + \|Q\|_F)$, 0 at balance, at most 1.
        difference: $\|P - Q\|_F$.
        cosine: $\langle P, Q \rangle / (\|P\|_F \|Q\|_F)$.
        cosine_centered: the same after subtracting the multiple of the identity from each; 0 if nothing is left.
        norms_squared: $\|A\|_F^2$ and $\|B\|_F^2$, last axis.
    """

    nuclear: Float64[np.ndarray, "*batch"]
    mean_square: Float64[np.ndarray, "*batch"]
    gap: Float64[np.ndarray, "*batch"]
    bound: Float64[np.ndarray, "*batch"]
    imbalance: Float64[np.ndarray, "*batch"]
    difference: Float64[np.ndarray, "*batch"]
    cosine: Float64[np.ndarray, "*batch"]
    cosine_centered: Float64[np.ndarray, "*batch"]
    norms_squared: Float64[np.ndarray, "*batch 2"]


def balance(a: Any, b: Any) -> Balance:
    """The balance of two factors, shapes (*batch, m, r) and (*batch, n, r).

    Raises:
        ValueError: inner dimensions that differ, or entries that are not finite.
    """
    a, b = triangular_pair(a, b)
    return core_balance(a, b, core_spectrum(a, b))


def core_balance(a: Float64[np.ndarray, "*batch k inner"], b: Float64[np.ndarray, "*batch l inner"], spectrum: Spectrum) -> Balance:
    """The same from triangular factors and the spectrum of their product."""
    p, q = (np.swapaxes(r, -1, -2) @ r for r in (a, b))
    squares = np.stack([np.trace(gram, axis1=-2, axis2=-1) for gram in (p, q)], axis=-1)
    nuclear, mean_square = spectrum.sum(axis=-1), squares.sum(axis=-1) / 2
    difference, total = _norm(p - q), _norm(p) + _norm(q)
    identity = np.eye(p.shape[-1]) / p.shape[-1]
    centered = [gram - squares[..., i, None, None] * identity for i, gram in enumerate((p, q))]
    return Balance(
        nuclear=nuclear,
        mean_square=mean_square,
        gap=mean_square - nuclear,
        bound=np.abs(np.linalg.eigvalsh(p - q)).sum(axis=-1) / 2,
        imbalance=_over(difference, total),
        difference=difference,
        cosine=_cosine(p, q),
        cosine_centered=_cosine(*centered),
        norms_squared=squares,
    )


def _norm(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(matrix, axis=(-2, -1)))


def _cosine(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return _over(np.sum(p * q, axis=(-2, -1)), _norm(p) * _norm(q))
