"""An iteration of a policy with learned credit, by `fit` and by hand in PyTorch: episodes, the hindsight network's step, coefficients, the policy's step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from peers import learned_credit as peers
from peers.learned_credit import Setting
from peers.problem import Unavailable
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target

NAME = "learned_credit"
TITLE = "key-to-door with credit that is learned, in float32"
AUTHORS = 0.262
"""Seconds of one iteration of the authors' public code at the full size, measured apart from this on two cores of such a machine; REINFORCE took 0.030 s."""
PRODUCTS = "Four passes through the hindsight network, once per state and reward, take most of an iteration"


@dataclass(frozen=True)
class Size:
    """The track, episodes of a batch, hidden units of the hindsight network, iterations, and seconds of timing a row."""

    length: int
    batch: int
    width: int
    iterations: int
    seconds: float
    aim: bool = False


SIZES = {
    "tiny": Size(6, 8, 8, 3, 0.0),
    "small": Size(23, 8, 64, 100, 1.0),
    "full": Size(103, 8, 256, 200, 20.0, aim=True),
}


def cases(sizes: str) -> Sequence[Case]:
    """Both estimators."""
    size = SIZES[sizes]
    return [Case("COCOA-reward", 4, partial(cocoa, size)), Case("REINFORCE", 1, partial(reinforce, size))]


def cocoa(size: Size) -> list[Row]:
    """Against the same sums in torch, and against a network that is evaluated for every pair of steps."""
    setting = Setting(size.length, size.batch, size.width, size.iterations)
    sixtieth = Target("ours", "≤", round(AUTHORS / 60 * size.iterations, 2)) if size.aim else None
    return [compare(size, setting, "COCOA-reward", sixtieth), compare(size, setting, "COCOA-reward", None, every_pair=True)]


def reinforce(size: Size) -> list[Row]:
    """Without a model."""
    return [compare(size, Setting(size.length, size.batch, None, size.iterations), "REINFORCE", None)]


def compare(size: Size, setting: Setting, case: str, target: Target | None, *, every_pair: bool = False) -> Row:
    """Iterations of both, after one from the same weights and random numbers was found to be the same."""
    head = Comparison(NAME, case, str(setting), size.seconds, target, PRODUCTS)
    try:
        theirs = peers.in_torch(setting, every_pair)
    except Unavailable as reason:
        return head.skipped("torch", str(reason))
    return head.timed(peers.mesocosm(setting), theirs, partial(peers.reference, setting))


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
