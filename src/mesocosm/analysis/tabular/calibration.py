r"""How well a hindsight distribution $h(a \mid s, u)$ agrees with the exact one, $p(a \mid s, u)$, over all pairs of a state and a later outcome.

Each pair (s, u) counts as often as it is expected in an episode. Everything is computed from tables; nothing is sampled.

Reference: Guo et al., "On calibration of modern neural networks" (2017), for the binned error.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from mesocosm.analysis.tabular.dynamic_programming import Outcomes, Policy, coefficients, occupancy, outcome_counts, outcome_probability, successor
from mesocosm.envs.tabular import TabularMDP
from mesocosm.numerics.precision import full_precision


class Calibration(NamedTuple):
    r"""Errors of a hindsight distribution and of its coefficients, $w = h / \pi - 1$.

    Attributes:
        log_loss: $-E \log h(A \mid S, U)$, in nats.
        least_log_loss: that of the exact distribution, the least there is.
        policy_log_loss: that of the policy, which knows nothing of the outcome.
        calibration_error: over bins of predicted probabilities, the mean absolute difference between predicted and exact probability, all actions alike.
        coefficient_error: root mean square of $\hat w - w$, actions weighted by the policy.
        coefficient_size: root mean square of the exact w.
    """

    log_loss: Float[Array, ""]
    least_log_loss: Float[Array, ""]
    policy_log_loss: Float[Array, ""]
    calibration_error: Float[Array, ""]
    coefficient_error: Float[Array, ""]
    coefficient_size: Float[Array, ""]


def hindsight_calibration(mdp: TabularMDP, policy: Policy, outcomes: Outcomes, learned: Float[Array, "states actions outcomes"], bins: int = 10) -> Calibration:
    """Compare learned coefficients with the exact ones of the same outcomes.

    Args:
        mdp: the process.
        policy: the behaviour policy, exploration included.
        outcomes: the class of each (state, action, reward); -1 for events that are no outcome.
        learned: the coefficients.
        bins: how many bins of equal width the calibration error has.

    Raises:
        ValueError: an array has another shape than the process asks for, an outcome has no coefficient, there is no bin, or a number is not finite
            (which inside a compiled program makes every error NaN instead).
    """
    events = mdp.reward_probability.shape
    _require_shape("the policy", policy, events[:2])
    _require_shape("the outcomes", outcomes, events)
    _require_shape("the coefficients", learned, (*events[:2], *learned.shape[2:3]))
    if not isinstance(outcomes, Tracer) and not np.max(outcomes) < learned.shape[2]:
        raise ValueError(f"there are coefficients of {learned.shape[2]} outcomes, and an event has outcome {np.max(outcomes)}, counted from 0")
    probability, number = jnp.asarray(policy), learned.shape[2]
    counts = outcome_counts(successor(mdp, policy), outcome_probability(mdp, policy, outcomes, number))
    pairs = occupancy(mdp, policy)[:, None] * jnp.einsum("sa,sau->su", probability, counts)
    return compare_coefficients(learned, coefficients(counts, policy), probability, pairs, bins)


@full_precision
def compare_coefficients(
    learned: Float[Array, "states actions outcomes"],
    exact: Float[Array, "states actions outcomes"],
    policy: Float[Array, "states actions"],
    pairs: Float[Array, "states outcomes"],
    bins: int = 10,
) -> Calibration:
    """The errors, with weights `pairs` for each state and outcome.

    Raises:
        ValueError: as `hindsight_calibration`.
    """
    if bins < 1:
        raise ValueError(f"a calibration error needs one bin or more, not {bins}")
    states, actions, number = learned.shape
    for name, part, shape in (("the exact ones", exact, learned.shape), ("the policy", policy, (states, actions)), ("the pairs", pairs, (states, number))):
        _require_shape(name, part, shape)
    for name, part in (("a learned coefficient", learned), ("an exact one", exact), ("a probability of the policy", policy)):
        if not isinstance(part, Tracer) and not np.all(np.isfinite(part)):
            raise ValueError(f"{name} is not finite")
    weights = (pairs / jnp.maximum(jnp.sum(pairs), jnp.finfo(pairs.dtype).tiny))[:, None]
    predicted, true = (policy[..., None] * (w + 1.0) for w in (learned, exact))

    def log_loss(distribution: Array) -> Array:
        return -jnp.sum(weights * true * jnp.log(jnp.maximum(distribution, jnp.finfo(distribution.dtype).tiny)))

    def root_mean_square(w: Array) -> Array:
        return jnp.sqrt(jnp.sum(weights * policy[..., None] * w**2))

    place = jnp.clip((predicted * bins).astype(jnp.int32), 0, bins - 1)
    gaps = jnp.zeros(bins, predicted.dtype).at[place].add(weights * (predicted - true)) / policy.shape[1]
    return Calibration(
        log_loss=log_loss(predicted),
        least_log_loss=log_loss(true),
        policy_log_loss=log_loss(jnp.broadcast_to(policy[..., None], true.shape)),
        calibration_error=jnp.sum(jnp.abs(gaps)),
        coefficient_error=root_mean_square(learned - exact),
        coefficient_size=root_mean_square(exact),
    )


def _require_shape(name: str, part: Any, shape: tuple[int, ...]) -> None:
    if part.shape != shape:
        raise ValueError(f"the shape of {name} is {list(part.shape)}, not {list(shape)}")
