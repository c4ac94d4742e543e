r"""The gated mesa layer with a constant regulariser (MesaNet): chunk-parallel, solved by conjugate gradients that stop separately for every token.

Reference: von Oswald et al., "MesaNet: Sequence modeling by locally optimal test-time training" (2025), Sec. 3 and App. D.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from mesocosm.nn.mixers.conjugate_gradient import conjugate_gradient
from mesocosm.nn.mixers.gated_linear_attention import fill_gates
from mesocosm.nn.mixers.gated_sums import (
    RegressionSums,
    balanced_chunk,
    check_gates,
    check_positive,
    chunk_gates,
    entry_states,
    join_chunks,
    outer_sums,
    read_chunks,
    split_chunks,
)
from mesocosm.numerics.precision import full_precision


class GatedMesaResult(NamedTuple):
    """output: o_t. state: the sums after the last token. solution: q*_t. residual: last residual relative to the first. steps: number of solver steps."""

    output: Float[Array, "time value_dim"]
    state: RegressionSums
    solution: Float[Array, "time key_dim"]
    residual: Float[Array, " time"]
    steps: Int[Array, " time"]


class _Problem(NamedTuple):
    query: Array
    key: Array
    value: Array
    log_forget: Array
    input_gate: Array
    regulariser: Array
    state: RegressionSums
    negative: Array | None


class _Chunks(NamedTuple):
    """The solver's inputs: keys and values in chunks, weights of the pairs inside a chunk, decay since its start, and the sums at its start."""

    key: Array
    value: Array
    pair: Array
    decay: Array
    entry: RegressionSums


def gated_mesa(
    query: Float[Array, "time key_dim"],
    key: Float[Array, "time key_dim"],
    value: Float[Array, "time value_dim"],
    log_forget: Float[Array, " time"] | None,
    input_gate: Float[Array, " time"] | None,
    regulariser: Float[Array, " key_dim"],
    *,
    negative: Bool[Array, " time"] | None = None,
    state: RegressionSums | None = None,
    steps: int = 30,
    tolerance: ArrayLike = 1e-5,
    chunk: int = 64,
    unroll: bool = False,
    initial_guess: Float[Array, "time key_dim"] | None = None,
) -> GatedMesaResult:
    r"""$o_t = G_t (H_t + \Lambda)^{-1} q_t$ with $H_t = \gamma_t H_{t-1} + \beta_t k_t k_t^\top$, $G_t = \gamma_t G_{t-1} + \beta_t v_t k_t^\top$, one head
    (use `jax.vmap`).

    The diagonal $\Lambda > 0$ is constant: it is not forgotten. Each token's system takes at most `steps` conjugate gradient steps and stops once its own
    residual has fallen to `tolerance` times its first value. Derivatives, of any order and in any mode, are those of the exact solution: each takes further
    solves, and assumes that all have converged, so that `residual` has none (it is NaN).
    `unroll` instead differentiates through exactly `steps` steps, which must be stored. Its gradient is that of the iterates, which lag behind the
    solution: at the default tolerance it differs from the implicit one by about 1e-3; at 1e-7 they agree; at 0 it is not finite, because
    steps after convergence divide vanishing numbers by each other.

    Args:
        log_forget: $\log |\gamma_t| \le 0$, -inf for a reset (None: 0). input_gate: $\beta_t \ge 0$ (None: 1). regulariser: $\Lambda$.
        negative: where $\gamma_t < 0$ (None: nowhere). $H_t$ can then have negative eigenvalues, which $\Lambda$ must exceed; with unit keys and $\beta \le 1$,
            one above the number of tokens does, or above $1 / (1 - \max |\gamma|)$.
        state: the sums before the first token (None: 0); pass the last state of a segment to the next.
        chunk: number of tokens in one masked product; affects speed and memory, not the result; does not need to divide the length.
        initial_guess: where the solver starts (None: q / diag(H + Lambda)). `query` itself with `steps=0, unroll=True` gives gated linear attention. The
            implicit derivatives ignore it.

    The computation uses float32, or wider if an input is; the output has the dtype of `query`. Memory is linear in time, forward and backward.

    Raises:
        ValueError: a gate or a regulariser that is not traced has the wrong sign, or is not finite.
    """
    check_gates(log_forget, input_gate)
    check_positive("regulariser", regulariser)
    length = query.shape[0]
    dtype = jnp.promote_types(jnp.result_type(query, key, value, regulariser), jnp.float32)
    q, k, v, diagonal = (x.astype(dtype) for x in (query, key, value, regulariser))
    log_forget, input_gate = fill_gates(length, dtype, log_forget, input_gate)
    if state is None:
        state = RegressionSums(jnp.zeros((k.shape[1], k.shape[1])), jnp.zeros((v.shape[1], k.shape[1])))
    problem = _Problem(q, k, v, log_forget, input_gate, diagonal, RegressionSums(*(x.astype(dtype) for x in state)), negative)
    guess = None if initial_guess is None else initial_guess.astype(dtype)
    result = _solve(problem, guess, tolerance, steps, balanced_chunk(length, chunk), unroll)
    return result._replace(output=result.output.astype(query.dtype))


