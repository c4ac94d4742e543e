"""One BLAS thread inside the context, and what was before outside."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from mesocosm.analysis.spectra.blas_threads import one_blas_thread


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_has_one_thread_inside_and_its_own_again_outside():
    np.linalg.svd(np.eye(3))
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == before
