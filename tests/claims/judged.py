"""Measurements that are given, and the verdict on a check of them."""

import numpy as np

from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.fingerprints import fingerprints
from mesocosm.claims.judge import CheckRow, judge
from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.studies.interface import Check, Claim, Control, Mean, View


def sample(values, errors=0.0, ids=None) -> Replicates:
    values = np.asarray(values, dtype=np.float64)
    return Replicates(values, tuple(ids or range(len(values))), ("",) * len(values), np.full(len(values), errors))


def noisy(mean, n=5, spread=0.1) -> Replicates:
    """Values with exactly this mean and standard deviation."""
    z = np.random.default_rng(0).normal(size=n)
    return sample(mean + spread * (z - z.mean()) / z.std(ddof=1))


def rate(successes, n) -> Replicates:
    return sample(np.arange(n) < successes)


def instances(largest, n=100, exhaustive=False) -> Instances:
    return Instances(np.linspace(0, largest, n), exhaustive)


def give(value):
    """A measurement that gives this, or raises it."""

    def measure(view):
        if isinstance(value, Exception):
            raise value
        return value

    return measure


def check(value, control, inside, kind=None, name="loss", **options) -> Check:
    options = {"judged_at": {"quick", "cpu"}} | options
    return Check(name, kind or Mean("loss"), inside, give(value), Control("without the mechanism", give(control)), **options)


def verdict(*checks: Check, preset="quick", tables=None, strict=True, **circumstances) -> CheckRow:
    """The first row of a study of one claim."""
    claims = [Claim("C1", "It emerges.", source="Fig. 1", checks=checks)]
    run = Circumstances("mesocosm run toy", **{"fingerprints": fingerprints(claims)} | circumstances)
    return judge("toy", claims, View(None, preset, tables or {}), run, strict=strict)[0]
