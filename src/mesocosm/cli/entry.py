"""Where a command line is answered: a user's mistake is one line on standard error and exit code 2; a failed trial is exit code 1."""

import io
import shlex
import sys
from collections.abc import Sequence

from mesocosm.cli.handlers import handle
from mesocosm.cli.parse import parse_command
from mesocosm.lab.errors import TrialError, UserError
from mesocosm.lab.events.progress import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer a command line (default: the process's own); returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal or a log that cannot show a sign gets a question mark
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
    """Refuse what no file of a run could hold.

    Raises:
        UserError: a word that is not text.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"{word!r} is not valid UTF-8") from None


def brief(message: str, most: int = 600) -> str:
    """One line without control characters; the middle of a very long one is left out, since its end says what to do."""
    line = " ".join(printable(message).split())
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"