def _cut(problem: _Problem, chunk: int) -> tuple[_Chunks, RegressionSums]:
    gates = chunk_gates(split_chunks(problem.log_forget, chunk), None if problem.negative is None else split_chunks(problem.negative, chunk))
    gate = split_chunks(problem.input_gate, chunk)
    written = gates.remaining * gate
    entry_gram, gram = entry_states(outer_sums(problem.key, problem.key, written), gates.total, problem.state.gram)
    entry_cross, cross = entry_states(outer_sums(problem.value, problem.key, written), gates.total, problem.state.cross)
    key, value = split_chunks(problem.key, chunk), split_chunks(problem.value, chunk)
    return _Chunks(key, value, gates.pair * gate[:, None, :], gates.decay, RegressionSums(entry_gram, entry_cross)), RegressionSums(gram, cross)


@full_precision  # conjugate gradients in TF32 or bfloat16 lose definiteness
def _solve(problem: _Problem, guess: Array | None, tolerance: ArrayLike, steps: int, chunk: int, unroll: bool) -> GatedMesaResult:
    """Solve (H_t + Lambda) q*_t = q_t for every t, where the product with H_t is gated linear attention with values := keys, and read G_t q*_t."""
    length = problem.query.shape[0]
    chunks, state = _cut(problem, chunk)

    def operator(x: Array) -> Array:
        return read_chunks(x, chunks.key, chunks.key, chunks.pair, chunks.decay, chunks.entry.gram) + x * problem.regulariser

    def solve(operator: Callable[[Array], Array], rhs: Array) -> tuple[Array, tuple[Array, Array]]:
        found = conjugate_gradient(operator, rhs, start(rhs), steps=steps, tolerance=tolerance, unroll=unroll)
        return found.x, (found.residual, found.steps)

    def start(rhs: Array) -> Array:
        if guess is not None:
            return jnp.zeros_like(rhs)
        diagonal = chunks.decay[..., None] * jnp.diagonal(chunks.entry.gram, axis1=1, axis2=2)[:, None, :]
        return rhs / (diagonal + jnp.einsum("cts,csk->ctk", chunks.pair, chunks.key**2) + problem.regulariser)

    rhs = split_chunks(problem.query, chunk)
    origin = jnp.zeros_like(rhs) if guess is None else split_chunks(guess, chunk)
    if unroll:
        solution, (residual, count) = solve(operator, rhs - operator(origin))
    else:
        origin = jax.lax.stop_gradient(origin)
        rhs = rhs - operator(origin)
        solution, (residual, count) = jax.lax.custom_linear_solve(operator, rhs, solve, symmetric=True, has_aux=True)
        residual = _without_derivative(residual, rhs)
    solution = origin + solution
    output = read_chunks(solution, chunks.key, chunks.value, chunks.pair, chunks.decay, chunks.entry.cross)
    output, solution, residual, count = (join_chunks(a, length) for a in (output, solution, residual, count))
    return GatedMesaResult(output, state, solution, residual, count)


@jax.custom_jvp
def _without_derivative(residual: Array, rhs: Array) -> Array:
    """The residual, with a derivative of NaN: the implicit one would be 0, and silently train nothing."""
    return residual


@_without_derivative.defjvp
def _without_derivative_jvp(given: tuple[Array, Array], moved: tuple[Array, Array]) -> tuple[Array, Array]:
    return given[0], jnp.nan * jnp.sum(moved[1], axis=-1)
