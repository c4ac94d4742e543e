"""Exceptions of an audit."""


class AuditError(ValueError):
    """A checkpoint cannot be read or has nothing to audit; the message says in one line what is wrong and how to fix it."""


class Skip(Exception):
    """An attention block cannot be audited; the message is the reason in its row."""
