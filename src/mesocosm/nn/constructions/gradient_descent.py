r"""Linear attention layers with weights set by hand, which run gradient descent and a truncated series for the inverse, at all positions in parallel.

Token blocks have the size n of an observation; `previous` is $s_{t-1}$ with $s_0 = 0$, so that $\sum_{t' \le t} s_{t'-1} s_{t'-1}^\top = S_{t-1} S_{t-1}^\top$.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (2023), Prop. 1 and 2.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mesocosm.nn.mixers.linear_attention import LinearAttention


def previous_observations(observations: Float[Array, "time n"]) -> Float[Array, "time n"]:
    """s_{t-1} for every t, with s_0 = 0."""
    return jnp.concatenate([jnp.zeros_like(observations[:1]), observations[:-1]])


def gradient_descent_tokens(observations: Float[Array, "time n"], initial_map: Float[Array, "n n"]) -> Float[Array, "time 3*n"]:
    r"""$e_t = [\Phi_0 s_t;\, s_t;\, s_{t-1}]$, the input of `gradient_descent_attention`."""
    return jnp.concatenate([observations @ initial_map.T, observations, previous_observations(observations)], axis=-1)


def gradient_descent_attention(observation_dim: int, step_size: float | Float[Array, ""], initial_map: Float[Array, "n n"] | None = None) -> LinearAttention:
    r"""One head that adds one gradient step to the first block of $[\Phi_0 s_t; s_t; s_{t-1}]$ in the residual stream:

    $$\Phi_0 s_t \leftarrow \Phi_0 s_t - \eta \nabla L_t(\Phi_0)\, s_t, \qquad L_t(\Phi) = \tfrac12 \sum_{t'=1}^{t-1} \|s_{t'+1} - \Phi s_{t'}\|^2.$$

    The only non-zero block of $W_k^\top W_q$ is (previous, current) = I, of $P W_v$ the row (prediction) = $[0,\, \eta I,\, -\eta \Phi_0]$. `initial_map` is
    $\Phi_0$ (None: 0).

    Reference: von Oswald et al. (2023), Prop. 1.
    """
    n = observation_dim
    initial_map = jnp.zeros((n, n)) if initial_map is None else initial_map
    if initial_map.shape != (n, n):
        raise ValueError(f"The initial map has shape {initial_map.shape}, observations of size {n} need {(n, n)}.")
    one, zero = jnp.eye(n), jnp.zeros((n, n))
    query = jnp.concatenate([zero, one, zero], axis=1)
    key = jnp.concatenate([zero, zero, one], axis=1)
    value = step_size * jnp.concatenate([zero, one, -initial_map], axis=1)
    output = jnp.concatenate([one, zero, zero], axis=0)
    return LinearAttention(query[None], key[None], value[None], output[None])


def series_weights(momentum: Sequence[float]) -> tuple[float, ...]:
    r"""Weights $w_0..w_k$ of the terms in $X_k$, where $X_j = X_{j-1} + \mathrm{term}_j + \beta_j (X_{j-1} - X_{j-2})$ and $X_0 = X_{-1} = \mathrm{term}_0$;
    all 1 without momentum."""
    now = np.zeros(len(momentum) + 1)
    now[0] = 1
    before = now.copy()
    for j, beta in enumerate(momentum, start=1):
        before, now = now, now + beta * (now - before) + (np.arange(len(now)) == j)
    return tuple(map(float, now))


class InverseSeries:
    r"""Layers for $X s_t$ with $X = \tfrac1c \sum_{j=0}^k w_j \prod_{i \le j} (I - \alpha_i A_t / c) \approx A_t^{-1}$, $A_t = S_{t-1} S_{t-1}^\top + \rho
    I$, one layer per factor.

    A token is $[\hat y;\, x;\, z;\, s_t;\, s_{t-1}]$ (5 n channels): prediction (initially 0), running sum, current term, observation, previous observation.
    One head with key $s_{t-1}$, query $z$ and value $s_{t-1}$ computes $S_{t-1} S_{t-1}^\top z$. Linear attention without positions cannot copy a channel of
    its own token, but does not need to:
    with $\pi_j = \prod_{i \le j} (1 - \alpha_i \rho / c)$ the term is $\pi_j z_j$, where

    $$z_j = z_{j-1} + \Delta_j, \qquad \Delta_j = -\frac{\alpha_j}{c - \alpha_j \rho} S_{t-1} S_{t-1}^\top z_{j-1}, \qquad z_0 = s_t,$$

    and the sum $X s_t = \sum_j \tfrac{w_j \pi_j}{c} z_j$ collects each $\Delta_i$ with the known coefficient $\sum_{j \ge i} w_j \pi_j / c$: the head writes
    both and the residual stream adds them up.

    Neumann: step sizes and weights 1. Richardson with steps $\omega_j$: step sizes $\omega_1..\omega_k$ (and any for the last factor's weight), weights
    $\omega_{j+1}$. Momentum: `series_weights`.

    Args:
        observation_dim: n. step_sizes: $\alpha_1..\alpha_k$. weights: $w_0..w_k$ (None: all 1). ridge: $\rho$. norm: $c$, at least the largest eigenvalue of
            $A_t$ for the Neumann series to converge.

    Raises ValueError if there is not exactly one more weight than step sizes, or if a step size times ridge equals the norm.
    Reference: von Oswald et al. (2023), Prop. 2.
    """

    def __init__(self, observation_dim: int, step_sizes: Sequence[float], weights: Sequence[float] | None = None, *, ridge: float, norm: float):
        weights = (1.0,) * (len(step_sizes) + 1) if weights is None else tuple(weights)
        if len(weights) != len(step_sizes) + 1:
            raise ValueError(f"{len(step_sizes)} step sizes make {len(step_sizes) + 1} terms, got {len(weights)} weights.")
        shrink = 1 - np.asarray(step_sizes, np.float64) * ridge / norm
        if np.any(shrink == 0):
            raise ValueError(f"A step size times ridge {ridge} equals the norm {norm}: the residual stream cannot carry the term's scale.")
        terms = np.asarray(weights, np.float64) * np.concatenate([[1.0], np.cumprod(shrink)]) / norm
        self.observation_dim = observation_dim
        self._collected = np.cumsum(terms[::-1])[::-1]  # for each increment, the sum of the coefficients of the terms that contain it
        self._moves = -np.asarray(step_sizes, np.float64) / (norm * shrink)

    def tokens(self, observations: Float[Array, "time n"]) -> Float[Array, "time 5*n"]:
        """The residual stream before the first layer."""
        if observations.shape[1] != self.observation_dim:
            raise ValueError(f"Observations have {observations.shape[1]} channels, the layers expect {self.observation_dim}.")
        blocks = (jnp.zeros_like(observations), self._collected[0] * observations, observations, observations, previous_observations(observations))
        return jnp.concatenate(blocks, axis=-1)

    def layers(self) -> tuple[LinearAttention, ...]:
        """The k layers of the series; after them, block 1 holds X s_t."""
        return tuple(
            self._head(query=2, key=4, value=4, writes={1: collected * move, 2: move}) for collected, move in zip(self._collected[1:], self._moves, strict=True)
        )

    def prediction_layer(self) -> LinearAttention:
        r"""One more layer: block 0 gets $\sum_{t' \le t} s_{t'} s_{t'-1}^\top X s_t$, the (approximate) ridge prediction of $s_{t+1}$."""
        return self._head(query=1, key=4, value=3, writes={0: 1.0})

    def block(self, stream: Float[Array, "*time width"], index: int) -> Float[Array, "*time n"]:
        """Block 0 (prediction), 1 (X s_t), 2 (last term, unscaled), 3 (s_t) or 4 (s_{t-1}) of a residual stream."""
        return stream[..., index * self.observation_dim : (index + 1) * self.observation_dim]

    def _head(self, *, query: int, key: int, value: int, writes: dict[int, float]) -> LinearAttention:
        one = np.eye(self.observation_dim)
        read = [np.kron(np.eye(5)[i : i + 1], one) for i in (query, key, value)]
        output = sum(np.kron(np.eye(5)[:, i : i + 1], scale * one) for i, scale in writes.items())
        return LinearAttention(*(jnp.asarray(w, jnp.zeros(()).dtype)[None] for w in (*read, output)))
