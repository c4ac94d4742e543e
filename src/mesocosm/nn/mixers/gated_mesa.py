r"""The gated mesa layer with a constant regulariser (MesaNet): chunk-parallel, solved by conjugate gradients that stop separately for every token.

Reference: von Oswald et al., "MesaNet: Sequence modeling by locally optimal test-time training" (2025), Sec. 3 and App. D.
"""

from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from mesocosm.nn.mixers.conjugate_gradient import Solution, conjugate_gradient
from mesocosm.nn.mixers.gated_linear_attention import fill_gates
from mesocosm.nn.mixers.gated_sums import (
    RegressionSums,
    balanced_chunk,
    chunk_gates,
    entry_states,
    gradient_through_sums,
    join_chunks,
    outer_sums,
    read_chunks,
    split_chunks,
)


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
    residual has fallen to `tolerance` times its first value. The gradient uses the closed form, which assumes that the solve has converged.
    `unroll` instead differentiates through exactly `steps` steps, which must be stored. Its gradient is that of the iterates, which lag behind the
    solution: at the default tolerance it differs from the closed form by about 1e-3; at 1e-7 they agree; at 0 it is not finite, because
    steps after convergence divide vanishing numbers by each other.

    Args:
        log_forget: $\log \gamma_t \le 0$ (None: 0). input_gate: $\beta_t \ge 0$ (None: 1). regulariser: $\Lambda$.
        state: the sums before the first token (None: 0); pass the last state of a segment to the next.
        chunk: number of tokens in one masked product; affects speed and memory, not the result; does not need to divide the length.
        initial_guess: where the solver starts (None: q / diag(H + Lambda)). `query` itself with `steps=0, unroll=True` gives gated linear attention. The
            closed-form gradient ignores it.

    The computation uses float32, or wider if an input is; the output has the dtype of `query`. Memory is linear in time, forward and backward.
    """
    length = query.shape[0]
    dtype = jnp.promote_types(jnp.result_type(query, key, value, regulariser), jnp.float32)
    q, k, v, diagonal = (x.astype(dtype) for x in (query, key, value, regulariser))
    log_forget, input_gate = fill_gates(length, dtype, log_forget, input_gate)
    if state is None:
        state = RegressionSums(jnp.zeros((k.shape[1], k.shape[1])), jnp.zeros((v.shape[1], k.shape[1])))
    problem = _Problem(q, k, v, log_forget, input_gate, diagonal, RegressionSums(*(x.astype(dtype) for x in state)))
    chunk = balanced_chunk(length, chunk)
    guess = None if initial_guess is None else initial_guess.astype(dtype)
    if unroll:
        result = _forward(problem, guess, tolerance, steps, chunk, unroll=True)
    else:
        result = cast(GatedMesaResult, _gated_mesa(problem, guess, jnp.asarray(tolerance, dtype), steps, chunk))
    return result._replace(output=result.output.astype(query.dtype))


def _cut(problem: _Problem, chunk: int) -> tuple[_Chunks, RegressionSums]:
    gates = chunk_gates(split_chunks(problem.log_forget, chunk))
    gate = split_chunks(problem.input_gate, chunk)
    written = gates.remaining * gate
    entry_gram, gram = entry_states(outer_sums(problem.key, problem.key, written), gates.total, problem.state.gram)
    entry_cross, cross = entry_states(outer_sums(problem.value, problem.key, written), gates.total, problem.state.cross)
    key, value = split_chunks(problem.key, chunk), split_chunks(problem.value, chunk)
    return _Chunks(key, value, gates.pair * gate[:, None, :], gates.decay, RegressionSums(entry_gram, entry_cross)), RegressionSums(gram, cross)


def _solve(chunks: _Chunks, regulariser: Array, rhs: Array, guess: Array | None, tolerance: ArrayLike, steps: int, *, unroll: bool = False) -> Solution:
    """(H_t + Lambda)^{-1} rhs_t for every t: the product with H_t is gated linear attention with values := keys."""

    def operator(x: Array) -> Array:
        return read_chunks(x, chunks.key, chunks.key, chunks.pair, chunks.decay, chunks.entry.gram) + x * regulariser

    if guess is None:  # q / diag(H_t + Lambda)
        diagonal = chunks.decay[..., None] * jnp.diagonal(chunks.entry.gram, axis1=1, axis2=2)[:, None, :]
        start = rhs / (diagonal + jnp.einsum("cts,csk->ctk", chunks.pair, chunks.key**2) + regulariser)
    else:
        start = guess
    return conjugate_gradient(operator, rhs, start, steps=steps, tolerance=tolerance, unroll=unroll)


def _forward(problem: _Problem, guess: Array | None, tolerance: ArrayLike, steps: int, chunk: int, *, unroll: bool = False) -> GatedMesaResult:
    length = problem.query.shape[0]
    with jax.default_matmul_precision("highest"):  # conjugate gradients in TF32 or bfloat16 lose definiteness
        chunks, state = _cut(problem, chunk)
        guess = None if guess is None else split_chunks(guess, chunk)
        solution = _solve(chunks, problem.regulariser, split_chunks(problem.query, chunk), guess, tolerance, steps, unroll=unroll)
        output = read_chunks(solution.x, chunks.key, chunks.value, chunks.pair, chunks.decay, chunks.entry.cross)
    output, x, residual, count = (join_chunks(a, length) for a in (output, *solution))
    return GatedMesaResult(output, state, x, residual, count)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _gated_mesa(problem: _Problem, guess: Array | None, tolerance: ArrayLike, steps: int, chunk: int) -> GatedMesaResult:
    return _forward(problem, guess, tolerance, steps, chunk)


def _gated_mesa_forward(problem: _Problem, guess: Array | None, tolerance: ArrayLike, steps: int, chunk: int) -> tuple[GatedMesaResult, tuple]:
    result = _forward(problem, guess, tolerance, steps, chunk)
    return result, (problem, guess, tolerance, result.solution)


def _gated_mesa_backward(steps: int, chunk: int, saved: tuple, cotangent: GatedMesaResult) -> tuple:
    problem, guess, tolerance, solution = saved
    length = problem.key.shape[0]
    error = cotangent.output
    with jax.default_matmul_precision("highest"):
        chunks, _ = _cut(problem, chunk)
        # G_t^T e_t, plus the direct gradient of the loss with respect to q*_t
        e = split_chunks(error, chunk)
        rhs = read_chunks(e, chunks.value, chunks.key, chunks.pair, chunks.decay, jnp.swapaxes(chunks.entry.cross, 1, 2)) + split_chunks(
            cotangent.solution, chunk
        )
        adjoint = join_chunks(_solve(chunks, problem.regulariser, rhs, None, tolerance, steps).x, length)
        dkey, dvalue, dforget, dgate, dstate = gradient_through_sums(
            problem.key, problem.value, problem.log_forget, problem.input_gate, problem.state, solution, adjoint, error, cotangent.state, chunk=chunk
        )
    dregulariser = -jnp.sum(solution * adjoint, axis=0)
    gradient = _Problem(adjoint, dkey, dvalue, dforget, dgate, dregulariser, dstate)
    return gradient, None if guess is None else jnp.zeros_like(guess), jnp.zeros_like(tolerance)


_gated_mesa.defvjp(_gated_mesa_forward, _gated_mesa_backward)
