"""The rate of an exponential decay, estimated from measurements over time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def exponential_rate(time: Float[np.ndarray, " times"], values: Float[np.ndarray, " times"]) -> float:
    r"""$\kappa$ of $v \propto e^{-\kappa t}$ by least squares on $\log v$.

    Raises:
        ValueError: there are fewer than two different times, or a value is not positive and finite.
    """
    time, values = np.asarray(time, np.float64), np.asarray(values, np.float64)
    usable = (values > 0) & np.isfinite(values)
    times = len(np.unique(time))
    if not usable.all() or times < 2:
        raise ValueError(f"a rate needs positive values at two or more times; there are {int(usable.sum())} of {len(values)}, at {times} times")
    return -float(np.polyfit(time, np.log(values), 1)[0])
