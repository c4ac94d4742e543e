"""The whole test run checks shapes: jaxtyping annotations are enforced by beartype in every module of the package."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("JAX_PLATFORMS", "cpu")
install_import_hook("mesocosm", "beartype.beartype")
