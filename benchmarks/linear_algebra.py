"""What it costs that nothing can deadlock: LAPACK for one matrix at a time against batches of it, and XLA's memory-optimised schedule against its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.nn import Attention, HawkBlock, MesaAttention, ResidualStack
from mesocosm.numerics import linear_algebra
from mesocosm.numerics.programs import SCHEDULE
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row
from stopwatch.timing import Contender

NAME = "linear_algebra"
TITLE = "solves and factorisations one matrix at a time; the schedule of programs"
PEER = "jax.numpy, one call for the batch"
NOTE = "jax.numpy is compiled with the memory-optimised schedule, too, and alone in its program: there its calls do not deadlock"


@dataclass(frozen=True)
class Size:
    """Batches by size of the matrix, tokens of the layers, seconds of timing a row."""

    batches: tuple[tuple[int, int], ...]
    tokens: int
    seconds: float


SIZES = {
    "tiny": Size(((3, 4),), 16, 0.0),
    "small": Size(((768, 10), (4, 100)), 64, 1.0),
    "full": Size(((768, 10), (50_000, 10), (1000, 32), (16, 200), (1, 1000)), 256, 10.0),
}
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "solve": (linear_algebra.solve, jnp.linalg.solve),
    "solve, positive definite": (linear_algebra.solve_positive, lambda a, b: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(a), True), b)),
    "eigenvalues": (lambda a, _: linear_algebra.eigh(a).values, lambda a, _: jnp.linalg.eigh(a)[0]),
    "singular values and vectors": (lambda a, _: linear_algebra.svd(a).values, lambda a, _: jnp.linalg.svd(a, full_matrices=False)[1]),
}


def cases(sizes: str) -> Sequence[Case]:
    """Each function at each size, then two layers and their gradients under both schedules."""
    size = SIZES[sizes]
    batches = [Case(f"{name}, {batch} x {n}", 1, partial(factorise, size, name, batch, n)) for name in FUNCTIONS for batch, n in size.batches]
    return [*batches, *(Case(f"schedule, {name}", 2, partial(schedule, size, name)) for name in LAYERS)]


def factorise(size: Size, name: str, batch: int, n: int) -> list[Row]:
    """One function, compiled, from and to device memory."""
    draws = np.random.default_rng(0).standard_normal((batch, n, n + 8))
    # Well conditioned, so that float32 is right to a few digits more than the check asks for.
    matrices = draws @ np.swapaxes(draws, -1, -2) / n + np.eye(n)
    right = np.random.default_rng(1).standard_normal((batch, n, 1))
    arguments = jnp.asarray(matrices, jnp.float32), jnp.asarray(right, jnp.float32)
    ours, theirs = (contender(label, function, arguments) for label, function in zip(("mesocosm", PEER), FUNCTIONS[name], strict=True))
    reference = np.linalg.solve(matrices, right) if name.startswith("solve") else np.linalg.svd(matrices)[1]
    if name == "eigenvalues":
        reference = reference[..., ::-1]
    return [Comparison(NAME, name, f"{batch} of {n} x {n}", size.seconds).timed(ours, theirs, lambda _: [reference])]


def contender(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Contender:
    """A program of its own."""
    program = jax.jit(function, compiler_options=SCHEDULE).lower(*arguments).compile()
    return Contender(name, lambda: jax.block_until_ready(program(*arguments)), lambda found: [np.asarray(found)], note=NOTE if name == PEER else "")


def deep(key: Any) -> ResidualStack:
    """Eight layers of softmax attention."""
    return ResidualStack(tuple(Attention.create(64, heads=4, key_dim=16, key=k) for k in jax.random.split(key, 8)))


LAYERS: dict[str, Callable[[Any], Any]] = {
    "softmax attention, eight layers": deep,
    "mesa layer": lambda key: MesaAttention.create(64, heads=4, key_dim=16, key=key),
    "Hawk": lambda key: HawkBlock.create(64, key=key),
}


def schedule(size: Size, name: str) -> list[Row]:
    """A layer's loss and gradient under both schedules: seconds a call, seconds to compile, memory for temporary arrays."""
    layer, tokens = LAYERS[name](jax.random.key(0)), jax.random.normal(jax.random.key(1), (8, size.tokens, 64))

    def loss(layer: Any, tokens: Any) -> Any:
        return jnp.mean(jax.vmap(layer)(tokens) ** 2)

    programs, seconds = {}, {}
    for label, options in (("ours", SCHEDULE), ("theirs", None)):
        lowered = jax.jit(jax.value_and_grad(loss)).lower(layer, tokens)
        began = time.perf_counter()
        programs[label] = lowered.compile(options)
        seconds[label] = time.perf_counter() - began
    text, peer = f"batch 8, {size.tokens} tokens, dim 64", "XLA's own schedule"
    sides = [
        Contender(shown, partial(lambda program: jax.block_until_ready(program(layer, tokens)), programs[label]), lambda found: [np.asarray(found[0])])
        for label, shown in (("ours", "mesocosm"), ("theirs", peer))
    ]
    reference = [np.asarray(programs["theirs"](layer, tokens)[0], np.float64)]
    mebibytes = {label: program.memory_analysis().temp_size_in_bytes / 2**20 for label, program in programs.items()}
    return [
        Comparison(NAME, f"loss and gradient: {name}", text, size.seconds).timed(*sides, lambda _: reference),
        Comparison(NAME, f"compile: {name}", text, 0.0).measured("seconds", seconds["ours"], peer, seconds["theirs"]),
        Comparison(NAME, f"memory: {name}", text, 0.0).measured("MiB", mebibytes["ours"], peer, mebibytes["theirs"]),
    ]


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
