"""The audit of a head against the obvious way, the d x d product and NumPy's full decomposition; and what the monitor costs a training."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mesocosm.analysis.spectra.blas_threads import one_blas_thread
from mesocosm.analysis.spectra.factor_spectra import product_spectrum
from mesocosm.audit.measure import Pair, measure
from mesocosm.learning.balance_monitor import BalanceMonitor, attention_pairs
from mesocosm.nn import Attention
from stopwatch.driver import Case, main
from stopwatch.rows import Comparison, Row, Target
from stopwatch.timing import Contender, largest_error

NAME = "attention_audit"
TITLE = "the audit of a head against the whole product, and the monitor's share of a training"
OBVIOUS = "W_K^T W_Q and numpy.linalg.svd"
LIMIT = "The two QR decompositions of the factors"
MONITOR_LIMIT = "The copy to the host and the decompositions there, for which the next step waits"


@dataclass(frozen=True)
class Size:
    """A head's shape; `seconds` of timing in all, 0 for one measurement of each side."""

    width: int
    head: int
    seconds: float


SIZES = {
    "tiny": [Size(32, 4, 0.0)],
    "small": [Size(384, 32, 2.0), Size(768, 64, 4.0)],
    "full": [Size(384, 32, 10.0), Size(768, 64, 20.0), Size(4096, 128, 0.0)],
}


@dataclass(frozen=True)
class Loop:
    """Of the training that is watched."""

    layers: int
    width: int
    heads: int
    length: int
    batch: int
    steps: int
    every: int = 100


LOOPS = {"tiny": Loop(1, 16, 2, 8, 2, 4, 2), "small": Loop(2, 64, 4, 32, 16, 400), "full": Loop(2, 64, 4, 32, 32, 600)}


def cases(sizes: str) -> Sequence[Case]:
    """A case a shape, then the monitor."""
    heads = [Case(f"d = {size.width}", size.width / 500, partial(audit_head, size)) for size in SIZES[sizes]]
    return [*heads, Case("monitor", 2, partial(watch_training, LOOPS[sizes]))]


