"""A decaying average that is trained to predict a noisy random walk becomes a Kalman filter."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    title="A trained decaying average is the steady-state Kalman filter",
    paper="Muth, Optimal properties of exponentially weighted forecasts (1960)",
)
