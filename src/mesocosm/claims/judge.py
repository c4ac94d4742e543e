"""Computes verdicts from claims and tables: the rows of `claims.json`.

A check `holds` if its interval lies inside the region that was fixed beforehand, `fails` if it lies outside, and is `inconclusive` otherwise. It is
`not judged` if no verdict is justified; the row then gives the reason and whatever could be computed. This module does not depend on any particular study.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float64

from mesocosm.claims.circumstances import Circumstances
from mesocosm.claims.claim import Bootstrap, Check, Claim, Every, Exact, Mean, Measurement, Rate
from mesocosm.claims.clusters import normal_quantile, within_share
from mesocosm.claims.earlier import EarlierVerdict, Verdict
from mesocosm.claims.fingerprints import changes
from mesocosm.claims.intervals import Family, bca_family, clopper_pearson, holm, interquartile_mean, median, p_value, t_interval
from mesocosm.claims.region import Region
from mesocosm.claims.replicates import Instances, NotJudged, Replicates
from mesocosm.claims.view import View

FEWEST_INSTANCES = 100
"""The fewest random instances on which an identity or an inequality for all is judged."""
MUTANT_FACTOR = 100.0
"""A mutant's error must reach this many tolerances."""
CERTAINLY_TWO_PLACES, PERHAPS_TWO_PLACES = 0.001, 0.01
"""Fractions of normal samples that would be taken for two clusters: one of these samples is not judged, or judged with a warning."""
STATISTICS = {"median": median, "interquartile mean": interquartile_mean}


# --- outputs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReplicateValue:
    """One replicate's value: a dot in the figures."""

    id: str | int | float
    value: float


@dataclass(frozen=True)
class ControlRow:
    """The same measurement where it must lie outside the region."""

    name: str
    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One line of the claims table and one entry of `claims.json`; None where not applicable.

    Attributes:
        id: "study/claim.check"; "study/claim" for a claim that has no checks.
        claim: the claim's id in its study.
        kind: "exact", "every", "mean", "rate" or "bootstrap".
        metric: what the estimate is.
        n: number of replicates, or of instances.
        threshold: the region's end, or both.
        direction: "<", ">" or "in".
        reference: a number to compare with, in the same metric and unit, with its `origin`.
        searched: configurations tried on pilot seeds before the region was set.
        evidence: "finding", "identity" or "implementation".
        tables: names of the tables that were read.
        line: where the check is written, `package/module.py:line`.
        reason: why it is not judged, and whether the check or its measurement's code changed after the run started.
        note: if it fails, is inconclusive, or was measured as it should be but is not judged: what was found and tried.
        page: where a claim that does not hold is discussed.
        records: number of records that gave a verdict on this check, this run included.
        holm: whether a check that has a p-value survives Holm's correction within the study, after its p-value was multiplied by `records` (Bonferroni).
        checks: number of checks judged in the study.
        earlier: earlier verdicts on this check, of the study's records, oldest first; the judge leaves it empty.
    """

    id: str
    claim: str
    statement: str
    source: str
    kind: str | None = None
    metric: str | None = None
    unit: str | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    replicates: list[ReplicateValue] | None = None
    threshold: float | list[float] | None = None
    direction: str | None = None
    control: ControlRow | None = None
    reference: float | None = None
    origin: str | None = None
    searched: int | None = None
    evidence: str | None = None
    tables: list[str] = field(default_factory=list)
    line: str | None = None
    command: str
    verdict: Verdict
    reason: str | None
    note: str | None = None
    page: str | None = None
    records: int = 1
    holm: bool | None = None
    checks: int = 0
    earlier: list[EarlierVerdict] = field(default_factory=list)


def to_json(rows: Sequence[CheckRow]) -> str:
    """The text of `claims.json`."""
    return json.dumps([asdict(row) for row in rows], allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def from_json(text: str) -> list[CheckRow]:
    """The rows of a `claims.json`."""
    rows = []
    for entry in json.loads(text):
        replicates = entry["replicates"] and [ReplicateValue(**value) for value in entry["replicates"]]
        control = entry["control"] and ControlRow(**entry["control"])
        earlier = [EarlierVerdict(**verdict) for verdict in entry.get("earlier", ())]
        rows.append(CheckRow(**{**entry, "replicates": replicates, "control": control, "earlier": earlier}))
    return rows


# --- judging --------------------------------------------------------------------------------------------------------


def judge(study: str, claims: Sequence[Claim], view: View, run: Circumstances, *, strict: bool = False) -> list[CheckRow]:
    """Judge every check of every claim, in order.

    A measurement that raises anything but NotJudged is a bug. Its row says so, and the other checks are still judged; `strict`, for tests, raises it.

    Args:
        study: the study's name.
        claims: its claims.
        view: config, preset and tables of the run.
        run: further facts about the run.
        strict: raise a measurement's own exceptions.
    """
    pairs = [(claim, check) for claim in claims for check in (claim.checks or (None,))]
    judged = [_judge_check(study, claim, check, view, run, strict) if check else (_unjudged(study, claim, run), None) for claim, check in pairs]
    repeated = {row.id for row, _ in judged if sum(row.id == other.id for other, _ in judged) > 1}
    if repeated:
        raise ValueError(f"two checks share the id {', '.join(sorted(repeated))}")
    in_family = [i for i, (row, p) in enumerate(judged) if p is not None and row.verdict != "not judged"]
    adjusted = holm([min(1.0, row.records * (p or 0.0)) for row, p in (judged[i] for i in in_family)])
    survives = dict(zip(in_family, (adjusted < 0.05).tolist(), strict=True))
    number = sum(row.verdict != "not judged" for row, _ in judged)
    return [replace(row, holm=survives.get(i), checks=number) for i, (row, _) in enumerate(judged)]


@dataclass(frozen=True)
class _Measured:
    """A measurement's outcome. Over instances, ends and p are None, and so is the estimate if the worst is not finite; all are None if it was not judged."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    replicates: list[ReplicateValue] | None = None
    p: float | None = None
    verdict: Verdict = "not judged"


