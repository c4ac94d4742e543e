"""Gated linear RNNs trained beside linear attention find attention's algorithm; the weights at which they are attention are known."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    slots=("mixer",),
    title="Gated recurrent neural networks discover attention",
    paper="Zucchet et al., Gated recurrent neural networks discover attention (2023, arXiv 2309.01775)",
)
