r"""Counts the arithmetic of a function from its trace: multiplications and additions of matrix products, and one operation per number elsewhere.

A count does not depend on the machine, and loops count as often as they run, which the compiler's own estimates ignore.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

FREE = {
    *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "dynamic_slice", "dynamic_update_slice", "concatenate", "pad", "rev"),
    *("gather", "scatter", "iota", "convert_element_type", "bitcast_convert_type", "copy", "copy_p", "stop_gradient", "select_n", "split", "device_put"),
}
"""Operations that only move numbers."""


def count_operations(function: Callable[..., Any], *arguments: Any) -> int:
    r"""The floating-point operations of one call.

    - A product of matrices (m, k) and (k, n) counts $2 m k n$; a triangular solve with n unknowns and r right sides $n^2 r$; a Cholesky factor $n^3 / 3$.
    - A sum over an axis counts the numbers that are summed, any other operation the numbers that it gives. Copies and reshapes count nothing.
    - A loop of a known number of rounds counts as often as it runs; of one that runs until a condition is met, one round is counted. Of several branches, the
      most expensive one counts.

    Args:
        function: traced with the shapes of its arguments; nothing is computed.
        arguments: arrays, or PyTrees of arrays.
    """
    return _of_program(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_program(program: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in program.eqns)


def _of_equation(equation: JaxprEqn) -> int:
    name, parameters = equation.primitive.name, equation.params
    inner = [part for value in parameters.values() for part in _programs(value)]
    if name == "scan":
        return parameters["length"] * sum(map(_of_program, inner))
    if name == "cond":
        return max(map(_of_program, inner))
    if inner and not name.startswith(("reduce", "scatter", "custom_jvp_call", "custom_vjp_call")):
        return sum(map(_of_program, inner))
    if name.startswith("custom_"):
        return _of_program(inner[0])  # the others are derivatives
    shapes, out = [_shape(one) for one in equation.invars], math.prod(_shape(equation.outvars[0]))
    if name in FREE:
        return 0
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        return 2 * out * math.prod(shapes[0][axis] for axis in contracted)
    if name == "triangular_solve":
        return shapes[0][-1] * out
    if name == "cholesky":
        return out * shapes[0][-1] // 3
    return max(math.prod(shapes[0]), out) if name.startswith(("reduce", "scatter", "arg", "cum")) else out


def _shape(value: Any) -> tuple[int, ...]:
    return value.aval.shape


def _programs(value: Any) -> list[Jaxpr]:
    """The programs in a parameter of an operation."""
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    return [program for part in value for program in _programs(part)] if isinstance(value, tuple | list) else []
