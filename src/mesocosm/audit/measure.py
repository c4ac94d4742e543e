r"""Measures one row per product and head: its spectrum and balance, compared with random factors.

QK is $W_K^\top W_Q$ with $A = W_K^\top$. If $G$ queries share a key, $B$ stacks their $W_Q^\top$, because the law then holds for the group:
$W_K W_K^\top = \sum_g W_{Q,g} W_{Q,g}^\top$. VO is $P W_V$ with $B = W_V^\top$, and $A$ stacks the $P$ of the group. The product of
an MLP (`mlp`) has an inner dimension larger than both others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

from mesocosm.analysis.spectra.factor_spectra import core_balance, core_spectrum, effective_rank, rank_by_energy, rank_by_sum, stable_rank, triangular_factor
from mesocosm.analysis.spectra.random_factors import DRAWS, gaussian_spectra, random_rotations, rotated_spectra, wide_rotated_spectra
from mesocosm.audit.heads import Heads
from mesocosm.audit.settings import Settings

Product = Literal["QK", "VO", "MLP"]


@dataclass(frozen=True)
class Pair:
    """The factors of one product of one key head.

    Attributes:
        product: "QK", "VO" or "MLP".
        head: index of the key head.
        group: number of query heads that share it.
        a, b: the factors, (m, r) and (n, r).
    """

    product: Product
    head: int
    group: int
    a: Shaped[np.ndarray, "m r"]
    b: Shaped[np.ndarray, "n r"]


def pairs_of(heads: Heads) -> Iterator[Pair]:
    """Both products of each key head."""
    group = len(heads.query) // len(heads.key)
    for head in range(len(heads.key)):
        mine = slice(group * head, group * (head + 1))
        yield Pair("QK", head, group, heads.key[head].T, _stacked(heads.query[mine].swapaxes(1, 2)))
        yield Pair("VO", head, group, _stacked(heads.output[mine]), heads.value[head].T)


def _stacked(matrices: Shaped[np.ndarray, "group outer r"]) -> Shaped[np.ndarray, "rows r"]:
    return matrices.reshape(-1, matrices.shape[-1])


class Spectra(NamedTuple):
    """Singular values of a product, with the means and standard deviations of its nulls in the same order."""

    values: Float64[np.ndarray, " r"]
    null1: Float64[np.ndarray, " r"]
    null1_sd: Float64[np.ndarray, " r"]
    null2: Float64[np.ndarray, " r"]
    null2_sd: Float64[np.ndarray, " r"]


def measure(pair: Pair, draws: int = DRAWS) -> tuple[dict[str, Any], Spectra]:
    """Compute the numbers of a row, and the spectra behind them."""
    found = _wide(pair, draws) if pair.a.shape[1] > max(len(pair.a), len(pair.b)) else _narrow(pair, draws)
    spectrum, rotated, nuclear = found.spectrum, found.rotated, found.spectrum.sum()
    scale, fro = float(np.sqrt(np.prod(found.norms_squared))), float(np.mean(found.norms_squared))
    gaussian = scale * _gaussian(len(pair.a), len(pair.b), pair.a.shape[1], draws)
    ratio = _share(nuclear, fro)
    null1, null2 = (_share(spectra.sum(axis=-1), fro) for spectra in (gaussian, rotated))
    row = {
        "d_model": pair.b.shape[0] // (pair.group if pair.product == "QK" else 1),
        "d_h": pair.a.shape[1],
        "nuc": float(nuclear),
        "fro": fro,
        "ratio": float(ratio),
        **_summary("null1", null1),
        **_summary("null2", null2),
        "draws": draws,
        "score": float(_share(ratio - null2.mean(), 1 - null2.mean())),
        "relD": float(found.imbalance),
        "cosPQ": float(found.cosine),
        "cosPQ_centered": float(found.cosine_centered),
        "rank95_sum": int(rank_by_sum(spectrum)),
        **_summary("rank95_sum_null1", rank_by_sum(gaussian)),
        **_summary("rank95_sum_null2", rank_by_sum(rotated)),
        "rank95_energy": int(rank_by_energy(spectrum)),
        "stable": float(stable_rank(spectrum)),
        **_summary("stable_null1", stable_rank(gaussian)),
        **_summary("stable_null2", stable_rank(rotated)),
        "effective": float(effective_rank(spectrum)),
        "normA2": float(found.norms_squared[0]),
        "normB2": float(found.norms_squared[1]),
    }
    return row, Spectra(spectrum, gaussian.mean(0), gaussian.std(0, ddof=1), rotated.mean(0), rotated.std(0, ddof=1))


class _Measured(NamedTuple):
    spectrum: Float64[np.ndarray, " values"]
    rotated: Float64[np.ndarray, "draws values"]
    norms_squared: Float64[np.ndarray, " 2"]
    imbalance: float
    cosine: float
    cosine_centered: float


def _narrow(pair: Pair, draws: int) -> _Measured:
    """From the triangular factors."""
    a, b = triangular_factor(pair.a), triangular_factor(pair.b)
    spectrum = core_spectrum(a, b)
    found = core_balance(a, b, spectrum)
    rotated = rotated_spectra(a, b, _rotations(pair.a.shape[1], draws))
    return _Measured(spectrum, rotated, found.norms_squared, float(found.imbalance), float(found.cosine), float(found.cosine_centered))


def _wide(pair: Pair, draws: int) -> _Measured:
    r"""For an inner dimension r larger than both others: $P = A^\top A$ and $Q$, of size r by r, are never formed.

    $\|P\|_F = \|A A^\top\|_F$ and $\langle P, Q \rangle = \|A B^\top\|_F^2$.
    """
    factors, r = [np.asarray(factor, np.float64) for factor in (pair.a, pair.b)], pair.a.shape[1]
    spectrum = core_spectrum(*factors)
    lower = [triangular_factor(factor.T).T for factor in factors]
    grams = [factor @ factor.T for factor in factors]
    traces, norms = np.array([np.trace(gram) for gram in grams]), np.array([np.linalg.norm(gram) for gram in grams])
    inner = float(np.sum(spectrum**2))
    centered = np.sqrt(np.maximum(norms**2 - traces**2 / r, 0))
    return _Measured(
        spectrum,
        wide_rotated_spectra(lower[0], lower[1], r, draws=draws),
        traces,
        float(_share(np.sqrt(max(float(np.sum(norms**2)) - 2 * inner, 0.0)), norms.sum())),
        float(_share(inner, np.prod(norms))),
        float(_share(inner - np.prod(traces) / r, np.prod(centered))),
    )


def pair_imbalance(heads: Heads, head: int, settings: Settings) -> float:
    r"""$\|t_K - t_Q\| / (\|t_K\| + \|t_Q\|)$ with the squared norms of each rotary pair's rows: the part of the law that holds under rotary positions."""
    size = heads.key.shape[1]
    rotated = min(size, settings.rotated if isinstance(settings.rotated, int) else int(size * settings.rotated)) // 2 * 2
    if not rotated:
        return 0.0
    group = len(heads.query) // len(heads.key)
    key = np.sum(np.square(heads.key[head], dtype=np.float64), axis=-1)[:rotated]
    query = np.sum(np.square(heads.query[group * head : group * (head + 1)], dtype=np.float64), axis=(0, -1))[:rotated]
    shape = (-1, 2) if settings.interleaved else (2, -1)
    key, query = (rows.reshape(shape).sum(axis=shape.index(2)) for rows in (key, query))
    return float(_share(np.linalg.norm(key - query), np.linalg.norm(key) + np.linalg.norm(query)))


def folded_rank(pair: Pair, gain: Float64[np.ndarray, " inputs"]) -> int:
    r"""`rank95_sum` of the product that the network computes, which includes the gain of the preceding norm: $W \operatorname{diag}(\gamma)$."""
    b = pair.b * np.tile(gain, len(pair.b) // len(gain))[:, None]
    a = pair.a * gain[:, None] if pair.product == "QK" else pair.a
    return int(rank_by_sum(core_spectrum(triangular_factor(a), triangular_factor(b))))


def _summary(name: str, draws: np.ndarray) -> dict[str, float]:
    return {name: float(np.mean(draws)), f"{name}_sd": float(np.std(draws, ddof=1))}


def _share(part: Any, whole: Any) -> Any:
    """A quotient; 0 if a factor is zero."""
    return part / whole if whole > 0 else part * 0.0


@lru_cache(maxsize=64)
def _gaussian(m: int, n: int, r: int, draws: int) -> Float64[np.ndarray, "draws values"]:
    return gaussian_spectra(m, n, r, draws=draws)


@lru_cache(maxsize=8)
def _rotations(r: int, draws: int) -> Float64[np.ndarray, "draws r r"]:
    return random_rotations(r, draws=draws)
