"""Two contenders timed against each other: checked first, then run in turns, so that whatever else the machine does meets both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

SAMPLE_SECONDS = 0.02  # a sample is as many calls as take this long
PAUSE_SECONDS = 0.005  # before a sample: threads of the other side spin for a while before they sleep
MOST_SAMPLES = 100
FEWEST_SAMPLES = 5


@dataclass(frozen=True)
class Contender:
    """Something that can be timed.

    Attributes:
        name: as the table shows it.
        run: does the work and waits for its end; what it returns goes to `answer`.
        answer: the arrays that are compared with the reference.
        share: the part of the whole problem that `run` does, in (0, 1]; its seconds are divided by it.
        note: what the reader of its rows must know.
        mebibytes: memory that its program reserves beside arguments and results, for the whole problem, where that is known.
    """

    name: str
    run: Callable[[], Any]
    answer: Callable[[Any], Sequence[np.ndarray]] = lambda _: ()
    share: float = 1.0
    note: str = ""
    mebibytes: float | None = None


@dataclass(frozen=True)
class Timed:
    """Seconds of both for the whole problem (medians), and the ratio theirs / ours with an interval of at least 95 % where the samples allow one."""

    ours: float
    theirs: float
    ratio: float
    low: float
    high: float


def interleave(ours: Contender, theirs: Contender, *, seconds: float, fewest: int = FEWEST_SAMPLES) -> Timed:
    """Time both in turns for at least `seconds` in all; both have run before, so nothing is compiled here.

    A contender so slow that a call takes longer than `seconds` is timed `fewest` times, or three times where that would be longer than twenty times `seconds`.
    """
    calls = [max(1, math.ceil(SAMPLE_SECONDS / max(sample(side, 1), 1e-6))) for side in (ours, theirs)]
    pairs: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(pairs) < MOST_SAMPLES:
        elapsed = time.perf_counter() - began
        wanted = min(fewest, 3) if elapsed > 20 * seconds else fewest
        if len(pairs) >= wanted and elapsed >= seconds:
            break
        turns = [(0, ours), (1, theirs)] if len(pairs) % 2 else [(1, theirs), (0, ours)]
        took = {place: sample(side, calls[place]) for place, side in turns}
        pairs.append((took[0], took[1]))
    ratios = [b / a for a, b in pairs]
    low, high = median_interval(ratios)
    return Timed(float(np.median([a for a, _ in pairs])), float(np.median([b for _, b in pairs])), float(np.median(ratios)), low, high)


def sample(side: Contender, calls: int) -> float:
    """Seconds a call, for the whole problem."""
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    for _ in range(calls):
        side.run()
    return (time.perf_counter() - began) / calls / side.share


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the median lies with at least 95 %; with fewer than six values, the smallest and the largest."""
    ordered = sorted(values)
    cut = max(int(binom.ppf(0.025, len(ordered), 0.5)), 1)
    return ordered[cut - 1], ordered[-cut]


def largest_error(answers: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """The largest difference from the reference, relative to its largest entry; infinite where an answer is not finite or has another shape."""
    if len(answers) != len(reference):
        return math.inf
    errors = [0.0]
    for answer, right in zip(answers, reference, strict=True):
        if answer.shape != right.shape or not np.isfinite(answer).all():
            return math.inf
        errors.append(float(np.abs(answer.astype(np.float64) - right).max() / np.abs(right).max()))
    return max(errors)
