r"""Finite games between an algorithm and an adversary: a row is a deterministic algorithm, a column an input, an entry the loss.

Yao's inequality, for any distributions p over rows and w over columns:

$$\min_r \sum_x w_x \ell_{rx} \;\le\; \sum_{r, x} p_r w_x \ell_{rx} \;\le\; \max_x \sum_r p_r \ell_{rx}.$$

Reference: Yao, "Probabilistic computations: toward a unified measure of complexity" (1977); von Neumann, "Zur Theorie der Gesellschaftsspiele" (1928).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

TOLERANCE = 1e-6  # of a solution, in units of the distance between the best pure strategies
SLACK = 1e-5  # of probabilities and of their sum, which may have been computed in float32
LARGEST = 1e300  # of a loss, so that sums and differences are finite
EPSILON = np.finfo(np.float64).eps


class GameSolution(NamedTuple):
    """Optimal mixed strategies.

    Attributes:
        value: the loss that the best mixture of rows guarantees, and that the best mixture of columns forces.
        rows: probabilities of the rows.
        columns: probabilities of the columns.
    """

    value: float
    rows: Float[np.ndarray, " rows"]
    columns: Float[np.ndarray, " columns"]


class YaoBounds(NamedTuple):
    """The three terms of Yao's inequality, smallest first."""

    best_row: float
    mean: float
    worst_column: float


def solve_game(loss: Float[np.ndarray, "..."]) -> GameSolution:
    r"""$\min_p \max_x \sum_r p_r \ell_{rx}$, by linear programming (HiGHS).

    Losses are measured from the best that a column guarantees alone, in units of its distance to the best that a row guarantees alone, so that entries that
    no good mixture meets do not count. What the mixtures guarantee differs by at most 1e-6 of this distance, and rounding.

    Args:
        loss: (rows, columns).

    Raises:
        ValueError: the matrix is empty, has other than two axes, an entry that is not finite or beyond 1e300, or losses of too different sizes to be solved.
    """
    loss = _matrix(loss)
    least, most = loss.min(axis=0).max(), loss.max(axis=1).min()
    if least == most:
        rows, columns = (np.eye(size)[at] for size, at in zip(loss.shape, (loss.max(axis=1).argmin(), loss.min(axis=0).argmax()), strict=True))
        return GameSolution(float(least), rows, columns)
    with np.errstate(over="ignore"):
        relative = np.clip((loss - least) / (most - least), -1e200, 1e200)
    for scaled in (False, True):
        rows, columns = _mixtures(relative, scaled)
        worst, best = (rows @ loss).argmax(), (loss @ columns).argmin()
        rounding = 8 * EPSILON * max(rows @ np.abs(loss[:, worst]), np.abs(loss[best]) @ columns)
        forced, guaranteed = float(loss[best] @ columns), float(rows @ loss[:, worst])
        if guaranteed - forced <= TOLERANCE * (most - least) + rounding:
            return GameSolution((forced + guaranteed) / 2, rows, columns)
    raise ValueError(f"this game has losses from {loss.min():g} to {loss.max():g}, too different to be solved; remove rows and columns that nobody would play")


def _mixtures(loss: Float[np.ndarray, "rows columns"], scaled: bool) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " columns"]]:
    """Mixtures for a value between 0 and 1, NaN if the solver fails. `scaled`: divide rows by losses far above it and columns by those far below."""
    by_column = 1 / np.maximum(1, -loss.min(axis=0)) if scaled else np.ones(loss.shape[1])
    by_row = 1 / np.maximum(1, (loss * by_column).max(axis=1)) if scaled else np.ones(loss.shape[0])
    # Variables: p and the value v. Minimise v with sum_r p_r l_rx - v <= 0 for each x and sum p = 1; the duals of the inequalities are the columns' mixture.
    solved = linprog(
        np.append(np.zeros(len(by_row)), 1.0),
        A_ub=np.column_stack([(loss * by_column * by_row[:, None]).T, -by_column]),
        b_ub=np.zeros(len(by_column)),
        A_eq=np.append(by_row, 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * len(by_row) + [(None, None)],
        method="highs",
    )
    if solved.x is None:
        return np.full(len(by_row), np.nan), np.full(len(by_column), np.nan)
    rows, columns = np.maximum(solved.x[:-1], 0) * by_row, np.maximum(-solved.ineqlin.marginals, 0) * by_column
    with np.errstate(invalid="ignore"):
        return rows / rows.sum(), columns / columns.sum()


def yao_bounds(loss: Float[np.ndarray, "..."], rows: Float[np.ndarray, "..."] | None = None, columns: Float[np.ndarray, "..."] | None = None) -> YaoBounds:
    """The terms of Yao's inequality under two distributions, uniform by default.

    Args:
        loss: (rows, columns).
        rows: probabilities of the rows.
        columns: probabilities of the columns.

    Raises:
        ValueError: the matrix is empty, has other than two axes or an entry that is not finite or beyond 1e300, or something is not a distribution.
    """
    loss = _matrix(loss)
    p, w = _distribution("rows", rows, loss.shape[0]), _distribution("columns", columns, loss.shape[1])
    return YaoBounds(float((loss @ w).min()), float(p @ loss @ w), float((p @ loss).max()))


def _matrix(loss: Float[np.ndarray, "..."]) -> Float[np.ndarray, "rows columns"]:
    loss = np.asarray(loss, np.float64)
    if loss.ndim != 2 or not loss.size or not np.isfinite(loss).all() or np.abs(loss).max() > LARGEST:
        raise ValueError(f"a game needs a matrix (rows, columns) of finite losses, none beyond {LARGEST:g}; this array of shape {loss.shape} is not one")
    return loss


def _distribution(over: str, given: Float[np.ndarray, "..."] | None, size: int) -> Float[np.ndarray, " size"]:
    if given is None:
        return np.full(size, 1 / size)
    given = np.asarray(given, np.float64)
    if given.shape != (size,) or not (given >= -SLACK).all() or not abs(given.sum() - 1) <= SLACK:
        raise ValueError(f"{size} {over} need as many probabilities, none negative, with sum 1; this array has shape {given.shape} and sum {given.sum():g}")
    return given
