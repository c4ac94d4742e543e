"""A user's mistakes: one clear line each, exit code 2 at the command line, an ordinary exception from Python."""


class UserError(Exception):
    """Something only the user can mend; the message says what is wrong and what would be right."""


class UnknownFormat(UserError):
    """A run directory whose format this version cannot read."""


class TrialFailed(UserError):
    """A trial raised and `--fail-fast` was asked for; not the user's mistake, so exit code 1."""
