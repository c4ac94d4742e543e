"""How long the report of a record takes: the page and its pictures in a process that has written one before, and the whole command."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from mesocosm.lab.report.run_page import write_report
from mesocosm.lab.store.run_directory import Run
from start_up import FRONT_DOOR, process
from stopwatch.driver import ROOT, Case, main
from stopwatch.rows import Comparison, Row

NAME = "report_build"
TITLE = "the report of results/mesa"
REPEATS = {"tiny": 1, "small": 2, "full": 7}


def cases(sizes: str) -> Sequence[Case]:
    """Warm and cold."""
    return [Case("write the report", 1, partial(build, REPEATS[sizes]))]


def build(repeats: int) -> list[Row]:
    """On a copy, since a report is written into its run."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(ROOT / "results" / "mesa", Path(folder) / "mesa"))
        cold = median_seconds(partial(process, FRONT_DOOR, "report", str(copy)), repeats)
        write_report(Run(copy))
        warm = median_seconds(lambda: write_report(Run(copy)), repeats)
        figures = len(list((copy / "figures").glob("*.svg")))
    size = f"{figures} figures"
    head = partial(Comparison, NAME, size=size, seconds=0.0)
    return [head("the command, mesocosm report").measured("seconds", cold), head("again in the same process").measured("seconds", warm)]


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Of so many runs."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
