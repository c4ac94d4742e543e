"""A transformer on tasks in context: a training step (forward, backward, AdamW) against PyTorch's layers of the same size."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from peers import context_transformer as peers
from peers.context_transformer import Setting
from peers.problem import Unavailable
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target

NAME = "context_transformer"
TITLE = "a training step of a transformer on tasks in context, in float32"
CASE = "training step"
NOT_SLOWER = Target("ratio", "≥", 1)
PRODUCTS = "Both run the same matrix products, which take most of the step"


@dataclass(frozen=True)
class Size:
    """A setting, and how many seconds a pair is timed."""

    setting: Setting
    seconds: float


SIZES = {
    "tiny": Size(Setting(2, 6, 5, 8, 2, 2), 0.0),
    "small": Size(Setting(16, 64, 17, 64, 4, 2), 1.0),
    "full": Size(Setting(128, 64, 17, 128, 4, 2), 40.0),
}


def cases(sizes: str) -> Sequence[Case]:
    """The step."""
    return [Case(CASE, 1, partial(compare, SIZES[sizes]))]


def compare(size: Size) -> list[Row]:
    """The step against the peer, and the memory that ours reserves."""
    head = Comparison(NAME, CASE, str(size.setting), size.seconds, NOT_SLOWER, PRODUCTS)
    ours = peers.mesocosm(size.setting)
    memory = Comparison(NAME, "memory", str(size.setting), 0.0, None, "").measured("MiB", ours.mebibytes or 0.0)
    try:
        theirs = peers.in_torch(size.setting)
    except Unavailable as reason:
        return [head.skipped("torch", str(reason)), memory]
    return [head.timed(ours, theirs, partial(peers.reference, size.setting)), memory]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
