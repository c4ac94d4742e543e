"""Claims and their checks: one number per replicate, intervals, verdicts. Does not import JAX; usable without the rest of mesocosm."""

from mesocosm.claims.claim import Bootstrap, Check, Claim, Control, Every, Exact, Mean, Rate, Reference
from mesocosm.claims.region import Region, above, below, between
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.view import View

__all__ = [
    "Bootstrap",
    "Check",
    "Claim",
    "Control",
    "Every",
    "Exact",
    "Instances",
    "Mean",
    "NotJudged",
    "Rate",
    "Reference",
    "Region",
    "Replicates",
    "View",
    "above",
    "below",
    "between",
]
