"""Compares a check across runs: its verdict, its region, and whether the intervals overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

OTHER_VERDICTS = ("judged differently", "judged in some runs only")
DIFFERENCES = (*OTHER_VERDICTS, "judged against different regions", "with disjoint intervals")


def differences(found: Sequence[Row | None]) -> list[str]:
    """The aspects in which runs disagree on a check, a subset of `DIFFERENCES`; empty if they agree.

    A run without the check (None) counts as one that did not judge it. Regions and intervals are compared only where the check was judged: a preset that
    is too small for it measures something else.
    """
    judged = [row for row in found if row is not None and row["verdict"] != "not judged"]
    several_verdicts = len({row["verdict"] for row in judged}) > 1
    in_some_only = bool(judged) and len(judged) < len(found) and not several_verdicts
    several_regions = len({(str(row["threshold"]), row["direction"]) for row in judged}) > 1
    return [kind for kind, holds in zip(DIFFERENCES, (several_verdicts, in_some_only, several_regions, _apart(judged)), strict=True) if holds]


def _apart(rows: Sequence[Row]) -> bool:
    """Whether two of the intervals are disjoint: the largest low end is then above the smallest high end."""
    ends = [(row["low"], row["high"]) for row in rows if row["low"] is not None and row["high"] is not None]
    return bool(ends) and max(low for low, _ in ends) > min(high for _, high in ends)
