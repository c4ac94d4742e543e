r"""Spectra and nuclear norms of random factors: the two nulls with which a trained product is compared.

Factors far wider than the model's head are almost balanced by chance: for Gaussian factors of aspect ratio $c = r / d$, the nuclear norm is $1 - c/4$ of the
mean squared norm, 0.992 at the shapes of a 7-billion-parameter model. Closeness of the two is therefore meaningless without a comparison.

- **Gaussian**: independent entries, with the factors' shapes and Frobenius norms, as at initialisation.
- **Rotated**: $B \to B O$ with a random rotation $O$ of the inner space. Keeps the spectrum of each factor and destroys their alignment.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from mesocosm.analysis.spectra.factor_spectra import core_spectrum

DRAWS = 32


def gaussian_spectra(m: int, n: int, r: int, *, draws: int = DRAWS, seed: int = 0) -> Float64[np.ndarray, "draws values"]:
    r"""Singular values of $A B^\top$ with Gaussian $A$ (m, r) and $B$ (n, r), each scaled to Frobenius norm 1; multiply by $\|A\| \|B\|$ for other norms.

    Only triangular factors are drawn (Bartlett): $\chi_{m-i}$ on the diagonal, normal numbers above it. If the inner dimension is the largest, $B^\top = Q R$
    and $A Q$, again Gaussian, are drawn, one after another.
    """
    random = np.random.default_rng([seed, m, n, r])
    if r > max(m, n):
        return np.stack([_wide_gaussian_spectrum(random, m, n, r) for _ in range(draws)])
    a, b = (_triangular_gaussian(random, rows, r, draws) for rows in (m, n))
    return core_spectrum(*(factor / np.linalg.norm(factor, axis=(-2, -1), keepdims=True) for factor in (a, b)))


def _wide_gaussian_spectrum(random: np.random.Generator, m: int, n: int, r: int) -> Float64[np.ndarray, " values"]:
    core, upper = random.standard_normal((m, n)), _triangular_gaussian(random, r, n, 1)[0]
    rest = random.chisquare(m * (r - n))  # of A's squared norm, outside the rows of B
    return core_spectrum(core, upper.T) / (np.sqrt(np.sum(core**2) + rest) * np.linalg.norm(upper))


def random_rotations(r: int, *, draws: int = DRAWS, seed: int = 0) -> Float64[np.ndarray, "draws r r"]:
    """Rotations of the inner space, uniform over the orthogonal group."""
    q, upper = np.linalg.qr(np.random.default_rng([seed, r]).standard_normal((draws, r, r)))
    return q * np.sign(np.diagonal(upper, axis1=-2, axis2=-1))[:, None, :]


def rotated_spectra(
    a: Float64[np.ndarray, "k r"], b: Float64[np.ndarray, "l r"], rotations: Float64[np.ndarray, "draws r r"]
) -> Float64[np.ndarray, "draws values"]:
    r"""Singular values of $R_A O^\top R_B^\top$ for each rotation, from the factors' triangular parts."""
    return core_spectrum(a @ np.swapaxes(rotations, -1, -2), np.broadcast_to(b, (len(rotations), *b.shape)))


def wide_rotated_spectra(
    a: Float64[np.ndarray, "m m"], b: Float64[np.ndarray, "n n"], r: int, *, draws: int = DRAWS, seed: int = 0
) -> Float64[np.ndarray, "draws values"]:
    r"""The same for factors with fewer rows than columns, $A = L_A U_A$ and $B = L_B U_B$ with orthonormal rows of $U$, from $L_A$ and $L_B$.

    Of a rotation $O$, only $U_A O^\top U_B^\top$ matters: an (m, n) block of a rotation. It is drawn from the QR decomposition of a Gaussian (r, n) matrix, of
    which the rows below the block are replaced by their triangular factor.
    """
    (m, n), random = (len(a), len(b)), np.random.default_rng([seed, len(a), len(b), r])
    spectra = []
    for _ in range(draws):
        q, upper = np.linalg.qr(np.concatenate([random.standard_normal((m, n)), _triangular_gaussian(random, r - m, n, 1)[0]]))
        spectra.append(core_spectrum(a @ (q[:m] * np.sign(np.diagonal(upper))), b))
    return np.stack(spectra)


def _triangular_gaussian(random: np.random.Generator, rows: int, r: int, draws: int) -> Float64[np.ndarray, "draws k r"]:
    k = min(rows, r)
    upper = np.triu(random.standard_normal((draws, k, r)), 1)
    upper[:, np.arange(k), np.arange(k)] = np.sqrt(random.chisquare(rows - np.arange(k), size=(draws, k)))
    return upper
