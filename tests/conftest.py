"""The whole test run checks shapes: jaxtyping annotations are enforced by beartype in every module of the package."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile much and run little: LLVM's higher levels would cost several times the whole run.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=1".strip()
install_import_hook("mesocosm", "beartype.beartype")
