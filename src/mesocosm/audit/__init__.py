"""Audit of trained checkpoints: rank and balance of their attention products, compared with random factors.

`audit("path/or/owner/name").rows` is a Polars table. The package uses NumPy and Polars, not JAX. See the guide, docs/auditing.md.
"""

from mesocosm.audit.checkpoint_audit import Audit, Options, audit
from mesocosm.audit.errors import AuditError

__all__ = ["Audit", "AuditError", "Options", "audit"]
