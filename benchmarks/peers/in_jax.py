"""Our layers as the studies call them, and the peers that anyone would write in JAX: one solve a token, and automatic differentiation of the recursion."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.nn.mixers.gated_mesa import gated_mesa
from mesocosm.nn.mixers.mesa import recursive_least_squares
from peers.problem import BATCH, HEADS, REGULARISER, Problem, affordable_heads, checked, flat_heads
from stopwatch.timing import Contender

UNROLLED_TOLERANCE = 1e-7

Program = Callable[..., Any]


def layer(problem: Problem) -> tuple[Program, tuple[np.ndarray, ...]]:
    """Our layer without its projections (every peer would have the same): a function of arrays (batch, time, heads, channels), and its arguments."""
    solve = _ungated if problem.log_forget is None else _gated
    arguments = (problem.query, problem.key, problem.value, problem.log_forget, problem.input_gate)
    over_heads = jax.vmap(solve, in_axes=1, out_axes=1)
    return jax.vmap(over_heads), tuple(x for x in arguments if x is not None)


def _regulariser(query: Any) -> Any:
    return jnp.full(query.shape[-1], REGULARISER)


def _ungated(query, key, value):
    return recursive_least_squares(query, key, value, _regulariser(query))


def _gated(*arguments, **options):
    return _gated_result(*arguments, **options).output


def _gated_result(query, key, value, log_forget, input_gate, **options):
    return gated_mesa(query, key, value, log_forget, input_gate, _regulariser(query), **options)


def _with_gradient(program: Program) -> Program:
    """From the outputs' cotangent and the arguments to the loss and the gradients of all arguments."""

    def loss_and_gradients(cotangent, *arguments):
        output, backward = jax.vjp(program, *arguments)
        # Two batched LAPACK calls at once wait for each other for ever where XLA has two threads (jaxlib 0.10.2), and barriers are
        # dropped before the program is scheduled: a sum with zeros makes the backward solves wait for the forward ones.
        cotangent = cotangent + 0 * output
        return jnp.sum(output * cotangent), backward(cotangent)

    return loss_and_gradients


@cache
def ours(problem: Problem, gradient: bool) -> Contender:
    """All heads of the whole batch, as in the layer."""
    program, arguments = layer(problem)
    if gradient:
        program, arguments = _with_gradient(program), (problem.cotangent, *arguments)
    return _contender("mesocosm", program, arguments, flat_heads)


def per_step_solve(problem: Problem, gradient: bool) -> Contender:
    """`jnp.linalg.solve` of all tokens' systems in one batch."""
    return _peer("jnp.linalg.solve a token", _solve_every_token, problem, gradient, affordable_heads(problem))


def scan_autodiff(problem: Problem) -> Contender:
    """Reverse mode through the recursion, which stores the inverse of every token."""
    return _peer("autodiff through the scan", _plain_recursion, problem, True, affordable_heads(problem, fewest=4))


def solver_autodiff(problem: Problem) -> Contender:
    """Reverse mode through our conjugate gradient steps: with our own tolerance its gradient is off by 1e-3, so it gets a tighter one."""
    tight = partial(_gated_result, tolerance=UNROLLED_TOLERANCE)
    query, key, value, _, *gates = problem.first_heads(BATCH * HEADS)
    steps = int(jax.jit(jax.vmap(lambda *given: tight(*given).steps))(query, key, value, *gates).max())
    function = partial(_gated, unroll=True, steps=steps, tolerance=UNROLLED_TOLERANCE)
    note = f"{steps} solver steps, tolerance {UNROLLED_TOLERANCE:g}"
    return _peer("autodiff through the solver", function, problem, True, affordable_heads(problem, fewest=4), note)


def _peer(name: str, function: Program, problem: Problem, gradient: bool, heads: int, note: str = "") -> Contender:
    query, key, value, cotangent, *gates = problem.first_heads(heads)
    program, arguments = jax.vmap(function), (query, key, value, *gates)
    if gradient:
        program, arguments = _with_gradient(program), (cotangent, *arguments)
    partly = "" if heads == BATCH * HEADS else f"{heads} of {BATCH * HEADS} heads, scaled"
    return _contender(name, program, arguments, np.asarray, heads / (BATCH * HEADS), ". ".join(filter(None, (note, partly))))


def _contender(name: str, program: Program, arguments: tuple[Any, ...], flat: Program, share: float = 1.0, note: str = "") -> Contender:
    placed = jax.device_put(arguments)
    compiled = jax.jit(program).lower(*placed).compile()
    mebibytes = _temporary_bytes(compiled) / 2**20 / share

    def answer(result: Any) -> list[np.ndarray]:
        return [checked(flat(x)) for x in (result[1][:3] if isinstance(result, tuple) else (result,))]

    return Contender(name, lambda: jax.block_until_ready(compiled(*placed)), answer, share, note, mebibytes)


def _temporary_bytes(compiled: Any) -> int:
    return compiled.memory_analysis().temp_size_in_bytes


# --- the peers' formulas, one head ----------------------------------------------------------------------------------


def _solve_every_token(query, key, value, log_forget=None, input_gate=None):
    causal = jnp.tril(jnp.ones((len(key), len(key))))
    if log_forget is None or input_gate is None:
        weights, grams = causal, jnp.cumsum(key[:, :, None] * key[:, None, :], axis=0)
    else:
        reach = jnp.cumsum(log_forget)
        weights = causal * jnp.exp(jnp.minimum(reach[:, None] - reach[None, :], 0)) * input_gate
        grams = _gated_grams(key, log_forget, input_gate)
    systems = grams + REGULARISER * jnp.eye(key.shape[1])
    solution = jnp.linalg.solve(systems, query[..., None])[..., 0]
    return (weights * (solution @ key.T)) @ value


def _gated_grams(key, log_forget, input_gate):
    def step(gram, token):
        k, forget, gate = token
        gram = forget * gram + gate * k[:, None] * k[None, :]
        return gram, gram

    return jax.lax.scan(step, jnp.zeros((key.shape[1], key.shape[1])), (key, jnp.exp(log_forget), input_gate))[1]


def _plain_recursion(query, key, value):
    """Recursive least squares as in a textbook."""

    def step(state, token):
        inverse, weights = state
        q, k, v = token
        moved = inverse @ k
        gain = moved / (1 + k @ moved)
        weights = weights + jnp.outer(v - weights @ k, gain)
        inverse = inverse - jnp.outer(gain, moved)
        return (inverse, weights), weights @ q

    size = key.shape[1]
    return jax.lax.scan(step, (jnp.eye(size) / REGULARISER, jnp.zeros((size, size))), (query, key, value))[1]
