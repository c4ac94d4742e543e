"""Cooperation among agents who know that the others learn: shaping naive learners, and each other."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    title="Multi-agent cooperation through learning-aware policy gradients",
    paper="Meulemans, Kobayashi, von Oswald, Scherrer, Elmoznino, Richards, Lajoie, Aguera y Arcas, Sacramento, Multi-agent cooperation through "
    "learning-aware policy gradients (ICLR 2025, arXiv 2410.18636)",
    slots=("estimator",),
)
