r"""Finite games between an algorithm and an adversary: a row is a deterministic algorithm, a column an input, an entry the loss.

Yao's inequality, for any distributions p over rows and w over columns:

$$\min_r \sum_x w_x \ell_{rx} \;\le\; \sum_{r, x} p_r w_x \ell_{rx} \;\le\; \max_x \sum_r p_r \ell_{rx}.$$

Reference: Yao, "Probabilistic computations: toward a unified measure of complexity" (1977); von Neumann, "Zur Theorie der Gesellschaftsspiele" (1928).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog


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


def solve_game(loss: Float[np.ndarray, "rows columns"]) -> GameSolution:
    r"""$\min_p \max_x \sum_r p_r \ell_{rx}$, by linear programming (HiGHS).

    Raises:
        ValueError: the matrix is empty or has an entry that is not finite.
    """
    loss = np.asarray(loss, np.float64)
    if not loss.size or not np.isfinite(loss).all():
        raise ValueError(f"a game needs a matrix of finite losses; this array has shape {loss.shape} and {np.sum(~np.isfinite(loss))} entries that are not")
    rows, columns = loss.shape
    least, scale = loss.min(), np.ptp(loss) or 1.0  # the solver's tolerances are absolute
    scaled = (loss - least) / scale
    # Variables: p and the value v. Minimise v with sum_r p_r l_rx - v <= 0 for each x and sum p = 1; the duals of the inequalities are the columns' mixture.
    solved = linprog(
        np.append(np.zeros(rows), 1.0),
        A_ub=np.hstack([scaled.T, -np.ones((columns, 1))]),
        b_ub=np.zeros(columns),
        A_eq=np.append(np.ones(rows), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
        method="highs",
    )
    return GameSolution(float(least + scale * solved.fun), solved.x[:-1], -solved.ineqlin.marginals)


def yao_bounds(
    loss: Float[np.ndarray, "rows columns"], rows: Float[np.ndarray, " rows"] | None = None, columns: Float[np.ndarray, " columns"] | None = None
) -> YaoBounds:
    """The terms of Yao's inequality under two distributions, uniform by default."""
    loss = np.asarray(loss, np.float64)
    p = np.full(loss.shape[0], 1 / loss.shape[0]) if rows is None else np.asarray(rows, np.float64)
    w = np.full(loss.shape[1], 1 / loss.shape[1]) if columns is None else np.asarray(columns, np.float64)
    return YaoBounds(float((loss @ w).min()), float(p @ loss @ w), float((p @ loss).max()))
