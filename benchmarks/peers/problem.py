"""The problem that the mesa layer and its peers solve, and its reference: one float64 system a token, solved on its own, with the gradient in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

BATCH = 2
HEADS = 8
REGULARISER = 1.0
NOT_INSTALLED = "not installed; python -m pip install -r benchmarks/requirements.txt"


class Unavailable(Exception):
    """A peer that cannot be measured, and why."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Unit queries and keys, normal values, and the loss gradient of the outputs: arrays (batch, time, heads, channels), gates (batch, time, heads) or None.

    The gates are those of a MesaNet at its start: input gates about 1/2, forget gates from 0.9 to 0.999 over the heads.
    """

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    cotangent: np.ndarray
    log_forget: np.ndarray | None = None
    input_gate: np.ndarray | None = None

    @classmethod
    @cache
    def draw(cls, key_size: int, tokens: int, gated: bool) -> Problem:
        """The same problem at every call."""
        random = np.random.default_rng(0)
        shape = (BATCH, tokens, HEADS, key_size)
        query, key, value, cotangent = random.standard_normal((4, *shape)).astype(np.float32)
        query, key = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key))
        if not gated:
            return cls(query, key, value, cotangent)
        forget = np.linspace(np.log(9), np.log(999), HEADS) + 0.5 * random.standard_normal(shape[:-1])
        write = 0.5 * random.standard_normal(shape[:-1])
        return cls(query, key, value, cotangent, -np.log1p(np.exp(-forget)).astype(np.float32), (1 / (1 + np.exp(-write))).astype(np.float32))

    @property
    def tokens(self) -> int:
        """Length."""
        return self.query.shape[1]

    @property
    def key_size(self) -> int:
        """Channels of a key (values have as many)."""
        return self.query.shape[3]

    @property
    def size(self) -> str:
        """As the table shows it."""
        return f"key size {self.key_size}, {self.tokens} tokens"

    def first_heads(self, count: int) -> tuple[np.ndarray, ...]:
        """All fields, (count, time, channels) and (count, time): the heads of the first sequence, then those of the second. Missing gates are left out."""
        fields = (self.query, self.key, self.value, self.cotangent, self.log_forget, self.input_gate)
        return tuple(flat_heads(x)[:count] for x in fields if x is not None)


def flat_heads(x: np.ndarray) -> np.ndarray:
    """(batch, time, heads, ...) to (batch * heads, time, ...)."""
    x = np.swapaxes(np.asarray(x), 1, 2)
    return np.ascontiguousarray(x.reshape(-1, *x.shape[2:]))


def affordable_heads(problem: Problem, fewest: int = 1) -> int:
    """Of how many heads a peer that stores or solves a matrix a token takes about a second; the time of the others is the same."""
    work = problem.tokens * problem.key_size**3
    return int(np.clip(4e9 // work, fewest, BATCH * HEADS))


def checked(x: np.ndarray) -> np.ndarray:
    """Of flat heads those that are compared with the reference: the first, and the last of all where it was computed."""
    return x[[0, -1]] if len(x) == BATCH * HEADS else x[:1]


class Reference:
    """What `checked` heads should be. An answer may hold the first tokens or channels only."""

    @classmethod
    @lru_cache(maxsize=1)
    def of(cls, problem: Problem) -> Reference:
        """The same reference for the same problem, so that a head is solved once."""
        return cls(problem)

    def __init__(self, problem: Problem):
        self.head = cache(lambda index: _dense(*(x[index] for x in problem.first_heads(BATCH * HEADS))))

    def output(self, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The layer's output."""
        return [self._like(answers[0], 0)]

    def gradient(self, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The gradients of queries, keys and values."""
        return [self._like(answer, place) for place, answer in enumerate(answers, 1)]

    def _like(self, answer: np.ndarray, place: int) -> np.ndarray:
        heads = (0, BATCH * HEADS - 1)[: len(answer)]
        return np.stack([self.head(head)[place][: answer.shape[1], : answer.shape[2]] for head in heads])


def _dense(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, cotangent: np.ndarray, log_forget: np.ndarray | None = None, input_gate: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """One head, in float64: the output and the gradients of query, key and value (MesaNet, App. D, with every matrix written out)."""
    q, k, v, e = (x.astype(np.float64) for x in (query, key, value, cotangent))
    time, size = k.shape
    gate = np.ones(time) if input_gate is None else input_gate.astype(np.float64)
    log_forget = np.zeros(time) if log_forget is None else log_forget.astype(np.float64)
    reach = np.cumsum(log_forget)
    weights = np.tril(np.exp(np.minimum(reach[:, None] - reach[None, :], 0))) * gate
    systems, gram = np.empty((time, size, size)), np.zeros((size, size))
    for t in range(time):
        gram = np.exp(log_forget[t]) * gram + gate[t] * np.outer(k[t], k[t])
        systems[t] = gram + REGULARISER * np.eye(size)
    missed = e @ v.T
    solution, adjoint = np.moveaxis(np.linalg.solve(systems, np.stack([q, (weights * missed) @ k], axis=-1)), -1, 0)
    read = weights * (solution @ k.T)
    missed = weights * (missed - adjoint @ k.T)
    return read @ v, adjoint, missed.T @ solution - read.T @ adjoint, read.T @ e
