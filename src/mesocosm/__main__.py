"""Entry point of `mesocosm` and `python -m mesocosm`."""

import sys


def main() -> int:
    """Run the process's command line; Ctrl-C exits quietly, even during imports."""
    try:
        from mesocosm.cli import main as answer

        return answer()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
