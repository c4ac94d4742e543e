"""The check of a trained arm, and what arms are called in it."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.claims.claim import Evidence
from mesocosm.claims.forms import CPU
from mesocosm.claims.pilots import pilots
from mesocosm.studies.cocoa.notes import NOTES
from mesocosm.studies.interface import Check, Control, Mean, Measurement, Rate, Reference, Region

TRAINING = "initialisation, episodes and, with features, their training"

# Number of configurations in search.csv by experiment; but for features, what was searched is the same for all estimators.
SEARCHED = pilots("mesocosm.studies.cocoa").counts("experiment", beside=("estimator", "steps"))

NAMES = {
    "cocoa-reward": "COCOA-reward",
    "cocoa-feature": "COCOA-feature",
    "cocoa-merged": "COCOA with one outcome for all rewards",
    "cocoa-contrastive": "COCOA trained by contrast",
    "cocoa-unsigned": "COCOA with rewards without their sign as outcomes",
    "immediate": "COCOA with coefficients of 0",
    "q-critic": "Q-critic",
    "advantage": "Advantage",
    "trajcv": "TrajCV",
    "hca-plus": "HCA+",
    "hca": "HCA",
    "hca-return": "HCA-return",
    "counterfactual-return": "Counterfactual Return",
    "reinforce": "REINFORCE",
}


def judged(
    experiment: str,
    claim: str,
    name: str,
    kind: Mean | Rate,
    region: Region,
    measure: Measurement,
    control: Control,
    paper: float | None = None,
    *,
    differs: str = "",
    replicate: str = TRAINING,
    evidence: Evidence = "finding",
    with_features: bool = False,
) -> Check:
    """A check of a trained arm, with the paper's number, what sets it apart from ours, and the experiment whose pilots are counted; features have their own."""
    return Check(
        name,
        replace(kind, of=f"{kind.of} (the paper's number: {differs})") if differs else kind,
        region,
        measure,
        control,
        judged_at=CPU,
        replicate=replicate,
        searched=SEARCHED.get(experiment, 0) + (SEARCHED["features"] if with_features else 0),
        reference=None if paper is None else Reference(paper, "paper"),
        note=NOTES.get(f"{claim}.{name}"),
        evidence=evidence,
    )