def factors(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Random float32 factors, as they come from a checkpoint."""
    return tuple(np.random.default_rng(size.width).standard_normal((2, size.width, size.head), dtype=np.float32) / size.width**0.5)  # type: ignore[return-value]


def audit_head(size: Size) -> list[Row]:
    """The spectrum alone, with equal error; a whole row with both nulls of 32 draws; and the memory of each way."""
    a, b = factors(size)
    shape = f"d = {size.width}, d_h = {size.head}"
    target = Target("ratio", "≥", 20) if size.width == 4096 else None
    with one_blas_thread():  # as in an audit
        row_seconds = timed(lambda: measure(Pair("QK", 0, 1, a, b)))
    pair = "QK of one head, nulls of 32 draws included"
    if size.seconds:
        ours = Contender("mesocosm", lambda: product_spectrum(a, b), lambda spectrum: [spectrum])
        theirs = Contender(OBVIOUS, lambda: whole(a, b), lambda spectrum: [spectrum[: size.head]])
        rows = [Comparison(NAME, "spectrum of one head", shape, size.seconds, target, LIMIT).timed(ours, theirs, lambda _: [reference(a, b)])]
        rows.append(Comparison(NAME, "whole row", shape, 0.0).measured("seconds", row_seconds, OBVIOUS, timed(lambda: whole(a, b)), pair))
    else:
        mine, (obvious, found) = timed(lambda: product_spectrum(a, b)), clocked(lambda: whole(a, b))
        error = largest_error([product_spectrum(a, b)], [found[: size.head]])
        note = f"one run of the obvious way; largest relative difference {error:.0e}"
        rows = [
            Comparison(NAME, "spectrum of one head", shape, 0.0, target, LIMIT).measured("seconds", mine, OBVIOUS, obvious, note),
            Comparison(NAME, "whole row", shape, 0.0, target, "The 32 decompositions of the rotated null").measured(
                "seconds", row_seconds, OBVIOUS, obvious, pair
            ),
        ]
    memory = Comparison(NAME, "peak memory of the process, one head", shape, 0.0)
    if not Path("/proc/self/status").exists():
        return [*rows, memory.skipped(OBVIOUS, "the peak memory of a process is read from /proc")]
    return [*rows, memory.measured("MiB", peak_mebibytes("factors", size), OBVIOUS, peak_mebibytes("whole", size))]


def whole(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The obvious way: all singular values and vectors of the product."""
    return np.linalg.svd(a.astype(np.float64) @ b.T.astype(np.float64))[1]


def reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Square roots of the eigenvalues of P Q, a third way."""
    p, q = (matrix.T.astype(np.float64) @ matrix for matrix in (a, b))
    return np.sqrt(np.sort(np.linalg.eigvals(p @ q).real)[::-1])


def timed(function: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of several calls, after one that is not counted."""
    function()
    return float(np.median([clocked(function)[0] for _ in range(repeats)]))


def clocked(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and what it returned."""
    began = time.perf_counter()
    found = function()
    return time.perf_counter() - began, found


MEMORY = """
import re
import numpy as np
from pathlib import Path
from mesocosm.analysis.spectra.factor_spectra import product_spectrum
def peak():  # not ru_maxrss, which a child inherits from the process that started it
    return int(re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1])
a, b = np.random.default_rng(0).standard_normal((2, {width}, {head}), dtype=np.float32)
before = peak()
found = product_spectrum(a, b) if {way!r} == "factors" else np.linalg.svd(a.astype(float) @ b.T.astype(float))[1]
print(peak() - before)
"""


def peak_mebibytes(way: str, size: Size) -> float:
    """What a process of its own takes above the factors."""
    code = MEMORY.format(width=size.width, head=size.head, way=way)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return max(int(done.stdout) / 1024, 0.01)


# --- the monitor ----------------------------------------------------------------------------------------------------


def watch_training(loop: Loop) -> list[Row]:
    """A small transformer trained by a plain optax loop, with the monitor and without, by turns."""
    text = f"{loop.layers} layers, width {loop.width}, {loop.heads} heads, batch {loop.batch}, every {loop.every} steps"
    step, start = training(loop)
    run(loop, step, start, None)
    plain, watched = zip(*((run(loop, step, start, None), run(loop, step, start, monitor(loop))) for _ in range(3)), strict=True)
    aim = Target("ratio", "≥", 0.98)
    return [Comparison(NAME, "training with the monitor", text, 0.0, aim, MONITOR_LIMIT).measured("seconds", min(watched), "the same loop alone", min(plain))]


def monitor(loop: Loop) -> BalanceMonitor:
    """Both products of every head of every layer."""

    def pairs(params: Any) -> dict[str, Any]:
        layers = params["layers"]
        return {f"{n}.{name}": pair for n, m in enumerate(layers) for name, pair in attention_pairs(m.query, m.key, m.value, m.output).items()}

    return BalanceMonitor(pairs, loop.every)


def training(loop: Loop) -> tuple[Callable[..., Any], Any]:
    """One compiled AdamW step on random sequences, and where it starts."""
    keys = jax.random.split(jax.random.key(0), loop.layers + 3)
    layers = [Attention.create(loop.width, heads=loop.heads, key_dim=loop.width // loop.heads, key=key) for key in keys[3:]]
    hidden = jax.random.normal(keys[0], (loop.layers, loop.width, 4 * loop.width)) / loop.width**0.5
    params = {"layers": layers, "up": hidden, "down": jnp.swapaxes(hidden, 1, 2) / 4}
    optimizer = optax.adamw(1e-3)

    def predict(params: Any, x: Any) -> Any:
        for layer, up, down in zip(params["layers"], params["up"], params["down"], strict=True):
            x = x + layer(x)
            x = x + jax.nn.relu(x @ up) @ down
        return x

    @jax.jit
    def step(params: Any, state: Any, key: Any) -> Any:
        x = jax.random.normal(key, (loop.batch, loop.length, loop.width))
        gradient = jax.grad(lambda p: jnp.mean((jax.vmap(partial(predict, p))(x)[:, :-1] - x[:, 1:]) ** 2))(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    return step, (params, optimizer.init(params))


def run(loop: Loop, step: Callable[..., Any], start: Any, watcher: BalanceMonitor | None) -> float:
    """Seconds of a whole loop."""
    (params, state), key = start, jax.random.key(1)
    jax.block_until_ready(step(params, state, key))
    began = time.perf_counter()
    for number in range(1, loop.steps + 1):
        params, state = step(params, state, jax.random.fold_in(key, number))
        if watcher is not None:
            watcher(number, params, 1e-3)
    jax.block_until_ready(params)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main(NAME, TITLE, cases))
