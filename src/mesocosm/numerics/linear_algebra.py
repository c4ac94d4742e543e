r"""Factorisations and solves of real matrices, which call LAPACK for one matrix at a time.

The functions take leading batch axes and support vmap and differentiation, like their namesakes in `jnp.linalg`. A batch becomes a loop in the compiled
program. jaxlib before 0.11.2 instead hands batches to XLA's thread pool and waits for them on a thread of the same pool, which can deadlock if two such
calls of one program run at the same time. On two cores the loop takes 1 to 2.1 times as long as the batch, for batches of up to 50,000 small matrices and
single ones of size 1000; `mesocosm bench linear_algebra` measures it.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.lax import linalg as lapack
from jaxtyping import Array, Float, Int

from mesocosm.numerics.precision import FULL

Matrix = Float[Array, "... n n"]
Columns = Float[Array, "... rows k"] | Float[Array, " rows"]


class Eigen(NamedTuple):
    """Eigenvalues in ascending order, and eigenvectors as columns."""

    values: Float[Array, "... n"]
    vectors: Float[Array, "... n n"]


class Singular(NamedTuple):
    r"""$A = U \, \mathrm{diag}(S) \, V^\top$, singular values in descending order, $k = \min(m, n)$."""

    left: Float[Array, "... m k"]
    values: Float[Array, "... k"]
    right: Float[Array, "... k n"]


class Orthogonal(NamedTuple):
    """The reduced decomposition $A = Q R$."""

    q: Float[Array, "... m k"]
    r: Float[Array, "... k n"]


def solve(a: Matrix, b: Columns) -> Columns:
    r"""$A^{-1} B$ by LU decomposition with partial pivoting; NaN or infinite if $A$ is singular.

    Args:
        a: $A$.
        b: $B$, shape (..., n, k), or one vector (n,) for all matrices.
    """
    if b.ndim == 1:
        return solve(a, b[:, None])[..., 0]
    a, b = _same_type(a, b)
    factors, permutation = _factor(jax.lax.stop_gradient(a))
    forward, backward = (lambda _, b, back=back: _substitute(factors, permutation, b, back) for back in (False, True))
    return jax.lax.custom_linear_solve(lambda x: _product(a, x), b, forward, transpose_solve=backward)


def solve_positive(a: Matrix, b: Columns) -> Columns:
    r"""$A^{-1} B$ for symmetric positive definite $A$, by Cholesky decomposition of its lower triangle; NaN if $A$ is not positive definite.

    Args:
        a: $A$.
        b: $B$, shape (..., n, k), or one vector (n,) for all matrices.
    """
    if b.ndim == 1:
        return solve_positive(a, b[:, None])[..., 0]
    a, b = _same_type(a, b)
    lower = _lower_factor(jax.lax.stop_gradient(a))
    return jax.lax.custom_linear_solve(lambda x: _product(a, x), b, lambda _, b: _substitute_twice(lower, b), symmetric=True)


@jax.custom_jvp
def cholesky(a: Matrix) -> Matrix:
    r"""The lower triangular $L$ with $A = L L^\top$ for symmetric positive definite $A$; NaN if $A$ is not positive definite.

    Its derivative is $\dot L = L \, \Phi(L^{-1} \dot A L^{-\top})$, where $\Phi$ takes the lower triangle and halves the diagonal.
    """
    return jax.lax.platform_dependent(a, cpu=_lower_factor, default=partial(lapack.cholesky, symmetrize_input=False))


@cholesky.defjvp
def _cholesky_derivative(given: tuple[Array], moved: tuple[Array]) -> tuple[Array, Array]:
    lower = cholesky(given[0])
    inverse = lower_inverse(lower)
    inner = jnp.tril(_product(inverse, _product((moved[0] + _transpose(moved[0])) / 2, _transpose(inverse))))
    return lower, _product(lower, inner - jnp.eye(inner.shape[-1], dtype=inner.dtype) * inner / 2)


@jax.custom_jvp
def lower_inverse(a: Matrix) -> Matrix:
    """The inverse of a lower triangular matrix, which is lower triangular. Entries above the diagonal are not read."""
    return jax.lax.platform_dependent(a, cpu=_lower_inverse, default=_lower_inverses)


@lower_inverse.defjvp
def _lower_inverse_derivative(given: tuple[Array], moved: tuple[Array]) -> tuple[Array, Array]:
    inverse = lower_inverse(given[0])
    return inverse, -_product(inverse, _product(jnp.tril(moved[0]), inverse))


@jax.custom_jvp
def eigh(a: Matrix) -> Eigen:
    r"""Eigenvalues and eigenvectors of symmetric $A$; uses $(A + A^\top) / 2$.

    The derivative, $\dot w = \mathrm{diag}(V^\top \dot A V)$ and $\dot V = V (F \circ V^\top \dot A V)$ with $F_{ij} = 1 / (w_j - w_i)$, exists if all
    eigenvalues differ.
    """
    return Eigen(*_eigh(a))


@eigh.defjvp
def _eigh_derivative(given: tuple[Array], moved: tuple[Array]) -> tuple[Eigen, Eigen]:
    found = eigh(given[0])
    inner = _product(_transpose(found.vectors), _product((moved[0] + _transpose(moved[0])) / 2, found.vectors))
    gaps = found.values[..., None, :] - found.values[..., :, None]
    return found, Eigen(_diagonal(inner), _product(found.vectors, _reciprocal_off_diagonal(gaps) * inner))


@jax.custom_jvp
def svd(a: Float[Array, "... m n"]) -> Singular:
    r"""The reduced singular value decomposition. Its derivative exists if all singular values differ and none is zero."""
    return Singular(*_svd(a))


@svd.defjvp
def _svd_derivative(given: tuple[Array], moved: tuple[Array]) -> tuple[Singular, Singular]:
    found = svd(given[0])
    u, s, v = found.left, found.values, _transpose(found.right)
    across, down = s[..., None, :], s[..., :, None]
    inner = _product(_transpose(u), _product(moved[0], v))  # U^T dA V
    f = _reciprocal_off_diagonal(across**2 - down**2)
    du = _product(u, f * (inner * across + down * _transpose(inner)))
    dv = _product(v, f * (down * inner + _transpose(inner) * across))
    if u.shape[-2] > s.shape[-1]:
        beyond = _product(moved[0], v)
        du = du + (beyond - _product(u, _product(_transpose(u), beyond))) / across
    if v.shape[-2] > s.shape[-1]:
        beyond = _product(_transpose(moved[0]), u)
        dv = dv + (beyond - _product(v, _product(_transpose(v), beyond))) / across
    return found, Singular(du, _diagonal(inner), _transpose(dv))


def singular_values(a: Float[Array, "... m n"]) -> Float[Array, "... k"]:
    """Singular values in descending order."""
    return svd(a).values


@jax.custom_jvp
def qr(a: Float[Array, "... m n"]) -> Orthogonal:
    """The reduced QR decomposition. Differentiable for full column rank, $m >= n$."""
    return Orthogonal(*_qr(a))


@qr.defjvp
def _qr_derivative(given: tuple[Array], moved: tuple[Array]) -> tuple[Orthogonal, Orthogonal]:
    q, r = found = qr(given[0])
    if r.shape[-2] != r.shape[-1]:
        raise ValueError(f"the QR decomposition of a wide matrix, {given[0].shape[-2]} x {given[0].shape[-1]}, has no derivative rule")
    moved_basis = _transpose(solve(_transpose(r), _transpose(moved[0])))  # dA R^-1
    inner = _product(_transpose(q), moved_basis)
    below = jnp.tril(inner, -1)
    turn = below - _transpose(below)
    return found, Orthogonal(_product(q, turn - inner) + moved_basis, _product(inner - turn, r))


def least_squares(a: Float[Array, "... m n"], b: Columns) -> Float[Array, "... n k"] | Float[Array, " n"]:
    r"""The minimiser $X$ of $\|A X - B\|_F$ with the smallest norm, as in `numpy.linalg.lstsq`.

    Singular values below $\epsilon \max(m, n)$ of the largest count as zero.

    Args:
        a: $A$.
        b: $B$, shape (..., m, k), or one vector (m,) for all matrices.
    """
    if b.ndim == 1:
        return least_squares(a, b[:, None])[..., 0]
    a, b = _same_type(a, b)
    left, values, right = svd(a)
    kept = (values > 0) & (values >= jnp.finfo(a.dtype).eps * max(a.shape[-2:]) * values[..., :1])
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)
    return _product(_transpose(right), inverse[..., None] * _product(_transpose(left), b))


# --- one matrix at a time: vectorize turns each leading axis into a vmap, and sequential_vmap turns each vmap into a loop ------


def _one_at_a_time(signature: str):
    return lambda function: jnp.vectorize(sequential_vmap(function), signature=signature)


@_one_at_a_time("(n,n)->(n,n),(n)")
def _factor(a: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Int[Array, " n"]]:
    factors, _, permutation = lapack.lu(a)
    return factors, permutation


def _substitute(factors: Array, permutation: Array, b: Array, transposed: bool) -> Array:
    return (_substitute_back if transposed else _substitute_forward)(factors, permutation, b)


@_one_at_a_time("(n,n),(n),(n,k)->(n,k)")
def _substitute_forward(factors: Array, permutation: Array, b: Array) -> Array:
    below = lapack.triangular_solve(factors, b[permutation], left_side=True, lower=True, unit_diagonal=True)
    return lapack.triangular_solve(factors, below, left_side=True, lower=False)


@_one_at_a_time("(n,n),(n),(n,k)->(n,k)")
def _substitute_back(factors: Array, permutation: Array, b: Array) -> Array:
    above = lapack.triangular_solve(factors, b, left_side=True, lower=False, transpose_a=True)
    below = lapack.triangular_solve(factors, above, left_side=True, lower=True, unit_diagonal=True, transpose_a=True)
    return jnp.zeros_like(below).at[permutation].set(below)


@_one_at_a_time("(n,n)->(n,n)")
def _lower_factor(a: Array) -> Array:
    return lapack.cholesky(a, symmetrize_input=False)


def _lower_inverses(a: Array) -> Array:
    return lapack.triangular_solve(a, jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape), left_side=True, lower=True)


_lower_inverse = _one_at_a_time("(n,n)->(n,n)")(_lower_inverses)


@_one_at_a_time("(n,n),(n,k)->(n,k)")
def _substitute_twice(lower: Array, b: Array) -> Array:
    half = lapack.triangular_solve(lower, b, left_side=True, lower=True)
    return lapack.triangular_solve(lower, half, left_side=True, lower=True, transpose_a=True)


@_one_at_a_time("(n,n)->(n),(n,n)")
def _eigh(a: Array) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(a)
    return values, vectors


@_one_at_a_time("(m,n)->(m,k),(k),(k,n)")
def _svd(a: Array) -> tuple[Array, Array, Array]:
    left, values, right = jnp.linalg.svd(a, full_matrices=False)
    return left, values, right


@_one_at_a_time("(m,n)->(m,k),(k,n)")
def _qr(a: Array) -> tuple[Array, Array]:
    q, r = jnp.linalg.qr(a)
    return q, r


# --- small things -------------------------------------------------------------------------------------------------


def _same_type(a: Array, b: Array) -> tuple[Array, Array]:
    if a.shape[-2] != b.shape[-2]:
        raise ValueError(f"the matrix has {a.shape[-2]} rows and the right-hand side {b.shape[-2]}")
    dtype = jnp.result_type(a, b, float)  # whole numbers become floats
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return jnp.broadcast_to(a, batch + a.shape[-2:]).astype(dtype), jnp.broadcast_to(b, batch + b.shape[-2:]).astype(dtype)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=FULL)


def _transpose(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


def _diagonal(a: Array) -> Array:
    return jnp.diagonal(a, axis1=-2, axis2=-1)


def _reciprocal_off_diagonal(gaps: Array) -> Array:
    one = jnp.eye(gaps.shape[-1], dtype=gaps.dtype)
    return 1 / (gaps + one) - one
