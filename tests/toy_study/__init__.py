"""A study small enough to run in a test: noisy gradient descent in a bowl, with every kind of part that a real study has."""

from mesocosm.studies.interface import Study

STUDY = Study(__name__, title="Balls roll downhill", paper="A. Nonymous, Noisy descent in a bowl (2024)")
