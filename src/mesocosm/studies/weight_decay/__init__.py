"""Weight decay on two factors acts as a nuclear norm on their product, so attention layers become low-rank. First half: the law itself."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    title="Weight decay induces low-rank attention layers",
    paper="Kobayashi, Akram and von Oswald, Weight decay induces low-rank attention layers (NeurIPS 2024, arXiv 2410.23819)",
)
