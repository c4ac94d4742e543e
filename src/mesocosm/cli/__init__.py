"""The command line: what can be asked (`commands`), how words are read (`reading`), how each is answered (`answers`), and `main`."""

from mesocosm.cli.entry import main

__all__ = ["main"]
