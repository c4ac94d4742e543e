"""What the toy study claims: one claim for each kind of check, and one that nobody can judge."""

import numpy as np
import polars as pl

from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.studies.interface import Check, Claim, Control, Exact, Mean, Rate, Reference, View, above, below

JUDGED = {"quick", "cpu"}


def arm(view: View, trial: str) -> pl.DataFrame:
    return view.table("heights", trial=trial)


def identity(view: View) -> Instances:
    return Instances.of(view.table("identity"), "error")


def mutant(view: View) -> Instances:
    return Instances.of(view.table("identity"), "mutant")


def log_drop(view: View, trial: str) -> Replicates:
    start, end = (Replicates.of(arm(view, trial), column) for column in ("start", "end"))
    return end.over(start).map(np.log10)


def rolled_down(view: View, trial: str) -> Replicates:
    return Replicates.of(arm(view, trial).with_columns(success=(pl.col("end") < 0.1 * pl.col("start")).cast(pl.Float64)), "success")


CLAIMS = [
    Claim(
        "C1",
        "The height is half the squared distance from the bottom.",
        source="Eq. 1",
        checks=[Check("identity", Exact("largest error of the height"), below(1e-12), identity, Control("the half forgotten", mutant), judged_at=JUDGED)],
    ),
    Claim(
        "C2",
        "Balls roll downhill.",
        source="Fig. 2",
        checks=[
            Check(
                "drop",
                Mean("log10 of final over initial height"),
                below(-1.0),
                lambda view: log_drop(view, "rolling"),
                Control("no step", lambda view: log_drop(view, "frozen")),
                judged_at=JUDGED,
                reference=Reference(-4.0, "paper"),
            ),
            Check(
                "rate",
                Rate("fraction of balls below a tenth of their first height"),
                above(0.5),
                lambda view: rolled_down(view, "rolling"),
                Control("no step", lambda view: rolled_down(view, "frozen")),
                judged_at=JUDGED,
                searched=3,
            ),
        ],
    ),
    Claim("C3", "Balls enjoy it.", source="Sec. 5", unjudged="needs a ball that answers questions"),
]
