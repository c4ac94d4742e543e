"""The command line: what can be asked (`commands`), how words are read (`reading`), how each is answered (`answers`), and `main`."""

from mesocosm.cli.front_door import main

__all__ = ["main"]
