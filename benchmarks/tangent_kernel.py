"""Empirical tangent kernels against the Jacobian that one would write by hand and against Neural Tangents; ensembles against a loop over members."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.analysis.tangent import kernel as ours
from mesocosm.analysis.tangent.kernel import MEBIBYTE, TRIAL_BLOCK, of_module, tangent_kernel
from mesocosm.learning.ensemble import EnsembleLearner, arms_of, call, squared_error
from mesocosm.learning.fit import fit
from mesocosm.learning.optimizers import adam
from mesocosm.nn.tangent_parametrisation import TangentCNN, TangentMLP
from peers.neural_tangents import Limits, NeuralTangents
from peers.problem import Unavailable
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender

NAME = "tangent_kernel"
TITLE = "empirical tangent kernels of an MLP and a CNN, and ensembles in one program"
MOST_MEBIBYTES = 12000.0  # a peer that needs more is not run
LONGEST = 10.0  # seconds a call of a peer; where it would take longer, it is timed on a part
LIMIT_JACOBIAN = "Both contract the same numbers; with few parameters a whole Jacobian is one matrix product"
LIMIT_PEER = "The time is that of the same matrix products; the blocks pass through host memory"
LIMIT_LOOP = "The work is that of the members' matrix products, which one program cannot make smaller"


@dataclass(frozen=True)
class Size:
    """Of the networks, and the examples, outputs and seconds of timing."""

    side: int
    width: int
    channels: int
    examples: tuple[int, ...]
    outputs: tuple[int, ...]
    seconds: float
    steps: int


SIZES = {
    "tiny": Size(6, 8, 2, (3,), (2,), 0.0, 3),
    "small": Size(28, 128, 8, (16, 64), (1, 10), 1.0, 50),
    "full": Size(28, 512, 32, (64, 256, 1024), (1, 10), 5.0, 200),
}


def cases(sizes: str) -> Sequence[Case]:
    """Every network, number of examples and outputs; then the ensemble."""
    size = SIZES[sizes]
    kernels = [
        Case(f"{kind}, {n} examples, {outputs} outputs", n * outputs, partial(measure, size, kind, n, outputs))
        for kind in ("MLP", "CNN")
        for n in size.examples
        for outputs in size.outputs
    ]
    return [*kernels, Case("ensemble", max(size.examples), partial(ensemble, size))]


def network(size: Size, kind: str, outputs: int) -> Any:
    """Three hidden layers, or two convolutions."""
    if kind == "MLP":
        return TangentMLP.create(size.side**2, outputs, width=size.width, depth=3, key=jax.random.key(0))
    return TangentCNN.create(1, outputs, width=size.channels, key=jax.random.key(0))


def measure(size: Size, kind: str, n: int, outputs: int) -> list[Row]:
    """Time and memory, against each peer; the reference is the Jacobian in float64 at the first examples."""
    function, params = of_module(network(size, kind, outputs))
    x = np.asarray(jax.random.normal(jax.random.key(1), (n, size.side, size.side)))
    found = tangent_kernel(function, params, x)
    text = f"{kind}, N = {n}, C = {outputs}"
    note = f"chosen: {found.method}, blocks of {found.block}"
    checked = min(n, 4)

    def first(kernel: Any) -> list[np.ndarray]:
        return [np.asarray(kernel[:checked, :, :checked])]

    reference = float64_kernel(function, params, x[:checked])
    mine = Contender("mesocosm", lambda: tangent_kernel(function, params, x, method=found.method).kernel, first)
    memory = program_mebibytes(function, params, x, found)
    rows = [Comparison(NAME, "memory", text, 0.0).measured("MiB", memory, note=note)]
    by_hand = Comparison(NAME, "kernel", text, size.seconds, Target("ratio", "≥", 1), LIMIT_JACOBIAN)
    compiled = jax.jit(partial(whole_jacobian, function)).lower(params, x).compile()
    theirs = mebibytes(compiled)
    if theirs > MOST_MEBIBYTES:
        rows.append(by_hand.skipped("jacrev and einsum", f"its program would take {theirs:.0f} MiB; ours takes {memory:.0f} MiB, {note}"))
    else:
        rows.append(by_hand.timed(mine, jacobian_peer(function, params, x, compiled, first, note), lambda _: [reference]))
        rows[0] = Comparison(NAME, "memory", text, 0.0, Target("ratio", "≥", 1), LIMIT_JACOBIAN).measured("MiB", memory, "jacrev and einsum", theirs, note)
    rows.append(against_neural_tangents(size, kind, text, mine, params, x, outputs, reference))
    return rows


def jacobian_peer(function: Any, params: Any, x: np.ndarray, compiled: Any, first: Any, note: str) -> Contender:
    """The whole Jacobian; where that would take long, of fewer examples: nearly all the time goes into the product, which grows with their square."""
    fewer = jax.jit(partial(whole_jacobian, function))
    probe = x[:TRIAL_BLOCK]
    jax.block_until_ready(fewer(params, probe))
    began = time.perf_counter()
    jax.block_until_ready(fewer(params, probe))
    a_pair, examples = (time.perf_counter() - began) / len(probe) ** 2, len(x)
    while examples > TRIAL_BLOCK and a_pair * examples**2 > LONGEST:
        examples //= 2
    if examples == len(x):
        return Contender("jacrev and einsum", lambda: jax.block_until_ready(compiled(params, x)), first, note=note)
    part = fewer.lower(params, x[:examples]).compile()
    scaled = f"{note}; its time is that of {examples} examples, times the square of {len(x) // examples}"
    return Contender("jacrev and einsum", lambda: jax.block_until_ready(part(params, x[:examples])), first, (examples / len(x)) ** 2, scaled)


def whole_jacobian(function: Any, params: Any, x: Any) -> Any:
    """What one would write by hand."""
    jacobian = jax.jacrev(lambda params: jax.vmap(function, (None, 0))(params, x))(params)
    flat = [leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(jacobian)]
    return sum(jnp.einsum("ncp,mdp->ncmd", leaf, leaf) for leaf in flat)


def mebibytes(compiled: Any) -> float:
    """What a compiled program takes beside its arguments."""
    sizes = compiled.memory_analysis()
    return (sizes.temp_size_in_bytes + sizes.output_size_in_bytes) / MEBIBYTE


def float64_kernel(function: Any, params: Any, x: np.ndarray) -> np.ndarray:
    """The reference."""
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), params)
        return np.asarray(whole_jacobian(function, double, jnp.asarray(x, jnp.float64)))


def program_mebibytes(function: Any, params: Any, x: np.ndarray, found: Any) -> float:
    """What the compiler reserves for a block."""
    key = ours._Key.of(function, params, jnp.asarray(x[:1]), "all")
    return ours._program(key, found.method, found.block).bytes / MEBIBYTE


def against_neural_tangents(size: Size, kind: str, text: str, mine: Contender, params: Any, x: np.ndarray, outputs: int, reference: np.ndarray) -> Row:
    """The old library in its own environment, on the same numbers."""
    row = Comparison(NAME, "kernel", text, size.seconds, Target("ratio", "≥", 1), LIMIT_PEER)
    try:
        peer = NeuralTangents(kind, [np.asarray(leaf) for leaf in jax.tree.leaves(params)], x, Limits(MOST_MEBIBYTES, LONGEST, TRIAL_BLOCK))
    except Unavailable as reason:
        return row.skipped(NeuralTangents.NAME, str(reason))
    with peer:
        checked = min(len(x), 4)
        part = "" if peer.share == 1 else f"; its time is that of {round(peer.share * len(x))} rows, scaled"
        note = f"its method, of three the fastest on {TRIAL_BLOCK} examples: {peer.method}{part}"
        theirs = Contender(NeuralTangents.NAME, peer.run, lambda _: [peer.corner(checked)], peer.share, note)
        return row.timed(mine, theirs, lambda _: [reference])


# --- ensembles --------------------------------------------------------------------------------------------------------

MEMBERS = 10


def ensemble(size: Size) -> list[Row]:
    """Ten members in one program, and one after another, each in a fit of its own; compiled before."""
    x = jax.random.normal(jax.random.key(1), (256, size.side**2))
    y = jax.random.normal(jax.random.key(2), (256, 10))

    def learner(members: int) -> EnsembleLearner:
        build = jax.tree_util.Partial(member, size)
        return EnsembleLearner(
            build, call, x, y, arms_of(("gd",)), squared_error, adam, {"learning_rate": 1e-3}, members=members, batch_size=64, check_every=10**6
        )

    together, alone = learner(MEMBERS), learner(1)
    text = f"{MEMBERS} members, {size.steps} steps, width {size.width // 4}"

    def loop() -> None:
        for seed in range(MEMBERS):
            fit(alone, size.steps, [seed])

    ours = Contender("mesocosm", lambda: fit(together, size.steps, [0]))
    return [Comparison(NAME, "ensemble", text, size.seconds, Target("ratio", "≥", 1), LIMIT_LOOP).timed(ours, Contender("a loop over members", loop))]


def member(size: Size, key: Any) -> TangentMLP:
    """One."""
    return TangentMLP.create(size.side**2, 10, width=max(size.width // 4, 2), depth=2, key=key)


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
