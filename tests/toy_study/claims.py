"""What the toy study claims: one claim for each kind of check, and one that nobody can judge."""

import numpy as np
import polars as pl

from mesocosm.claims.measures import Measure, derived, instances, replicates
from mesocosm.claims.pilots import pilots
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Trials
from mesocosm.studies.interface import Check, Claim, Control, Exact, Mean, Rate, Reference, above, below
from toy_study.tables import FROZEN, ROLLING, Heights, Identity

JUDGED = {"quick", "cpu"}


def log_drop(trial: Trials) -> Measure[Replicates]:
    return replicates(Heights.end, trial=trial).over(replicates(Heights.start, trial=trial)).map(np.log10)


def rolled_down(trial: Trials) -> Measure[Replicates]:
    success = (pl.col(Heights.end) < 0.1 * pl.col(Heights.start)).cast(pl.Float64)
    return derived(lambda table: Replicates.of(table.with_columns(success=success), "success"), Heights.rows(trial))


CLAIMS = [
    Claim(
        "C1",
        "The height is half the squared distance from the bottom.",
        source="Eq. 1",
        checks=[
            Check(
                "identity",
                Exact("largest error of the height"),
                below(1e-12),
                instances(Identity.error),
                Control("the half forgotten", instances(Identity.mutant)),
                judged_at=JUDGED,
            )
        ],
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
                log_drop(ROLLING),
                Control("no step", log_drop(FROZEN)),
                judged_at=JUDGED,
                reference=Reference(-4.0, "paper"),
            ),
            Check(
                "rate",
                Rate("fraction of balls below a tenth of their first height"),
                above(0.5),
                rolled_down(ROLLING),
                Control("no step", rolled_down(FROZEN)),
                judged_at=JUDGED,
                searched=pilots("toy_study").count(),
            ),
        ],
    ),
    Claim("C3", "Balls enjoy it.", source="Sec. 5", unjudged="needs a ball that answers questions"),
]
