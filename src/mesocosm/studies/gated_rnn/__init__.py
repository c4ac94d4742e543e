"""Gated linear RNNs that learn from linear attention find attention's algorithm; the weights that implement it exactly are known."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    slots=("mixer",),
    title="Gated recurrent neural networks discover attention",
    paper="Zucchet et al., Gated recurrent neural networks discover attention (2023, arXiv 2309.01775)",
)
