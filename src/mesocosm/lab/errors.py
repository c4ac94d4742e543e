"""A user's mistakes: one clear line each, exit code 2 at the command line, an ordinary exception from Python."""


class UserError(Exception):
    """Something only the user can mend; the message says what is wrong and what would be right."""


class UnknownFormat(UserError):
    """A run directory whose format this version cannot read."""


class TrialError(UserError):
    """A trial raised and `--fail-fast` was asked for; not the user's mistake, so exit code 1."""


def error_line(error: BaseException) -> str:
    """An exception in one line: its type and the first line that its message has; the next one too after a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
