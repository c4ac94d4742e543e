"""Byte-pair encoding: tokens are bytes and frequent pairs of tokens, learned from a text.

References: Gage, "A new algorithm for data compression" (1994); Sennrich et al., "Neural machine translation of rare words with subword units" (2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Bool, Integer

BYTES = 256


@dataclass(frozen=True)
class BytePairs:
    """Tokens 0 to 255 are the bytes of UTF-8; token 256 + i stands for the pair `merges[i]` of earlier tokens.

    A text is encoded by replacing the pairs in their order, each from left to right. Pairs may cross the borders of words.

    Attributes:
        merges: the pairs, in the order in which they were learned.
    """

    merges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, text: str, size: int) -> BytePairs:
        """Learn from a text: `size` - 256 times, the most frequent pair of adjacent tokens becomes a token; of equally frequent ones, the first in order.

        It takes time proportional to the product of the text's length and the number of pairs: 1 s for half a million bytes and 256 pairs.

        Raises:
            ValueError: the size is below 256, or no pair occurs twice before there are so many tokens.
        """
        if size < BYTES:
            raise ValueError(f"a byte-pair encoding has the {BYTES} bytes and more tokens, but size = {size}")
        tokens, merges = _bytes(text), []
        for token in range(BYTES, size):
            counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=1)
            most = int(counts.argmax())
            if counts[most] < 2:
                raise ValueError(f"no pair of tokens occurs twice in this text after {len(merges)} pairs; size = {size} is too large for it")
            merges.append(divmod(most, size))
            tokens = _merged(tokens, merges[-1], token)
        return cls(tuple(merges))

    @property
    def size(self) -> int:
        """The number of tokens."""
        return BYTES + len(self.merges)

    def encode(self, text: str) -> Integer[np.ndarray, " tokens"]:
        """The tokens of a text."""
        tokens = _bytes(text)
        for place, pair in enumerate(self.merges):
            tokens = _merged(tokens, pair, BYTES + place)
        return tokens.astype(np.int32)

    def decode(self, tokens: Integer[Array, " tokens"] | Integer[np.ndarray, " tokens"]) -> str:
        """The text of tokens; a character that was cut becomes U+FFFD."""
        pieces = [bytes([byte]) for byte in range(BYTES)]
        for first, second in self.merges:
            pieces.append(pieces[first] + pieces[second])
        return b"".join(pieces[token] for token in np.asarray(tokens).tolist()).decode(errors="replace")


def _bytes(text: str) -> Integer[np.ndarray, " tokens"]:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _merged(tokens: Integer[np.ndarray, " tokens"], pair: tuple[int, int], token: int) -> Integer[np.ndarray, " merged"]:
    """Replace a pair from left to right; of the overlapping pairs in a run of equal tokens, every second one stays."""
    starts: Bool[np.ndarray, " pairs"] = (tokens[:-1] == pair[0]) & (tokens[1:] == pair[1])
    if pair[0] == pair[1]:
        places = np.arange(len(starts))
        run = np.maximum.accumulate(np.where(starts, -1, places))  # the last place before the run
        starts = starts & ((places - run) % 2 == 1)
    merged = np.where(np.append(starts, False), token, tokens)[: len(tokens)]
    return merged[~np.append(False, starts)[: len(tokens)]]
