"""The mesa layer's peers, each on the same problem: the regression of values on keys at every token."""

import os

# OpenBLAS (NumPy's, and SciPy's behind jnp.linalg.solve) loses two orders of magnitude when its threads share one small system; read when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
