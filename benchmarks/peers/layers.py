"""The grid of a mesa layer's benchmark: every key size and length against every peer, then how time and memory grow with the length."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from peers import in_jax
from peers.problem import Problem, Reference, Unavailable
from stopwatch.driver import Case
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender, interleave

Kind = Literal["forward", "forward + backward"]
KINDS: tuple[Kind, Kind] = ("forward", "forward + backward")
LINEAR = Target("ours", "≤", 1.1)

Peer = tuple[str, Callable[[], Contender]]


@dataclass(frozen=True)
class Grid:
    """Key sizes, lengths, the length from which growth to the longest is measured, and how many seconds a pair of contenders is timed."""

    key_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    grows_from: int
    seconds: float


GRIDS = {
    "tiny": Grid((4,), (32,), 8, 0.0),
    "small": Grid((32,), (128, 512), 128, 0.3),
    "full": Grid((32, 64, 128), (128, 512, 2048), 512, 1.5),
}


@dataclass(frozen=True)
class LayerBenchmark:
    """One of the two layers.

    Attributes:
        name: of the benchmark.
        gated: which.
        peers: problem, whether the gradient is wanted, and reference to the names of the peers and how to make them.
        target: what is aimed at: (key size, kind, peer).
        limits: (kind, peer) to what limits us there.
    """

    name: str
    gated: bool
    peers: Callable[[Problem, bool, Reference], Sequence[Peer]]
    target: Callable[[int, Kind, str], Target | None]
    limits: Mapping[tuple[Kind, str], str]

    def cases(self, sizes: str) -> list[Case]:
        """All of them."""
        grid = GRIDS[sizes]
        compared = [
            Case(f"{kind}, key size {n}, {t} tokens", self._weight(n, t), partial(self.compare, grid, n, t, kind))
            for n in grid.key_sizes
            for t in grid.lengths
            for kind in KINDS
        ]
        return [*compared, *(Case(f"growth, key size {n}", self._weight(n, grid.lengths[-1]) / 2, partial(self.growth, grid, n)) for n in grid.key_sizes)]

    def _weight(self, key_size: int, tokens: int) -> float:
        return 1 + tokens * key_size**2 / 4e6

    def compare(self, grid: Grid, key_size: int, tokens: int, kind: Kind) -> list[Row]:
        """One size, one kind, every peer."""
        problem = Problem.draw(key_size, tokens, self.gated)
        reference, gradient = Reference.of(problem), kind != "forward"
        ours, rows = in_jax.ours(problem, gradient), []
        for name, make in self.peers(problem, gradient, reference):
            target, limit = self.target(key_size, kind, name), self.limits.get((kind, name), "")
            comparison = Comparison(self.name, kind, problem.size, grid.seconds, target, limit)
            try:
                theirs = make()
            except Unavailable as reason:
                rows.append(comparison.skipped(name, str(reason)))
                continue
            rows.append(comparison.timed(ours, theirs, reference.gradient if gradient else reference.output))
            if name.startswith("autodiff") and ours.mebibytes is not None:
                head = Comparison(self.name, f"memory, {kind}", problem.size, grid.seconds)
                rows.append(head.measured("MiB", ours.mebibytes, name, theirs.mebibytes, theirs.note))
        return rows

    def growth(self, grid: Grid, key_size: int) -> list[Row]:
        """The power of the length with which time and memory grow up to the longest sequences."""
        short, long = (Problem.draw(key_size, tokens, self.gated) for tokens in (grid.grows_from, grid.lengths[-1]))
        times = math.log(long.tokens / short.tokens)
        size, rows = f"key size {key_size}, {short.tokens} to {long.tokens} tokens", []
        for kind in KINDS:
            fewer, more = (in_jax.ours(problem, kind != "forward") for problem in (short, long))
            ratios = {"time": interleave(fewer, more, seconds=grid.seconds).ratio, "memory": (more.mebibytes or 0) / (fewer.mebibytes or 1)}
            for what, ratio in ratios.items():
                head = Comparison(
                    self.name, f"growth of {what}, {kind}", size, grid.seconds, LINEAR, "What fits the cache at the shorter length does not at the longer"
                )
                rows.append(head.measured("power of tokens", math.log(ratio) / times))
        return rows
