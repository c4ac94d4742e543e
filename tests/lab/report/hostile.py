"""A run in which every string that a user could have chosen tries to become markup or a script."""

import math
from dataclasses import replace
from types import SimpleNamespace

import polars as pl

from mesocosm.lab.store.run_directory import Run
from mesocosm.studies.interface import View
from toy_study import STUDY

HOSTILE = """</script><script>alert(1)</script>"><img src=x onerror="alert(2)"> '><svg onload=alert(3)> "'&{{body}} \u2028"""
ROW = {
    "id": "toy-study/C2.drop",
    "claim": "C2",
    "statement": "Balls roll downhill.",
    "source": "Fig. 2",
    "kind": "mean",
    "metric": "log ratio",
    "unit": None,
    "estimate": -2.0,
    "low": -2.5,
    "high": -1.5,
    "n": 3,
    "replicates": [{"id": 0, "value": -2.2}, {"id": 1, "value": -2.0}, {"id": 2, "value": -1.8}],
    "threshold": -1.0,
    "direction": "<",
    "control": {"name": "no step", "estimate": 0.0, "low": -0.1, "high": 0.1},
    "reference": -4.0,
    "origin": "paper",
    "searched": 2,
    "tables": ["heights"],
    "command": "mesocosm run toy-study",
    "verdict": "holds",
    "reason": None,
    "records": 1,
    "holm": True,
    "checks": 1,
}


def hostile_run(tmp_path):
    """A run in which every string that a user could have chosen is hostile, and a table holds NaN."""
    columns = {"trial": [HOSTILE, "b", HOSTILE], "seed": [0, 1, 2], "start": [1.0, math.nan, 3.0], "end": [math.inf, 2.0, 3.0], HOSTILE: [HOSTILE, "c", "d"]}
    heights = pl.DataFrame(columns)
    figures = [replace(figure, name="figure", title=HOSTILE, caption=HOSTILE) for figure in STUDY.figures]
    study = SimpleNamespace(package="mesocosm.studies", name=HOSTILE, title=HOSTILE, paper=HOSTILE, figures=figures, claims=[])
    words = dict.fromkeys(("id", "claim", "statement", "source", "metric", "unit", "command", "reason", "note", "page", "verdict", "origin", "kind"), HOSTILE)
    control = {**ROW["control"], "name": HOSTILE}
    earlier = [{"verdict": HOSTILE, "date": HOSTILE, "seeds": HOSTILE, "on": ground} for ground in ("these tables", "other seeds")]
    parts = {
        "path": tmp_path,
        "study": study,
        "preset": HOSTILE,
        "seeds": (0, 1),
        "claims": [
            ROW,
            {**ROW, **words, "control": control, "tables": [HOSTILE], "earlier": earlier},
            {**ROW, **words, "kind": None, "estimate": None, "control": None},
        ],
        "trials": {HOSTILE: {"state": HOSTILE, "error": HOSTILE, "seconds": 2.0, "fits": {HOSTILE: {"steps": 3}}}},
        "outdated": {HOSTILE: [HOSTILE]},
        "record": {
            "config": {HOSTILE: HOSTILE},
            "changes": [HOSTILE],
            "seeds": [0, 1],
            "versions": {HOSTILE: HOSTILE},
            "device": {"processor": HOSTILE, HOSTILE: HOSTILE},
            "git": HOSTILE,
            "command": HOSTILE,
            "started": HOSTILE,
        },
        "view": lambda self: View(None, "quick", {"heights": heights, HOSTILE: heights}),
    }
    return object.__new__(type("HostileRun", (Run,), parts))
