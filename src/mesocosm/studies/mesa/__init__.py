"""Networks trained to predict linear systems learn by gradient descent in context; the mesa layer does it in one step."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    slots=("mixer",),
    title="Uncovering mesa-optimization algorithms in Transformers",
    paper="von Oswald et al., Uncovering mesa-optimization algorithms in Transformers (2023, arXiv 2309.05858), with MesaNet (2025, arXiv 2506.05233)",
)