def _judge_check(study: str, claim: Claim, check: Check, view: View, run: Circumstances, strict: bool) -> tuple[CheckRow, float | None]:
    """A check's row, without the fields that depend on other checks, and its p-value."""
    view.read.clear()
    name = f"{claim.id}.{check.name}"
    measured, obstacle = _attempt(name, check, check.measure, view, FEWEST_INSTANCES, strict)
    control, control_obstacle = _attempt(name, check, check.control.measure, view, 1, strict)
    standing = _standing_reasons(check, view, run)
    reasons = [*standing, *_obstacles(check, view, run, obstacle, control_obstacle), *_no_sample(check, measured)]
    if not reasons and not _discriminates(check, control):
        told = "the control's interval is too wide" if _imprecise(check, control) else "control does not discriminate"
        reasons.append(f"{told}: {check.control.name!r} gives {_text(control)}, {_wanted(check)}")
    verdict = "not judged" if reasons else measured.verdict
    if verdict == "fails" and measured.estimate is None:
        reasons.append("a value is not finite")
    reasons += _doubts(check, measured)
    reasons += changes(claim, check, run.fingerprints.get(name), run.code)
    found = verdict in ("fails", "inconclusive") or (verdict == "not judged" and measured.n is not None and not standing and not run.unfinished)
    row = _row(study, claim, check, measured, control, sorted(view.read), run, verdict, "; ".join(reasons) or None)
    return replace(row, note=check.note if found else None), measured.p


def _row(
    study: str, claim: Claim, check: Check, measured: _Measured, control: _Measured, tables: list[str], run: Circumstances, verdict: Verdict, reason: str | None
) -> CheckRow:
    return CheckRow(
        id=f"{study}/{claim.id}.{check.name}",
        claim=claim.id,
        statement=claim.statement,
        source=claim.source,
        kind=type(check.kind).__name__.lower(),
        metric=check.kind.of,
        unit=check.kind.unit,
        estimate=measured.estimate,
        low=measured.low,
        high=measured.high,
        n=measured.n,
        replicates=measured.replicates,
        threshold=check.inside.threshold,
        direction=check.inside.direction,
        control=ControlRow(check.control.name, control.estimate, control.low, control.high),
        reference=float(check.reference.value) if check.reference else None,
        origin=check.reference.origin if check.reference else None,
        searched=check.searched,
        evidence=check.evidence,
        tables=tables,
        line=check.line,
        command=run.command,
        verdict=verdict,
        reason=reason,
        page=_discussed(claim, run, verdict),
        records=1 + run.earlier_records.get(f"{claim.id}.{check.name}", 0),
    )


