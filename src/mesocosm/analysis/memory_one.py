r"""Exact values of memory-one policies in iterated games of two players and two actions, and zero-determinant strategies.

A policy is five probabilities to cooperate: at the start, and after CC, CD, DC and DD, where the first letter is the player's own last action. With policies
$x$ and $y$ (each seen from its player's side), the joint actions are a Markov chain with start $s_0$ and transitions $P$,

$$P_{s} = [x_s y_{s'},\; x_s (1 - y_{s'}),\; (1 - x_s) y_{s'},\; (1 - x_s)(1 - y_{s'})],$$

where $s'$ is s with CD and DC exchanged. The discounted visits $d = (1 - \gamma) (I - \gamma P)^{-\top} s_0$ give the average reward per step
$J^i = d \cdot r^i$. Everything is differentiable to any order; for logits, apply `jax.nn.sigmoid` first.

References: Foerster et al., "Learning with opponent-learning awareness" (2018); Meulemans et al., "Multi-agent cooperation through learning-aware policy
gradients" (2025), App. C; Press and Dyson, "Iterated prisoner's dilemma contains strategies that dominate any evolutionary opponent" (2012).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mesocosm.envs.matrix_game import MatrixGame

START, CC, CD, DC, DD = range(5)
SWAPPED = np.array([START, CC, DC, CD, DD])
"""The same memories seen from the other side."""

Policy = Float[Array, "5"]

TIT_FOR_TAT = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
ALWAYS_COOPERATE = np.ones(5)
ALWAYS_DEFECT = np.zeros(5)


class Chain(NamedTuple):
    """The joint actions CC, CD, DC, DD (the first player's letter first) as a Markov chain: their distribution at the start, and transitions between them."""

    start: Float[Array, "4"]
    transitions: Float[Array, "4 4"]


def chain(own: Policy, other: Policy) -> Chain:
    """The chain of two policies, each seen from its player's side."""
    x, y = own, jnp.concatenate([other[:CD], other[DC:DD], other[CD:DC], other[DD:]])
    joint = jnp.stack([x * y, x * (1 - y), (1 - x) * y, (1 - x) * (1 - y)], axis=-1)
    return Chain(joint[0], joint[1:])


def visits(own: Policy, other: Policy, discount: float | Array) -> Float[Array, "4"]:
    r"""$d$, the discounted share of steps in CC, CD, DC and DD; sums to one. The discount is in [0, 1)."""
    start, transitions = chain(own, other)
    return (1 - discount) * _solve(jnp.eye(4, dtype=start.dtype) - discount * transitions.T, start)


def values(game: MatrixGame, own: Policy, other: Policy, discount: float | Array, *, normalised: bool = True) -> Float[Array, "2"]:
    r"""$J^1$ and $J^2$ per step; with `normalised=False`, their infinite discounted sums, larger by $1 / (1 - \gamma)$."""
    share = visits(own, other, discount)
    per_step = jnp.asarray(game.payoffs, share.dtype).reshape(2, 4) @ share
    return per_step if normalised else per_step / (1 - discount)


def episode_values(game: MatrixGame, own: Float[Array, "*own_time 5"], other: Float[Array, "*other_time 5"], length: int) -> Float[Array, "2"]:
    """Expected sums of rewards over an episode of `length` steps; a policy may have a row for each step."""
    payoffs = jnp.asarray(game.payoffs, own.dtype).reshape(2, 4)
    own, other = (jnp.broadcast_to(policy, (length, 5)) for policy in (own, other))

    def step(now: Array, policies: tuple[Array, Array]) -> tuple[Array, Array]:
        start, transitions = chain(*policies)
        following = now[START] * start + now[CC:] @ transitions
        return jnp.concatenate([jnp.zeros(1, following.dtype), following]), payoffs @ following

    first = jnp.zeros(5, own.dtype).at[START].set(1.0)
    return jnp.sum(jax.lax.scan(step, first, (own, other))[1], axis=0)


def _solve(matrix: Float[Array, "n n"], vector: Float[Array, " n"]) -> Float[Array, " n"]:
    """`_eliminate`, whose derivatives are solutions too and not derivatives of the elimination: programs of higher derivatives stay small."""
    return jax.lax.custom_linear_solve(
        lambda x: matrix @ x, vector, lambda _, right: _eliminate(matrix, right), transpose_solve=lambda _, right: _eliminate(matrix.T, right)
    )


def _eliminate(matrix: Float[Array, "n n"], vector: Float[Array, " n"]) -> Float[Array, " n"]:
    """Gauss-Jordan elimination without pivoting, stable as the matrix or its transpose has dominant diagonals. Faster than LAPACK under `vmap`."""
    rows, place = jnp.concatenate([matrix, vector[:, None]], axis=1), jnp.arange(len(vector))[:, None]
    for k in range(len(vector)):
        pivot = rows[k] / rows[k, k]
        rows = jnp.where(place == k, pivot, rows - rows[:, k : k + 1] * pivot)
    return rows[:, -1]


# --- zero-determinant strategies ------------------------------------------------------------------------------------------


class ZeroDeterminant(NamedTuple):
    r"""A strategy that enforces $J^1 - \kappa = \chi (J^2 - \kappa)$ (without discount), whatever the other player does.

    Attributes:
        slope: $\chi$; 1 is fair, and above 1, the baseline being the reward of mutual defection, it extorts.
        scale: $\phi$.
        policy: its probabilities after CC, CD, DC, DD.
    """

    slope: Float[Array, ""]
    scale: Float[Array, ""]
    policy: Float[Array, "4"]


def zero_determinant(game: MatrixGame, slope: float | Array, scale: float | Array, baseline: float | Array | None = None) -> ZeroDeterminant:
    r"""$p = (1, 1, 0, 0) + \phi [(r^1 - \kappa) - \chi (r^2 - \kappa)]$; a strategy only for $0 < \phi \le$ `largest_scale`.

    Args:
        game: the payoffs r.
        slope: $\chi$.
        scale: $\phi$.
        baseline: $\kappa$; None for the first player's reward of mutual defection.
    """
    direction = _direction(game, slope, baseline)
    return ZeroDeterminant(jnp.asarray(slope), jnp.asarray(scale), jnp.asarray(_REPEAT, direction.dtype) + scale * direction)


def largest_scale(game: MatrixGame, slope: float | Array, baseline: float | Array | None = None) -> Float[Array, ""]:
    r"""The largest $\phi$ whose strategy has no probability outside [0, 1]; 0 if there is none."""
    away = _direction(game, slope, baseline) * (1 - 2 * _REPEAT)  # positive: into [0, 1]
    bounds = jnp.where(away == 0, jnp.inf, 1 / jnp.where(away == 0, 1.0, away))
    return jnp.where(jnp.all(away >= 0), jnp.min(bounds), 0.0)


def nearest_extortion(game: MatrixGame, policy: Float[Array, "4"], slopes: Float[Array | np.ndarray, " slopes"] | None = None) -> ZeroDeterminant:
    r"""The extortion strategy nearest to a policy after CC, CD, DC, DD, by least squares: the best $\phi$ of each slope, the best slope of a grid.

    Args:
        game: the payoffs.
        policy: the four probabilities.
        slopes: the grid; None for 400 slopes from 1 to 20, evenly spaced in their logarithm.
    """
    grid = jnp.asarray(np.geomspace(1, 20, 400) if slopes is None else slopes, policy.dtype)

    def best(slope: Array) -> ZeroDeterminant:
        direction = _direction(game, slope, None)
        scale = jnp.clip(direction @ (policy - _REPEAT) / (direction @ direction), 0.0, largest_scale(game, slope))
        return zero_determinant(game, slope, scale)

    found = jax.vmap(best)(grid)
    nearest = jnp.argmin(jnp.sum((found.policy - policy) ** 2, axis=1))
    return jax.tree.map(lambda leaf: leaf[nearest], found)


_REPEAT = np.array([1.0, 1.0, 0.0, 0.0])


def _direction(game: MatrixGame, slope: float | Array, baseline: float | Array | None) -> Float[Array, "4"]:
    own, other = jnp.asarray(game.payoffs, float).reshape(2, 4)
    kappa = own[3] if baseline is None else baseline
    return (own - kappa) - slope * (other - kappa)
