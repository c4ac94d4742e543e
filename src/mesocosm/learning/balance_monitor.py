r"""Monitors the balance and rank of products in any training loop; it reads the parameters and does not depend on the optimiser.

    monitor = BalanceMonitor(lambda params: {"layer0.QK": (params["key"].T, params["query"].T)}, every=100)
    for step in range(steps):
        params, state = update(params, state)
        monitor(step, params, learning_rate)
    monitor.table()

Between measurements, a call compares two integers. A measurement copies the factors to the host and decomposes them there, so it needs no memory in the
compiled step. With a compiled scan, scan `every` steps at a time, or return the factors from a probe of `fit` and pass them to `record`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64, Shaped

from mesocosm.analysis.exponential_rate import exponential_rate
from mesocosm.analysis.spectra.blas_threads import one_blas_thread
from mesocosm.analysis.spectra.factor_spectra import core_balance, core_spectrum, effective_rank, rank_by_energy, rank_by_sum, stable_rank, triangular_pair

Pair = tuple[Any, Any]


def attention_pairs(
    query: Shaped[Any, "*lead heads key_dim dim"],
    key: Shaped[Any, "*lead heads key_dim dim"],
    value: Shaped[Any, "*lead heads value_dim dim"],
    output: Shaped[Any, "*lead heads dim value_dim"],
) -> dict[str, Pair]:
    r"""The two products of every head as factors: QK is $W_K^\top W_Q$ with $A = W_K^\top$, $B = W_Q^\top$; VO is $P W_V$ with $A = P$, $B = W_V^\top$."""
    return {"QK": (_transpose(key), _transpose(query)), "VO": (output, _transpose(value))}


def _transpose(matrix: Any) -> Any:
    return matrix.swapaxes(-1, -2)


class BalanceMonitor:
    """Measures named pairs of factors at regular steps.

    Attributes:
        factors: parameters -> name -> (A, B), shapes (*lead, m, r) and (*lead, n, r); leading axes (seeds, layers, heads) are measured one by one.
        every: steps between two measurements, which happen at multiples of `every`, including step 0.
    """

    def __init__(self, factors: Callable[[Any], Mapping[str, Pair]], every: int = 100):
        if every < 1:
            raise ValueError(f"every must be a number of steps, 1 or more, not {every}")
        self.factors, self.every = factors, every
        self.clock = 0.0
        self._rows: list[dict[str, Any]] = []

    def __call__(self, step: int, params: Any, learning_rate: float = 1.0) -> bool:
        """Measure if due, and return whether it did. Call this once per step, after the update.

        `learning_rate` is that of this step; the clock of the law is the sum of learning rates.
        """
        self.clock += float(learning_rate)
        if step % self.every:
            return False
        self.record(step, self.factors(params), self.clock)
        return True

    def record(self, step: int, pairs: Mapping[str, Pair], clock: float) -> None:
        """Measure these factors.

        Raises:
            ValueError: an entry is not finite, or the inner dimensions of two factors differ.
        """
        with one_blas_thread():
            for name, (a, b) in pairs.items():
                rows = _measures(*triangular_pair(a, b))
                self._rows += [{"step": step, "clock": clock, "product": name, **row} for row in rows]

    def table(self) -> pl.DataFrame:
        """One row per measurement, product and place in the leading axes.

        Columns: step, clock, product, place, nuclear, mean_square, gap, bound, imbalance, difference, rank_by_sum, rank_by_energy, stable_rank, effective_rank.
        """
        return pl.DataFrame(self._rows)

    def decay_rates(self, since: float = 0.0, until: float = np.inf, floor: float = 1e-10) -> pl.DataFrame:
        r"""The rate at which $\|A^\top A - B^\top B\|_F$ fell per unit of the clock, by least squares on its logarithm; theory says $2\lambda$ for SGD.

        Args:
            since, until: the window of the clock; end it before the noise floor of order $\eta / \lambda$ that minibatches leave.
            floor: measurements below this fraction of the first one are omitted.

        Raises:
            ValueError: there are fewer than two measurements in the window.
        """
        rows = []
        for (product, place), group in self.table().partition_by("product", "place", as_dict=True, maintain_order=True).items():
            clock, difference = group["clock"].to_numpy(), group["difference"].to_numpy()
            kept = (clock >= since) & (clock <= until) & (difference > floor * difference[0])
            rows.append({"product": product, "place": place, "rate": exponential_rate(clock[kept], difference[kept])})
        return pl.DataFrame(rows)


def _measures(a: Float64[np.ndarray, "*lead k r"], b: Float64[np.ndarray, "*lead l r"]) -> list[dict[str, Any]]:
    """One row per place in the leading axes."""
    spectrum = core_spectrum(a, b)
    found = core_balance(a, b, spectrum)
    columns = {name: getattr(found, name) for name in ("nuclear", "mean_square", "gap", "bound", "imbalance", "difference")}
    columns |= {measure.__name__: measure(spectrum) for measure in (rank_by_sum, rank_by_energy, stable_rank, effective_rank)}
    places: Sequence[tuple[int, ...]] = list(np.ndindex(spectrum.shape[:-1]))
    return [{"place": ".".join(map(str, place)), **{name: np.asarray(values)[place].item() for name, values in columns.items()}} for place in places]
