"""Composition in context: whether a transformer recombines modules that it saw in other pairs, with and without a bottleneck for the task's code."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    slots=("mixer",),
    title="Composition in context",
    paper="Kobayashi, Schug et al., When can transformers compositionally generalize in-context? (2024, arXiv 2407.12275)",
)
