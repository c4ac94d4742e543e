"""Sequence models: a training step of the decoder (forward, backward, AdamW) against flax's and PyTorch's layers of the same size, and decoding token by token
against recomputing the whole sequence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from peers import decoders
from peers.decoders import Decoder, Step
from peers.problem import Unavailable
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target

NAME = "sequence_models"
TITLE = "a training step of a decoder, and decoding, in float32"
CASE = "training step"
DECODING = "decoding"
NOT_SLOWER = Target("ratio", "≥", 1)
PRODUCTS = "Both run the same matrix products in XLA, which take two thirds of the step"
OPTIONS = "Ours has the library's schedule, flax JAX's default options"
PEERS: dict[str, Callable[[Decoder], Step]] = {"flax": decoders.in_flax, "torch": decoders.in_torch}


@dataclass(frozen=True)
class Size:
    """A decoder, how many seconds a pair is timed, and how often each side is compiled."""

    decoder: Decoder
    seconds: float
    compilations: int


SIZES = {
    "tiny": Size(Decoder(11, 8, 2, 2, 6, 2), 0.0, 1),
    "small": Size(Decoder(64, 32, 2, 4, 64, 8), 1.0, 1),
    "full": Size(Decoder(256, 128, 4, 4, 128, 16), 60.0, 5),
}


def cases(sizes: str) -> Sequence[Case]:
    """One per peer, and decoding."""
    steps = [Case(f"{CASE}, {peer}", 1, partial(compare, SIZES[sizes], peer)) for peer in PEERS]
    return [*steps, Case(DECODING, 1, partial(decode, SIZES[sizes]))]


def compare(size: Size, peer: str) -> list[Row]:
    """The step, and for a compiled peer the seconds to compile and the memory for temporary arrays."""

    def head(case: str, seconds: float = 0.0, target: Target | None = None) -> Comparison:
        return Comparison(NAME, case, str(size.decoder), seconds, target, PRODUCTS)

    try:
        theirs = PEERS[peer](size.decoder)
    except Unavailable as reason:
        return [head(CASE, target=NOT_SLOWER).skipped(peer, str(reason))]
    ours = decoders.mesocosm(size.decoder)
    rows = [head(CASE, size.seconds, NOT_SLOWER).timed(ours.contender, theirs.contender, partial(decoders.reference, size.decoder))]
    if ours.compile_seconds is not None and theirs.compile_seconds is not None:
        pairs = [(ours.compile_seconds(), theirs.compile_seconds()) for _ in range(size.compilations)]
        rows += [
            head("compile").measured("seconds", min(a for a, _ in pairs), peer, min(b for _, b in pairs), f"The fastest of {len(pairs)}. {OPTIONS}"),
            head("memory").measured("MiB", ours.contender.mebibytes, peer, theirs.contender.mebibytes, OPTIONS),
        ]
    return rows


def decode(size: Size) -> list[Row]:
    """One sequence of full length, token by token, with the blocks' states and without."""
    one = f"{size.decoder.layers} layers of {size.decoder.dim} channels, {size.decoder.heads} heads, one sequence of {size.decoder.length} tokens"
    head = Comparison(NAME, DECODING, one, size.seconds, NOT_SLOWER, "A step reads the whole cache, whatever the number of tokens so far")
    return [head.timed(decoders.by_steps(size.decoder), decoders.by_recomputation(size.decoder), partial(decoders.decoded, size.decoder))]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
