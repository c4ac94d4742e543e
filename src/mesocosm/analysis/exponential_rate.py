"""The rate of an exponential decay, estimated from measurements over time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def exponential_rate(time: Float[np.ndarray, " times"], values: Float[np.ndarray, " times"]) -> float:
    r"""$\kappa$ of $v \propto e^{-\kappa t}$ by least squares on $\log v$.

    Raises:
        ValueError: there are fewer than two times, or a value is not positive.
    """
    if len(time) < 2 or not np.all(values > 0):
        raise ValueError(f"a rate needs two or more positive values; there are {int(np.sum(values > 0))} of {len(values)}")
    return -float(np.polyfit(time, np.log(values), 1)[0])
