"""The sources of a deep ensemble's variance, in kernel models and in trained networks."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    title="Disentangling the predictive variance of deep ensembles through the neural tangent kernel",
    paper="S. Kobayashi, P. Vilimelis Aceituno, J. von Oswald, NeurIPS 2022, arXiv 2210.09818",
)
