"""User errors: one line and exit code 2 at the command line, an ordinary exception in Python."""


class UserError(Exception):
    """An error that the user can fix; the message says what is wrong and what would be right."""


class UnknownFormat(UserError):
    """A run directory whose format this version cannot read."""


class TrialError(UserError):
    """A trial failed under `--fail-fast`; not a user error, so the exit code is 1."""


def error_line(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message, and the second if the first ends in a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
