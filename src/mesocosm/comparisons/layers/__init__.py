"""One layer on every task: layers are trained on every sequence task at equal parameters, steps and search (`mesocosm compare`)."""

from mesocosm.studies.interface import Study

STUDY = Study(__name__, title="One layer on every task", paper="A comparison of layers, not a paper's claims")
