"""`jit` and `filter_jit` with the compiler options of the library.

On a CPU, XLA runs independent operations of one program at the same time, on a pool with one thread per core. An operation that occupies a thread of this
pool while it waits for helpers from the same pool (jaxlib's batched LAPACK calls before 0.11.2, FFTs) can deadlock the pool: with as many such operations as
threads, no thread is left to help. XLA's memory-optimised schedule lets operations share buffers, which puts most of them in a row and makes this unlikely;
`mesocosm.numerics.linear_algebra` makes no such call, which rules it out. Both work in any process, independent of `XLA_FLAGS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial, update_wrapper
from typing import Any

import equinox as eqx
import jax

from mesocosm.numerics.schedule import memory_optimised

try:
    from jax.extend.core import get_opaque_trace_state
except ImportError:  # before jax 0.10
    from jax.core import get_opaque_trace_state  # pyright: ignore[reportAttributeAccessIssue]

SCHEDULE = memory_optimised()


class Program:
    """A function that is compiled with the library's compiler options when called, and traced as usual inside another program.

    JAX accepts compiler options only for the outermost program, whose options also apply to the functions inside it. Under an eager gradient or vmap, no
    program is the outermost one, and the function is compiled with JAX's own options.

    Attributes:
        options: the compiler options.
    """

    def __init__(self, function: Callable[..., Any], make: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self._outermost = make(function, compiler_options=dict(options))
        self._inside = make(function)
        self.options = dict(options)
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return (self._outermost if _outermost() else self._inside)(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method, where a class has a program among its functions."""
        return self if instance is None else partial(self, instance)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """Lower the program for these arguments, without compiling it."""
        return self._outermost.lower(*args, **kwargs)

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Shapes and dtypes of the result, without computing it."""
        return self._inside.eval_shape(*args, **kwargs)


def jit(function: Callable[..., Any] | None = None, *, compiler_options: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
    """`jax.jit` with the library's compiler options.

    Args:
        function: the function to compile; without it, `jit` returns a decorator.
        compiler_options: further options.
        kwargs: passed to `jax.jit`.
    """
    if function is None:
        return partial(jit, compiler_options=compiler_options, **kwargs)
    return Program(function, partial(jax.jit, **kwargs), {**SCHEDULE, **(compiler_options or {})})


def filter_jit(function: Callable[..., Any]) -> Any:
    """`equinox.filter_jit` with the library's compiler options."""
    return Program(function, eqx.filter_jit, SCHEDULE)


def _outermost() -> bool:
    """Whether no transformation (jit, grad, vmap, ...) is tracing."""
    return get_opaque_trace_state() == _UNTRACED


def _state_of_a_new_thread() -> Any:
    """Nothing is traced there, even while this module is imported inside a trace."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(get_opaque_trace_state).result()


_UNTRACED = _state_of_a_new_thread()
