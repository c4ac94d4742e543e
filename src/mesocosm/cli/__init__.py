"""The command line: commands, their parser and handlers, terminal tables, and `main`."""

from mesocosm.cli.entry import main

__all__ = ["main"]
