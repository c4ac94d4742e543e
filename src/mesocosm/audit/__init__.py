"""An audit of other people's checkpoints: rank and balance of their attention products, each number beside what random factors give.

NumPy and Polars, no JAX: `audit("path/or/owner/name").rows` is a table. See the guide, docs/auditing.md.
"""

from mesocosm.audit.checkpoint_audit import Audit, Options, audit
from mesocosm.audit.errors import AuditError

__all__ = ["Audit", "AuditError", "Options", "audit"]
