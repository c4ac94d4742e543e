"""Save how stable verdicts are: `python results/stability.py RUN...`, for runs of one or more studies at one preset on different seeds.

`stability.csv` then has a line for each check that any run of its study judged, with its verdict by first seed. The documentation reads it.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from mesocosm.lab.store.run_directory import Run

FILE = Path(__file__).with_name("stability.csv")


def stability(runs: Iterable[Path]) -> pl.DataFrame:
    """The verdicts of every check that some run judged, one line a check and run.

    Raises:
        ValueError: the runs are of several presets, or two runs of a study share seeds.
    """
    found, met = defaultdict(list), set()
    presets = set()
    for run in map(Run, runs):
        presets.add(run.preset)
        seeds = {(run.study.name, seed) for seed in run.seeds}
        if len(presets) > 1 or seeds & met:
            raise ValueError(f"{run.path} {'has another preset than the runs before it' if len(presets) > 1 else 'shares seeds with a run before it'}")
        met |= seeds
        for row in run.claims:
            if row["kind"]:
                study, _, check = row["id"].partition("/")
                found[row["id"]].append((study, check, row["evidence"], run.preset, run.seeds[0], row["verdict"]))
    judged = [line for lines in found.values() if any(line[-1] != "not judged" for line in lines) for line in lines]
    return pl.DataFrame(judged, ["study", "check", "evidence", "preset", "first_seed", "verdict"], orient="row")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", nargs="+", type=Path, help="finished run directories")
    stability(arguments.parse_args().run).write_csv(FILE)
    print(FILE)
