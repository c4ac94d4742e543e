r"""Randomised algorithms, trained: the adversary chooses the input, knowing the parameters but not the random seed.

$$\bar\ell_i = \frac1m \sum_{j=1}^m \ell\big(A_\theta(x_i, r_j)\big), \qquad L^q = \Big(\frac1n \sum_{i=1}^n \bar\ell_i^{\,q}\Big)^{1/q}.$$

With q = 1 this is the expected loss, with q = $\infty$ the loss of the worst input. The mean over seeds is inside: an input is as bad as it is *on average
over seeds*, so it pays to fail on other inputs under other seeds. A seed is a JAX key: any model `model(x, key=key)` can be trained so.

Reference: von Oswald et al., "Learning randomized algorithms with transformers" (2025), Sec. 2.2.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Key

from mesocosm.learning.gradient_learner import Metrics
from mesocosm.learning.supervised import Supervised

Scalar = float | Float[Array, ""]


def q_norm(losses: Float[Array, " inputs"], q: Scalar) -> Float[Array, ""]:
    r"""$\big(\frac1n \sum_i \ell_i^q\big)^{1/q}$ of losses $\ell_i \ge 0$, with q from 1 to infinity (`jnp.inf`: the maximum).

    Computed relative to the largest loss, so that no power overflows; this scale cancels, and so no gradient passes through it. The gradient is
    $\frac1n (\ell_i / L^q)^{q-1}$, and 0 where all losses are 0. The norm of a batch is at most that of all inputs: $\max_i \ell_i \le n^{1/q} L^q$. NaN if a
    loss is negative, above 1e37 or NaN, or q below 1.
    """
    valid = jnp.all((losses >= 0) & (losses < 1e37)) & (jnp.asarray(q) >= 1)
    largest = jnp.max(losses)
    scale = jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1.0))
    finite = jnp.isfinite(q)
    power = jnp.where(finite, q, 1.0)
    mean = jnp.mean((losses / scale) ** power)
    relative = jnp.where(largest > 0, mean, 1.0) ** (1 / power)
    norm = jnp.where(largest > 0, jnp.where(finite, scale * relative, largest), 0.0)
    return jnp.where(valid, norm, jnp.nan)


class RelaxedAdversary(Supervised):
    """Minimise the q-norm over inputs of the mean loss over seeds, on fresh batches. Losses must not be negative.

    `loss(model, example, key)` passes its key to the model as the seed. To anneal q, fit in stages that start from the state of the stage before; q is traced,
    so all stages share one compiled program.

    Attributes:
        q: exponent, 1 or more.
        seeds: number m of seeds per step.
        shared: whether all inputs of a batch see the same seeds (as in the paper), or each its own.
        used: take only the first so many of the `seeds` seeds, a part of one counting as one; None: all. Traced, so that a sweep over their number, up to
            `seeds`, compiles once. The others are not computed, but the backward pass keeps room for them: at 1 of 16, a step of the study `randomized`
            takes about half the time of all 16.

    Raises:
        ValueError: there is no seed, or q or `used` is out of range (traced ones are not checked).
    """

    q: Scalar = 100.0
    seeds: int = eqx.field(static=True, default=1)
    shared: bool = eqx.field(static=True, default=True)
    used: Scalar | None = None

    def __check_init__(self):
        if self.seeds < 1:
            raise ValueError(f"a step needs seeds = 1 or more, not {self.seeds}")
        if not isinstance(self.q, Tracer) and not self.q >= 1:
            raise ValueError(f"the exponent q goes from 1 to infinity; it cannot be {self.q}")
        if self.used is not None and not isinstance(self.used, Tracer) and not 1 <= self.used <= self.seeds:
            raise ValueError(f"of {self.seeds} seeds, used = 1 to {self.seeds} can be taken, not {self.used}")

    def losses(self, model: Any, batch: Any, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The loss of each input, mean over its seeds."""
        keys = jax.random.split(key, self.seeds if self.shared else (self.seeds, self.batch_size))
        over_inputs = jax.vmap(self.loss, in_axes=(None, 0, None if self.shared else 0))
        if self.used is None:
            return jnp.mean(jax.vmap(over_inputs, in_axes=(None, None, 0))(model, batch, keys), axis=0)
        among = jnp.arange(self.seeds) < self.used

        def of_seed(seed: tuple[Array, Array]) -> Array:
            is_used, its_key = seed
            return jax.lax.cond(is_used, lambda k: over_inputs(model, batch, k), lambda k: jnp.zeros_like(over_inputs(model, batch, k)), its_key)

        return jnp.sum(jax.lax.map(of_seed, (among, keys)), axis=0) / jnp.sum(among)

    def objective(self, model: Any, batch: Any, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """The q-norm, and the mean and the largest of the losses."""
        losses = self.losses(model, batch, key)
        return q_norm(losses, self.q), {"mean_loss": jnp.mean(losses), "largest_loss": jnp.max(losses)}
