r"""Products of the empirical tangent kernel with vectors, $\Theta v = J(J^\top v)$, by one reverse and one forward derivative; no Jacobian is stored.

Use them for many parameters and few outputs, and to solve $(\Theta + \rho I) a = r$ without forming $\Theta$.

Reference: Novak, Sohl-Dickstein and Schoenholz, "Fast finite width neural tangent kernel" (2022), sec. 3.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mesocosm.analysis.tangent.features import Function, Outputs
from mesocosm.numerics.edges import ratio
from mesocosm.numerics.precision import full_precision


@full_precision
def ntk_vector_product(function: Function, params: PyTree, x1: Any, x2: Any, vector: Float[Array, "m ..."]) -> Float[Array, "n ..."]:
    r"""$\sum_{m} \Theta(x_n, x'_m)\, v_m$, at the cost of a few passes over both sets.

    Args:
        function, params: f(params, x) for one example.
        x1, x2: examples, each with a leading axis.
        vector: one value per example of x2 and output.

    Returns:
        One value per example of x1 and output.
    """
    _, pull = jax.vjp(lambda params: jax.vmap(function, (None, 0))(params, x2), params)
    (direction,) = pull(vector)
    return jax.jvp(lambda params: jax.vmap(function, (None, 0))(params, x1), (params,), (direction,))[1]


@full_precision
def kernel_by_products(function: Function, params: PyTree, x1: Any, x2: Any, outputs: Outputs = "all") -> Array:
    """The whole kernel between two sets, one column per example of x2 and output."""

    def columns(x: Any) -> Array:
        given, pull = jax.vjp(lambda params: jnp.ravel(function(params, x)), params)

        def column(direction: Array) -> Array:
            (step,) = pull(direction)
            return jax.vmap(lambda x: jax.jvp(lambda params: jnp.ravel(function(params, x)), (params,), (step,))[1])(x1)

        return jax.vmap(column)(jnp.eye(given.size, dtype=given.dtype))  # outputs of x2, n, outputs of x1

    found = jax.vmap(columns)(x2)
    return jnp.transpose(found, (2, 3, 0, 1)) if outputs == "all" else jnp.einsum("mcnc->nm", found) / found.shape[1]


class Solution(NamedTuple):
    """Solution of a linear system by conjugate gradients.

    Attributes:
        coefficients: a, one value per example and output.
        residual: norm of r - (Theta + rho I) a divided by the norm of r (0 if that is 0).
    """

    coefficients: Float[Array, "n ..."]
    residual: Float[Array, ""]


@full_precision
def solve_by_products(
    function: Function, params: PyTree, x: Any, right: Float[Array, "n ..."], *, ridge: float = 0.0, tolerance: float = 1e-8, steps: int = 1000
) -> Solution:
    r"""Solve $(\Theta(X, X) + \rho I)\, a = r$ by conjugate gradients, using only products.

    Args:
        function, params, x: as in `ntk_vector_product`.
        right: r.
        ridge: rho.
        tolerance: stop at this relative residual.
        steps: maximum number of products.
    """

    def product(a: Array) -> Array:
        return ntk_vector_product(function, params, x, x, a) + ridge * a

    found, _ = jax.scipy.sparse.linalg.cg(product, right, tol=tolerance, maxiter=steps)
    return Solution(found, ratio(jnp.linalg.norm(jnp.ravel(right - product(found))), jnp.linalg.norm(jnp.ravel(right))))
