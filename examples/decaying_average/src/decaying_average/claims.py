"""What is claimed, and what would show that it is wrong."""

from math import log

import numpy as np

from decaying_average.trials import kalman_gain
from mesocosm.claims.replicates import Replicates
from mesocosm.studies.interface import Check, Claim, Control, Mean, View, between


def against_kalman(trial: str):
    """Log ratio of a learned gain to Kalman's for the moving walk."""

    def measure(view: View) -> Replicates:
        return Replicates.of(view.table("forecaster", trial=trial), "gain").map(lambda gain: np.log(gain / kalman_gain(view.config.walk)))

    return measure


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
                against_kalman("moving"),
                Control("trained on a level that stands almost still", against_kalman("still")),
                judged_at={"quick"},
            )
        ],
    )
]
