"""Modular students: when zero training loss identifies the modules, and when networks that adapt by codes compose them in tasks that they have never seen."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    title="Discovering modular solutions that generalize compositionally",
    paper="Schug, Kobayashi, Akram, Wolczyk, Proca, von Oswald, Pascanu, Sacramento and Steger, Discovering modular solutions that generalize "
    "compositionally (2024, arXiv 2312.15001)",
)
