"""What an audit cannot do."""


class AuditError(ValueError):
    """A checkpoint that cannot be read or has nothing to audit; one line that says what is wrong and what would be right."""


class Skip(Exception):
    """An attention block that cannot be audited; the text is the reason in its row."""
