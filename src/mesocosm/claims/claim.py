"""Claim and Check: a sentence of a paper, and the measurements that decide whether it holds."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from mesocosm.claims.region import Region
from mesocosm.claims.replicates import Instances, Replicates
from mesocosm.claims.view import View

PresetName = Literal["smoke", "quick", "cpu", "paper"]
Evidence = Literal["finding", "identity", "implementation"]
"""A finding could have come out otherwise on other seeds. An identity is decided by mathematics or exact computation, so that no seed can change it. An
implementation check compares our code with an independent form."""


@dataclass(frozen=True)
class _Kind:
    """What the value of a check is, and its unit."""

    of: str
    unit: str | None = None


class Exact(_Kind):
    """An identity: the largest error over at least 100 random instances or over all of a finite set. No interval.

    Errors are absolute values; the control, a named mutant, must reach 100 tolerances.
    """


class Every(_Kind):
    """An inequality that must hold for all of a finite set, or for at least 100 random instances. No interval.

    Values are signed; the estimate is the one nearest to the region's edge, or furthest outside. Holds iff all lie inside the region, else fails. The
    control must break the statement in the same sense: its estimate, the worst of its instances, lies outside. (Removing the mechanism must make the
    inequality false but need not reverse it everywhere.)
    """


class Mean(_Kind):
    """The mean of one number per replicate, with a 95 % t interval that carries the error of the evaluation data (`claims.intervals.t_interval`)."""


class Rate(_Kind):
    """The fraction of replicates that meet a success criterion (values 0 or 1), with the Clopper-Pearson interval."""


@dataclass(frozen=True)
class Bootstrap(_Kind):
    """A statistic over 20 or more replicates with a BCa bootstrap interval."""

    statistic: Literal["median", "interquartile mean"] = "median"


Kind = Exact | Every | Mean | Rate | Bootstrap
Measurement = Callable[[View], Replicates | Instances]


@dataclass(frozen=True)
class Control:
    """The same measurement where it must lie outside the region: the named mechanism removed, a positive control, or a named mutant."""

    name: str
    measure: Measurement


@dataclass(frozen=True)
class Reference:
    """A number to compare with, in the check's metric and unit, and its source."""

    value: float
    origin: Literal["paper", "authors' code", "derived", "ours"]

    def __post_init__(self) -> None:
        """Reject values that a table cannot hold."""
        if not math.isfinite(self.value):
            raise ValueError(f"a reference must be a finite number, not {self.value}")


@dataclass(frozen=True)
class Check:
    """One measurement against one region.

    Attributes:
        name: short; the id in the table is `study/claim.name`.
        kind: how values become an interval, and what the value is.
        inside: the region, fixed before the record is run.
        measure: reads tables through a View.
        control: the measurement that must lie outside the region.
        judged_at: presets that are large enough to judge this.
        replicate: what is redrawn for each value.
        reference: the paper's number, if it gave one.
        searched: how many configurations were tried on pilot seeds before the region was set.
        evidence: what kind of evidence its verdict is; by default, `Exact` and `Every` are identities and the others findings.
        note: if it does not hold, what was found and tried, in one or two sentences. Written after a record; not part of the fingerprint.
        line: where the check is written, `package/module.py:line`.
    """

    name: str
    kind: Kind
    inside: Region
    measure: Measurement
    control: Control
    judged_at: frozenset[str] | set[str]
    replicate: str = "initialisation and data stream"
    reference: Reference | None = None
    searched: int = 0
    note: str | None = None
    evidence: Evidence = None  # type: ignore[assignment]
    line: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Record the source line; reject an unknown preset, and an identity without a tolerance."""
        object.__setattr__(self, "line", _line_outside("mesocosm.claims", "dataclasses", "jaxtyping", "beartype"))
        if self.evidence is None:
            object.__setattr__(self, "evidence", "identity" if isinstance(self.kind, Exact | Every) else "finding")
        unknown = sorted(set(self.judged_at) - set(get_args(PresetName)))
        if unknown or not self.judged_at:
            raise ValueError(f"check {self.name} is judged at {', '.join(unknown) or 'no preset'}; the presets are {', '.join(get_args(PresetName))}")
        if isinstance(self.kind, Exact) and (self.inside.low is not None or self.inside.high is None or self.inside.high <= 0):
            raise ValueError(f"check {self.name} is exact: its region is below(tolerance) with a positive tolerance")


def _line_outside(*modules: str) -> str:
    """File and line of the innermost caller that is in none of these modules; the file's path begins at its package."""
    frame = sys._getframe(1)
    while frame.f_back and any(f"{frame.f_globals.get('__name__')}.".startswith(f"{module}.") for module in modules):
        frame = frame.f_back
    file, package = Path(frame.f_code.co_filename), sys.modules.get(str(frame.f_globals.get("__name__")).partition(".")[0])
    root = Path(package.__file__).parent.parent if package and package.__file__ and hasattr(package, "__path__") else file.parent
    return f"{file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name}:{frame.f_lineno}"


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper and its place there. It holds iff all its checks hold and fails iff any fails.

    `unjudged` gives the reason if mesocosm cannot judge the claim; such a claim has no checks.
    """

    id: str
    statement: str
    source: str
    checks: Sequence[Check] = ()
    unjudged: str | None = None

    def __post_init__(self) -> None:
        """Require either checks or a reason for having none, and unique check names."""
        if bool(self.checks) == bool(self.unjudged):
            raise ValueError(f"claim {self.id} needs either checks or the reason why it is not judged")
        names = [check.name for check in self.checks]
        if len(set(names)) < len(names):
            raise ValueError(f"claim {self.id} has two checks of the same name among {', '.join(names)}")
