"""The precision of the library's numbers, decided in one place.

`FULL`, `full_precision`: matrix products in the full precision of their inputs. On GPUs and TPUs, float32 products otherwise run in TF32 or bfloat16.
`widened`: sums and recursions in float32 at least.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

FULL = "highest"
"""The precision of a single product."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, with all its matrix products, and their derivatives, in the full precision of their inputs.

    Decorate what solves, what computes kernels, and what checks identities. This includes the products of functions that it calls, unless they name
    a precision.
    """

    @wraps(function)
    def precise(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.default_matmul_precision(FULL):
            return function(*args, **kwargs)

    return precise


def widened(x: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """x in float32, or wider if it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
