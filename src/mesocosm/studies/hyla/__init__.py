"""Attention as a hypernetwork: whether networks compose known terms and rules, and what HYLA's value networks add."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    slots=("mixer",),
    title="Attention as a hypernetwork",
    paper="Schug et al., Attention as a hypernetwork (2025, arXiv 2406.05816)",
)
