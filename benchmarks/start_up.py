"""How long the command line takes to answer, in a process of its own, beside the bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "start_up"
TITLE = "from the command to its answer"
FRONT_DOOR = "import sys; from mesocosm.cli import main; sys.exit(main())"  # what the console script does
SECONDS = {"tiny": 0.0, "small": 2.0, "full": 15.0}


def cases(sizes: str) -> Sequence[Case]:
    """The two commands that must not load JAX."""
    return [Case(f"mesocosm {word}", 1, partial(start, word, SECONDS[sizes])) for word in ("--help", "list")]


def start(word: str, seconds: float) -> list[Row]:
    """Whole processes, one after the other."""
    ours = Contender(f"mesocosm {word}", partial(process, FRONT_DOOR, word))
    bare = Contender("the bare interpreter", partial(process, ""))
    limit = "Python's imports: rich, tyro and the studies' packages"
    return [Comparison(NAME, f"mesocosm {word}", "", seconds, Target("ours", "≤", 1.0), limit).timed(ours, bare)]


def process(code: str, *words: str) -> None:
    """Run a program to its end."""
    subprocess.run([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