def _unjudged(study: str, claim: Claim, run: Circumstances) -> CheckRow:
    """The row of a claim that mesocosm cannot judge."""
    return CheckRow(
        id=f"{study}/{claim.id}",
        claim=claim.id,
        statement=claim.statement,
        source=claim.source,
        command=run.command,
        verdict="not judged",
        reason=claim.unjudged,
        page=_discussed(claim, run, "not judged"),
    )


def _discussed(claim: Claim, run: Circumstances, verdict: Verdict) -> str | None:
    """The claim's anchor on the study's page, unless it holds."""
    return f"{run.page}#{claim.id.lower()}" if run.page and verdict != "holds" else None


def _standing_reasons(check: Check, view: View, run: Circumstances) -> list[str]:
    """Reasons against a verdict that do not depend on the measurement."""
    reasons = []
    if run.user_parts:
        reasons.append(f"user part: {', '.join(run.user_parts)}")
    if run.changed:
        reasons.append(f"config changed: {', '.join(run.changed)}")
    if view.preset not in check.judged_at:
        reasons.append(f"preset {view.preset} is too small: judged at {', '.join(sorted(check.judged_at))}")
    return reasons


def _obstacles(check: Check, view: View, run: Circumstances, obstacle: str | None, control_obstacle: str | None) -> list[str]:
    """Why the check or its control was not measured, or not on all trials."""
    if obstacle or control_obstacle:
        reasons = [obstacle] if obstacle else []
        reasons += [f"control {check.control.name!r}: {control_obstacle}"] if control_obstacle and control_obstacle != obstacle else []
        alike = groupby(sorted(run.unfinished, key=lambda trial: trial.reason), lambda trial: trial.reason)
        named = [(reason, [trial.trial for trial in trials]) for reason, trials in alike]
        return reasons + [f"trial{'s' * (len(names) > 1)} {', '.join(names)} {reason}" for reason, names in named]
    lacking = [(trial, sorted(trial.tables & view.read)) for trial in run.unfinished]
    return [f"table {', '.join(tables)} lacks trial {trial.trial}, which {trial.reason}" for trial, tables in lacking if tables]


def _no_sample(check: Check, measured: _Measured) -> list[str]:
    """Why the values are no sample for which an interval of a mean or a median is valid."""
    if not isinstance(check.kind, Mean | Bootstrap) or not measured.replicates:
        return []
    values = _values(measured)
    if measured.low == measured.high:
        return [f"all {measured.n} values are equal and without evaluation error, so the interval has no width: give the error, or judge a rate"]
    counts = np.unique(values, return_counts=True)[1]
    if len(counts) > 1 and counts.min() > 1:
        return [f"each of the {len(counts)} different values occurs at least twice: replicates that are equal by construction are no sample; judge every case"]
    if isinstance(check.kind, Mean) and _piled_up(values, CERTAINLY_TWO_PLACES) and not _far_inside(values, check.inside):
        return [f"the {measured.n} values lie at two places, where a t interval is not valid: judge a rate"]
    return []


def _doubts(check: Check, measured: _Measured) -> list[str]:
    """What a reader should know of values that are judged all the same."""
    if isinstance(check.kind, Mean) and measured.replicates and measured.low != measured.high:
        values = _values(measured)
        if _piled_up(values, PERHAPS_TWO_PLACES) and not _no_sample(check, measured) and not _far_inside(values, check.inside):
            return ["the values may lie at two places, where a t interval covers too rarely"]
    return []


def _far_inside(values: Float64[np.ndarray, " n"], region: Region) -> bool:
    """Whether no value comes closer to the region's edge than the range of the values, so that its verdict does not hang on how they are spread."""
    low, high = float(values.min()), float(values.max())
    return region.contains(low - (high - low), high + (high - low))


def _values(measured: _Measured) -> Float64[np.ndarray, " n"]:
    return np.array([replicate.value for replicate in measured.replicates or []], dtype=np.float64)


def _piled_up(values: Float64[np.ndarray, " n"], level: float) -> bool:
    """Whether so few normal samples would look as clustered."""
    return len(values) >= 4 and bool(within_share(values) < normal_quantile(len(values), level))


def _attempt(name: str, check: Check, measure: Measurement, view: View, fewest: int, strict: bool) -> tuple[_Measured, str | None]:
    """The outcome of a measurement, or why there is none."""
    try:
        sample = measure(view)
        if isinstance(check.kind, Exact | Every):
            return _worst(check.kind, sample, check.inside, fewest), None
        return _estimate(check.kind, sample, check.inside), None
    except NotJudged as reason:
        return _Measured(), str(reason)
    except Exception as bug:
        if strict:
            bug.add_note(f"raised while check {name} was judged")
            raise
        return _Measured(), f"measurement raised {type(bug).__name__}: {bug}"


