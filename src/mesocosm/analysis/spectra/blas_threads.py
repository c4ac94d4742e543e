"""One BLAS thread for many small decompositions.

NumPy's OpenBLAS starts a thread a core for every one of them, however small, and threads wait for each other in a busy loop: 32 decompositions of 128 by 128
take 0.03 s with one thread; on two busy cores with two threads they were seen to take 17 s of processor time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> Any:
    """A context in which NumPy and SciPy decompose and multiply on one core; what was set before holds again behind it."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    """Finding the libraries takes milliseconds, so it is done once; NumPy is loaded by then."""
    import numpy  # noqa: F401

    return ThreadpoolController()
