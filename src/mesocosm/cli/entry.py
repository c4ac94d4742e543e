"""The entry point. A user error prints one line on standard error with exit code 2; a failed trial gives exit code 1."""

import io
import shlex
import sys
from collections.abc import Sequence

from mesocosm.cli.handlers import handle
from mesocosm.cli.parse import parse_command
from mesocosm.lab.errors import TrialError, UserError
from mesocosm.lab.events.progress import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: `sys.argv`) and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # characters that the terminal or log cannot encode become question marks
    try:
        check_words(words)
        return handle(parse_command(words), shlex.join(["mesocosm", *words]))
    except UserError as mistake:
        print(f"mesocosm: {brief(str(mistake))}", file=sys.stderr)
        return 1 if isinstance(mistake, TrialError) else 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def check_words(words: Sequence[str]) -> None:
    """Reject arguments that cannot be stored in a run's files.

    Raises:
        UserError: an argument is not valid UTF-8.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"{word!r} is not valid UTF-8") from None


def brief(message: str, most: int = 600) -> str:
    """Shorten a message to one line without control characters; drops the middle of a long one, because the end says what to do."""
    line = " ".join(printable(message).split())
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"