def _worst(kind: Exact | Every, sample: Any, region: Region, fewest: int) -> _Measured:
    """The largest error against the tolerance, or the value nearest to the region's edge or furthest outside."""
    if not isinstance(sample, Instances):
        raise TypeError(f"a check of kind {type(kind).__name__} measures Instances, not {type(sample).__name__}")
    values, n = sample.values, len(sample.values)
    if n == 0 or (n < fewest and not sample.exhaustive):
        raise NotJudged(f"this needs {FEWEST_INSTANCES} random instances or all of a finite set, and there are {n}")
    if isinstance(kind, Exact) and np.any(values < 0):
        raise ValueError(f"an error is an absolute value; the smallest is {np.nanmin(values):g}")
    with np.errstate(invalid="ignore"):
        rooms = [sign * (end - values) for sign, end in ((1, region.high), (-1, region.low)) if end is not None]
    worst = float(values[int(np.argmin(np.min(rooms, axis=0)))])  # argmin stops at the first NaN
    return _Measured(worst if np.isfinite(worst) else None, n=n, verdict="holds" if region.contains(worst, worst) else "fails")


def _estimate(kind: Mean | Rate | Bootstrap, sample: Any, region: Region) -> _Measured:
    """The 95 % interval, compared with the region."""
    if not isinstance(sample, Replicates):
        raise TypeError(f"a {type(kind).__name__.lower()} check measures Replicates, not {type(sample).__name__}")
    family = _family(kind, sample)
    interval = family(0.05)
    if not np.all(np.isfinite(interval)):
        raise NotJudged("the values are too large for an interval")
    verdict = "holds" if region.contains(interval.low, interval.high) else "fails" if region.excludes(interval.low, interval.high) else "inconclusive"
    values = [ReplicateValue(_plain(name), float(value)) for name, value in zip(sample.ids, sample.values, strict=True)]
    return _Measured(interval.estimate, interval.low, interval.high, interval.n, values, p_value(family, region.contains), verdict)


def _family(kind: Mean | Rate | Bootstrap, sample: Replicates) -> Family:
    match kind:
        case Mean():
            return partial(t_interval, sample.values, sample.errors, shared=sample.shared)
        case Rate():
            return partial(clopper_pearson, sample.values)
        case Bootstrap():
            common = float(np.sqrt(np.mean(sample.errors**2))) if sample.shared else 0.0
            return bca_family(sample.values, STATISTICS[kind.statistic], common_error=common)


def _plain(name: Any) -> str | int | float:
    """A replicate's id as a JSON value."""
    name = name.item() if isinstance(name, np.generic) else name
    return name if isinstance(name, str | int) or (isinstance(name, float) and np.isfinite(name)) else str(name)


def _discriminates(check: Check, control: _Measured) -> bool:
    """Whether the control lies where it must: a mutant at 100 tolerances or more, a worst instance or a whole interval outside the region."""
    if isinstance(check.kind, Exact):
        return control.estimate is not None and check.inside.high is not None and control.estimate >= MUTANT_FACTOR * check.inside.high
    if isinstance(check.kind, Every):
        return control.verdict == "fails" and control.estimate is not None
    return control.low is not None and control.high is not None and check.inside.excludes(control.low, control.high)


def _imprecise(check: Check, control: _Measured) -> bool:
    """Whether the control's estimate lies outside the region and only its interval reaches in."""
    return control.estimate is not None and control.low is not None and check.inside.excludes(control.estimate, control.estimate)


def _text(control: _Measured) -> str:
    if control.estimate is None:
        return "a value that is not finite"
    return f"{control.estimate:.3g}" if control.low is None else f"{control.estimate:.3g} [{control.low:.3g}, {control.high:.3g}]"


def _wanted(check: Check) -> str:
    if isinstance(check.kind, Exact):
        return f"not {MUTANT_FACTOR:g} times the tolerance"
    ends = [f"{end:g}" for end in (check.inside.low, check.inside.high) if end is not None]
    region = ends[0] if len(ends) == 1 else f"[{', '.join(ends)}]"
    return f"not {'' if isinstance(check.kind, Every) else 'wholly '}outside {check.inside.direction} {region}"
