"""The values for which a check holds, fixed before the record is run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Region:
    """The values for which a check holds: low < value < high, either end open to infinity."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Reject an empty region and ends that are not finite."""
        if self.low is None and self.high is None:
            raise ValueError("a region needs at least one end")
        for end in (self.low, self.high):
            if end is not None and not math.isfinite(end):
                raise ValueError(f"a region's end must be a finite number, not {end}; leave out the open end")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"the region's low end {self.low:g} is not below its high end {self.high:g}")

    @property
    def direction(self) -> Literal["<", ">", "in"]:
        """The region's symbol in a table."""
        if self.low is None:
            return "<"
        return ">" if self.high is None else "in"

    @property
    def threshold(self) -> float | list[float]:
        """The number behind the direction, or both ends."""
        ends = [end for end in (self.low, self.high) if end is not None]
        return ends if len(ends) == 2 else ends[0]

    def contains(self, low: float, high: float) -> bool:
        """Whether the whole interval lies inside."""
        return (self.low is None or low > self.low) and (self.high is None or high < self.high)

    def excludes(self, low: float, high: float) -> bool:
        """Whether the whole interval lies outside."""
        return (self.low is not None and high <= self.low) or (self.high is not None and low >= self.high)


def below(high: float) -> Region:
    """Values smaller than `high`."""
    return Region(high=high)


def above(low: float) -> Region:
    """Values larger than `low`."""
    return Region(low=low)


def between(low: float, high: float) -> Region:
    """Values inside an open interval."""
    return Region(low, high)
