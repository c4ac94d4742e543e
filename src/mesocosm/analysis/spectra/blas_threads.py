"""One BLAS thread for many small decompositions.

NumPy's OpenBLAS starts one thread per core for each of them, however small, and the threads wait for each other in a busy loop: 32 decompositions of 128 by
128 take 0.03 s with one thread; with two threads on two busy cores, we measured up to 17 s of processor time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> Any:
    """A context in which NumPy and SciPy use one BLAS thread; leaving it restores the previous setting."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    """Find the BLAS libraries, once because it takes milliseconds; NumPy must be loaded."""
    import numpy  # noqa: F401

    return ThreadpoolController()
