"""Credit by counterfactual contributions: by how much an action makes a rewarding outcome more likely, not by how much reward came after it."""

from mesocosm.studies.interface import Study

STUDY = Study(
    __name__,
    title="Would I have gotten that reward? Long-term credit assignment by counterfactual contribution analysis",
    paper="Meulemans, Schug, Kobayashi, Daw, Wayne, Would I have gotten that reward? (NeurIPS 2023, arXiv 2306.16803)",
    slots=("estimator",),
)
