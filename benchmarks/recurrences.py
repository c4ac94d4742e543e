"""Recurrences: the diagonal linear one in its two orders of work and against a loop; LSTM and GRU, and the gated linear RNN, against PyTorch's on CPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from peers import recurrences
from peers.problem import Unavailable
from peers.recurrences import Sequences
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "recurrences"
TITLE = f"recurrences over T tokens, n channels, batch {recurrences.BATCH}"
KINDS = ("forward", "forward + backward")
NOT_SLOWER = Target("ratio", "≥", 1)
STEPS = "XLA's loop over time takes microseconds a step whatever the step does"
PRODUCTS = "The time is that of one matrix-vector product a step, bound by reading the recurrent matrix, which XLA does on one core and PyTorch on all"


@dataclass(frozen=True)
class Grid:
    """Lengths, channels, and how many seconds a pair is timed."""

    lengths: tuple[int, ...]
    channels: tuple[int, ...]
    seconds: float


GRIDS = {"tiny": Grid((20,), (4,), 0.0), "small": Grid((256, 2048), (64,), 0.3), "full": Grid((256, 2048, 16384), (64, 512), 1.0)}


def cases(sizes: str) -> Sequence[Case]:
    """Every length and number of channels, forward and with the gradient."""
    grid, found = GRIDS[sizes], []
    for channels in grid.channels:
        for length in grid.lengths:
            for kind in KINDS:
                text = f"{kind}, {length} tokens, {channels} channels"
                found.append(Case(f"diagonal, {text}", 1 + length * channels / 2e6, partial(diagonal, grid, length, channels, kind)))
                found.append(Case(f"cells, {text}", 1 + length * channels**2 / 2e8, partial(cells, grid, length, channels, kind)))
    return found


def diagonal(grid: Grid, length: int, channels: int, kind: str) -> list[Row]:
    """The recurrence in the order that the library chooses, against the other one and a NumPy loop; the reference is that loop in float64."""
    problem, gradient = Sequences.draw(length, channels), kind != "forward"
    ours = recurrences.in_order(problem, gradient, "chosen")
    peers: list[tuple[str, Callable[[], Contender]]] = [
        (f"{order} scan", partial(recurrences.in_order, problem, gradient, order)) for order in ("associative",)
    ]
    peers.append(("NumPy loop", partial(recurrences.numpy_loop, problem, gradient)))
    found = []
    for name, make in peers:
        target = None if kind == "forward" and name.endswith("scan") else NOT_SLOWER
        comparison = Comparison(NAME, f"diagonal, {kind}", problem.size, grid.seconds, target, STEPS)
        found.append(comparison.timed(ours, make(), partial(recurrences.loop_reference, problem, gradient)))
    return found


def cells(grid: Grid, length: int, channels: int, kind: str) -> list[Row]:
    """LSTM and GRU against PyTorch's from the same weights; and the gated linear RNN, which computes something else, against its LSTM."""
    problem, gradient, found = Sequences.draw(length, channels), kind != "forward", []
    for name in ("LSTM", "GRU"):
        comparison = Comparison(NAME, f"{name}, {kind}", problem.size, grid.seconds, NOT_SLOWER, PRODUCTS)
        try:
            theirs = recurrences.in_torch(problem, gradient, name)
        except Unavailable as reason:
            found.append(comparison.skipped(f"torch {name}", str(reason)))
            continue
        ours, reference = recurrences.ours(problem, gradient, name), partial(recurrences.wide_reference, problem, gradient, name)
        found.append(comparison.timed(ours, theirs, reference))
        if name == "LSTM":
            head = Comparison(NAME, f"gated linear RNN, {kind}", problem.size, grid.seconds, NOT_SLOWER, STEPS)
            found.append(head.timed(recurrences.gated(problem, gradient), theirs))
    return found


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
