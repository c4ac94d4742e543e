"""Transformers that read a random seed and learn, against an adversary who does not see it, which inputs to fail on by chance."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    slots=("model",),
    title="Learning randomized algorithms with transformers",
    paper="von Oswald, Kobayashi, Akram and Steger, Learning randomized algorithms with transformers (2025, arXiv 2408.10818)",
)
