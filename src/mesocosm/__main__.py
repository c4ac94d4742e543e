"""Where the command `mesocosm` and `python -m mesocosm` begin."""

import sys


def main() -> int:
    """Answer the process's command line; Ctrl-C ends it quietly, also while Python still imports."""
    try:
        from mesocosm.cli import main as answer

        return answer()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
