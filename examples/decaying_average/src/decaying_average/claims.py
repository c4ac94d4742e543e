"""What is claimed, and what would show that it is wrong."""

from math import log

import numpy as np

from decaying_average.tables import MOVING, STILL, Forecaster
from decaying_average.train import kalman_gain
from mesocosm.claims.measures import Measure, replicates
from mesocosm.claims.replicates import Replicates
from mesocosm.claims.tables import Trials
from mesocosm.studies.interface import Check, Claim, Control, Mean, View, between


def against_kalman(trial: Trials) -> Measure[Replicates]:
    """Log ratio of a learned gain to Kalman's for the moving walk."""
    gain = replicates(Forecaster.gain, trial=trial)

    def measure(view: View) -> Replicates:
        return gain(view).map(lambda gain: np.log(gain / kalman_gain(view.config.walk)))

    return Measure(gain.reads, measure)


CLAIMS = [
    Claim(
        "C1",
        "The learned decay is that of the steady-state Kalman filter.",
        source="Muth (1960)",
        checks=[
            Check(
                "gain",
                Mean("log ratio of gains, learned over Kalman's"),
                between(log(0.9), log(1.1)),
                against_kalman(MOVING),
                Control("trained on a level that stands almost still", against_kalman(STILL)),
                judged_at={"quick"},
            )
        ],
    )
]
