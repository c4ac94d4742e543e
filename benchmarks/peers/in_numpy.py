"""Recursive least squares outside JAX: vectorised over heads in NumPy, and padasip's filter, a Python loop over tokens for one output. Forward, ungated."""

from __future__ import annotations

import importlib.util

import numpy as np

from peers.problem import BATCH, HEADS, NOT_INSTALLED, REGULARISER, Problem, Unavailable, checked
from stopwatch.timing import Contender

NUMPY_TOKENS = 512
PADASIP_TOKENS = 128


def vectorised(problem: Problem) -> Contender:
    """All heads in one array, updated in place; every token takes the same time."""
    tokens = min(problem.tokens, NUMPY_TOKENS)
    query, key, value = (x[:, :tokens] for x in problem.first_heads(BATCH * HEADS)[:3])
    note = "" if tokens == problem.tokens else f"first {tokens} tokens, scaled"
    return Contender("NumPy", lambda: _recursion(query, key, value), lambda output: [checked(output)], tokens / problem.tokens, note)


def _recursion(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    heads, tokens, size = key.shape
    inverse = np.tile(np.eye(size, dtype=key.dtype) / REGULARISER, (heads, 1, 1))
    weights = np.zeros((heads, value.shape[2], size), key.dtype)
    output, change = np.empty_like(value), np.empty_like(inverse)
    for t in range(tokens):
        k = key[:, t, :, None]
        moved = inverse @ k
        gain = moved / (1 + np.swapaxes(k, 1, 2) @ moved)
        weights += np.multiply(value[:, t, :, None] - weights @ k, np.swapaxes(gain, 1, 2))
        inverse -= np.multiply(gain, np.swapaxes(moved, 1, 2), out=change)
        output[:, t] = (weights @ query[:, t, :, None])[..., 0]
    return output


def padasip(problem: Problem) -> Contender:
    """padasip's FilterRLS (float64). It has one output; we charge it with one filter a head, as though a head's outputs shared their inverse as ours do.

    Raises:
        Unavailable: it is not installed.
    """
    if importlib.util.find_spec("padasip") is None:
        raise Unavailable(NOT_INSTALLED)
    from padasip.filters import FilterRLS

    tokens = min(problem.tokens, PADASIP_TOKENS)
    query, key, value = (x[0, :tokens].astype(np.float64) for x in problem.first_heads(1)[:3])

    def run() -> np.ndarray:
        filter_ = FilterRLS(problem.key_size, mu=1.0, eps=REGULARISER, w="zeros")
        output = np.empty((1, tokens, 1))
        for t in range(tokens):
            filter_.adapt(value[t, 0], key[t])
            output[0, t, 0] = filter_.w @ query[t]
        return output

    note = f"1 of {BATCH * HEADS} heads, 1 of {problem.key_size} outputs (charged as all of the head's), first {tokens} tokens, scaled"
    return Contender("padasip FilterRLS", run, lambda output: [checked(output)], tokens / problem.tokens / (BATCH * HEADS), note)
