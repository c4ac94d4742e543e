"""`fit`, the one training loop: all seeds in one compiled program, chunk by chunk, bitwise resumable at any chunk.

The program runs `length` steps from step `start`, both traced, so that chunks of any length share one compilation. The key of step t is
`fold_in(key, t)`, so the boundaries of chunks have no effect. Between chunks, the host handles progress, checkpoints, probes and interrupts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.learning.fit_options import Checkpoint, FitOptions, Watcher
from mesocosm.learning.learner import Learner
from mesocosm.learning.program import CHUNK_CAPACITY, Carry, Evaluation, initial_states, measure, metric_shapes, models_of, run_chunk, seed_axis
from mesocosm.learning.static_tree import StaticTree, split
from mesocosm.learning.streams import stream_keys

CHUNK_SECONDS = 0.5  # the host takes over about twice a second,
LOOK_SHARE = 0.05  # or less often if this costs more than this share of the time (each call moves the whole state),
LONGEST_CHUNK_SECONDS = 5.0  # but Ctrl-C waits at most this long
HISTORY_WINDOWS = 500  # a history has at most this many rows per seed
HISTORY_AXES = ("fit", "seed", "step")


class NonFinite(ArithmeticError):
    """Training produced a value that is not finite."""


@dataclass(frozen=True)
class Fitted:
    """The result of a fit. The leading axis of every array in `state` and `model` is seeds.

    Attributes:
        state: the learner's final state.
        model: `learner.model(state)`.
        seeds: the replicates.
        steps: number of steps of each seed (fewer than requested if `until` or a divergence stopped it), shape (seeds,).
        reached: whether each seed met `until`, shape (seeds,).
        diverged: whether each seed produced a non-finite value (only with `nonfinite="freeze"`), shape (seeds,).
        history_steps: last step of each history window, shape (windows,).
        history: metric -> mean over the window, NaN after a seed has stopped, shape (seeds, windows).
        probe_steps: steps at which the probe ran, shape (times,).
        probes: name -> measured values, shape (seeds, times, ...).
        compile_seconds: time to compile this fit's program; about zero if an earlier fit had compiled it.
    """

    state: Any
    model: Any
    seeds: tuple[int, ...]
    steps: np.ndarray
    reached: np.ndarray
    diverged: np.ndarray
    history_steps: np.ndarray
    history: dict[str, np.ndarray]
    probe_steps: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    probes: dict[str, np.ndarray] = field(default_factory=dict)
    compile_seconds: float = 0.0


def fit(
    learner: Learner,
    steps: int,
    seeds: Sequence[int],
    *,
    name: str = "fit",
    over_seeds: Literal["vmap", "map"] = "vmap",
    watcher: Watcher | None = None,
    checkpoint: Checkpoint | None = None,
    **options: Unpack[FitOptions],
) -> Fitted:
    """Run `steps` updates of `learner` for every seed.

    Args:
        learner: the learner; with the option `per_seed`, its traced leaves have a leading seed axis.
        steps: number of updates.
        seeds: the replicates; seed s starts from `init(stream_key(s, "init"))` and step t uses `fold_in(stream_key(s, "data"), t)`.
        name: name of the fit in messages.
        over_seeds: "vmap", or "map" for `lax.map`, which can be faster (wide networks on few cores) and does not mix seeds; stopped seeds then cost
            nothing.
        watcher: receives progress and may request a stop.
        checkpoint: where to resume from and save to.
        options: `FitOptions`.

    Raises:
        NonFinite: names the fit, seed, step and metric.
        KeyboardInterrupt: the watcher requested a stop; the snapshot has been saved.
        ValueError: a metric is not a scalar, or a warm start has no `start`.
    """
    return Loop(learner, steps, tuple(seeds), name, over_seeds, watcher, **options).run(checkpoint)


class Loop:
    """The host side of `fit`, which owns the arguments of the compiled program and the metric windows. `learning.dry_run` builds one without running it."""

    def __init__(
        self, learner, steps, seeds, name, over_seeds, watcher=None, *, state=None, start=None, probe=None, until=None, nonfinite="stop", per_seed=False
    ):
        if steps < 1:
            raise ValueError(f"{name}: a fit needs at least one step, not {steps}")
        if (state is None) != (start is None):
            raise ValueError(
                f"{name}: a warm start needs both state and start (the number of the first step); with start=0 it would see the data of the first steps again"
            )
        self.learner, self.steps, self.seeds, self.name, self.watcher = learner, steps, seeds, name, watcher
        self.axis = seed_axis(len(seeds), per_seed, over_seeds)
        self.per_seed, self.nonfinite, self.state, self.first = per_seed, nonfinite, state, start or 0
        self.learner_arrays, self.learner_tree = split(_with_seed_axis(learner, len(seeds)) if per_seed else learner, floats=True)
        self.until_arrays, self.until_tree = split(until, floats=True)
        self.data_keys, self.eval_keys = stream_keys(seeds, "data"), stream_keys(seeds, "eval")
        self.probe, self.probe_steps = probe, _probe_steps(steps, probe[1]) if probe else np.zeros(0, dtype=int)
        self.window = math.ceil(steps / HISTORY_WINDOWS)
        self.windows = math.ceil(steps / self.window)

    # --- before the first step

    def start(self) -> Carry:
        """The carry at step 0."""
        if self.state is None:
            init_keys = stream_keys(self.seeds, "init")
            arrays, tree = initial_states(self.learner_tree, self.learner_arrays, init_keys, self.axis)
        else:
            arrays, tree = split(self.state)
            arrays = [jnp.array(leaf) for leaf in arrays]  # copies, because the program donates its carry
        self.describe(arrays, tree)
        flag = partial(jnp.full, (len(self.seeds),))  # separate buffers, because the program donates them
        return self._place(Carry(arrays, flag(True), flag(0, dtype=jnp.int32), flag(False), flag(False)))

    def describe(self, arrays: list[Any], tree: StaticTree) -> None:
        """Take the static half of the state, and the metrics' names from an abstract trace; the arrays' shapes are enough."""
        self.state_tree = tree
        metrics = metric_shapes(self.learner_tree, self.learner_arrays, tree, arrays, self.data_keys[0], self.per_seed)
        for metric, shape in metrics.items():
            if shape.shape != ():
                raise ValueError(f"{self.name}: metric {metric!r} has shape {shape.shape}; metrics are scalars")
            if metric in HISTORY_AXES:
                raise ValueError(f"{self.name}: a metric cannot be called {metric!r}, which is a column of every history")
        self.metrics = tuple(metrics)
        self.metric_types = tuple((metric, shape.dtype) for metric, shape in metrics.items())

    def _place(self, running: Carry) -> Carry:
        """Move seeds to their devices before the first chunk; if they do not divide evenly, the program distributes them itself."""
        if self.axis.mesh is None:
            return running
        divided = len(self.seeds) % self.axis.mesh.size == 0
        over = jax.sharding.NamedSharding(self.axis.mesh, jax.sharding.PartitionSpec("seed" if divided else None))
        self.data_keys, self.eval_keys = jax.device_put((self.data_keys, self.eval_keys), over)
        return jax.device_put(running, over)

    # --- the loop

    def run(self, checkpoint: Checkpoint | None) -> Fitted:
        """Resume, then alternate between chunks and work on the host."""
        running = self.start()
        self.sums = {metric: np.zeros((self.windows, len(self.seeds))) for metric in self.metrics}
        self.counts = np.zeros((self.windows, len(self.seeds)), dtype=np.int64)
        compile_seconds = self._compile(running)
        running = self.compiled_carry
        self.probes = {name: np.zeros(shape.shape, shape.dtype) for name, shape in self.probe_shapes(running.state).items()}
        step, probed = 0, 0
        if checkpoint is not None and (snapshot := checkpoint.load(self._snapshot(running, 0, 0))) is not None:
            running, step, probed = self._restore(running, snapshot)
        length = 1
        while True:
            if probed < len(self.probe_steps) and self.probe_steps[probed] == step:
                self._measure(running, probed)
                probed += 1
            finished = step >= self.steps or not bool(np.any(running.active))
            if finished and step < self.steps:
                probed = self._fill_probes(running, probed)
                step = self.steps
            stopping = self.watcher is not None and self.watcher.stopping()
            if checkpoint is not None and (finished or stopping or checkpoint.due()):
                checkpoint.save(self._snapshot(running, step, probed))
            if finished:
                return self._fitted(running, compile_seconds)
            if stopping:
                raise KeyboardInterrupt
            limit = self.probe_steps[probed] if probed < len(self.probe_steps) else self.steps
            length = int(min(length, limit - step, CHUNK_CAPACITY))
            began = time.perf_counter()
            running, buffers, ok = self._chunk(running, step, length)
            ok = np.asarray(ok)
            seconds = time.perf_counter() - began
            live = self._log(running, buffers, step, length)
            step += length
            if self.nonfinite == "stop" and not ok.all():
                self._explain_nonfinite(buffers, ok, step - length, length)
            if self.watcher is not None:
                self.watcher.progress(step, self.steps, self._recent(buffers, live))
            length = int(np.clip(length * self.chunk_seconds / max(seconds, 1e-6), 1, min(4 * length, CHUNK_CAPACITY)))

    def _compile(self, running: Carry) -> float:
        """Compile with a call of length zero, then measure the fixed cost of a call with a second one."""
        began = time.perf_counter()
        if self.watcher is not None:
            self.watcher.compiling()
        carry, _, ok = self._chunk(running, 0, 0)
        jax.block_until_ready(ok)
        compiled = time.perf_counter()
        self.compiled_carry, _, ok = self._chunk(carry, 0, 0)
        jax.block_until_ready(ok)
        call = time.perf_counter() - compiled
        self.chunk_seconds = min(max(CHUNK_SECONDS, call / LOOK_SHARE), LONGEST_CHUNK_SECONDS)
        if self.watcher is not None:
            self.watcher.compiled(compiled - began)
        return compiled - began

    def _chunk(self, running: Carry, start: int, length: int) -> tuple[Carry, dict[str, Any], Any]:
        arguments, static = self.chunk_arguments(running, start, length)
        return run_chunk(*arguments, **static)

    def chunk_arguments(self, running: Carry, start: int, length: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of `run_chunk`: traced ones by position, static ones by name."""
        keys, numbers = (self.data_keys, self.eval_keys), (jnp.int32(self.first), jnp.int32(start), jnp.int32(length))
        trees = (self.learner_tree, self.state_tree, self.until_tree)
        options = (self.axis, self.nonfinite, self.metric_types)
        return (running, self.learner_arrays, self.until_arrays, keys, *numbers), {"trees": trees, "options": options}

    # --- metrics

    def _log(self, running: Carry, buffers: dict[str, Any], start: int, length: int) -> np.ndarray:
        """Add a chunk's metrics to their windows; return which steps of which seeds were run, shape (steps, seeds)."""
        steps = np.arange(start, start + length)
        live = steps[:, None] < np.asarray(running.steps)[None, :]
        np.add.at(self.counts, steps // self.window, live.astype(np.int64))
        for metric in self.metrics:
            values = np.asarray(buffers[metric], dtype=np.float64).T[:length]
            np.add.at(self.sums[metric], steps // self.window, np.where(live, values, 0.0))
        return live

    def _recent(self, buffers: dict[str, Any], live: np.ndarray) -> dict[str, float]:
        """Means over a chunk; NaN if every seed diverged at once."""
        chunk = {metric: np.asarray(buffers[metric]).T[: len(live)][live] for metric in self.metrics}
        return {metric: float(values.mean()) if values.size else float("nan") for metric, values in chunk.items()}

    def _explain_nonfinite(self, buffers: dict[str, Any], ok: np.ndarray, start: int, length: int) -> None:
        for offset in range(length):
            for metric in self.metrics:
                for seed, value in zip(self.seeds, np.asarray(buffers[metric])[:, offset], strict=True):
                    if not np.isfinite(value):
                        raise NonFinite(f"{self.name}: {metric} of seed {seed} is {value} at step {self.first + start + offset}")
        seed = self.seeds[int(np.argmin(ok))]
        raise NonFinite(f"{self.name}: the state of seed {seed} is not finite after step {self.first + start + length - 1}")

    def _snapshot(self, running: Carry, step: int, probed: int) -> dict[str, np.ndarray]:
        arrays = {f"state/{i:04d}": _to_numpy(leaf) for i, leaf in enumerate(running.state)}
        flags = {part: np.asarray(getattr(running, part)) for part in ("active", "steps", "reached", "diverged")}
        return {
            **arrays,
            **flags,
            **{f"history/{metric}": array.copy() for metric, array in self.sums.items()},
            **{f"probe/{name}": array.copy() for name, array in self.probes.items()},
            "counts": self.counts.copy(),
            "progress": np.array([step, probed], dtype=np.int64),
        }

    def _restore(self, running: Carry, snapshot: Mapping[str, np.ndarray]) -> tuple[Carry, int, int]:
        state = [_from_numpy(snapshot[f"state/{i:04d}"], leaf) for i, leaf in enumerate(running.state)]
        flags = {part: jnp.asarray(snapshot[part]) for part in ("active", "steps", "reached", "diverged")}
        self.sums = {metric: np.array(snapshot[f"history/{metric}"]) for metric in self.metrics}
        self.probes = {name: np.array(snapshot[f"probe/{name}"]) for name in self.probes}
        self.counts = np.array(snapshot["counts"])
        step, probed = (int(value) for value in snapshot["progress"])
        return self._place(Carry(state, **flags)), step, probed

    def _fitted(self, running: Carry, compile_seconds: float) -> Fitted:
        state = self.state_tree.join(running.state)
        with np.errstate(invalid="ignore"):
            history = {metric: (self.sums[metric] / np.where(self.counts > 0, self.counts, np.nan)).T for metric in self.metrics}
        return Fitted(
            state=state,
            model=self.models(running.state).run(),
            seeds=self.seeds,
            steps=np.asarray(running.steps),
            reached=np.asarray(running.reached),
            diverged=np.asarray(running.diverged),
            history_steps=self.history_steps,
            history=history,
            probe_steps=self.first + self.probe_steps,
            probes={name: np.moveaxis(array, 0, 1) for name, array in self.probes.items()},
            compile_seconds=compile_seconds,
        )

    @property
    def history_steps(self) -> np.ndarray:
        """Last step of each window."""
        return self.first + np.minimum(np.arange(1, self.windows + 1) * self.window, self.steps)

    def models(self, state: list[Any]) -> Evaluation:
        """`learner.model` of every seed's state."""
        return models_of(self.learner_tree, self.learner_arrays, self.state_tree, state, self.per_seed)

    # --- probes

    def _measure_arguments(self, state: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        assert self.probe is not None
        arrays, tree = split(self.probe[0], floats=True)
        trees = (tree, self.learner_tree, self.state_tree)
        return (arrays, self.learner_arrays, state, self.eval_keys), {"trees": trees, "axis": self.axis}

    def _measured(self, running: Carry) -> dict[str, Any]:
        arguments, static = self._measure_arguments(running.state)
        return measure(*arguments, **static)

    def probe_shapes(self, state: list[Any]) -> dict[str, Any]:
        """Name -> shape (times, seeds, ...) and dtype of the probe's results, from an abstract evaluation."""
        if not self.probe:
            return {}
        arguments, static = self._measure_arguments(state)
        shapes = measure.eval_shape(*arguments, **static)
        return {name: jax.ShapeDtypeStruct((len(self.probe_steps), *shape.shape), shape.dtype) for name, shape in shapes.items()}

    def _measure(self, running: Carry, index: int) -> None:
        for name, values in self._measured(running).items():
            self.probes[name][index] = np.asarray(values)

    def _fill_probes(self, running: Carry, probed: int) -> int:
        """Fill in later probes once all seeds have stopped, as they would measure the same states."""
        if probed < len(self.probe_steps):
            for name, values in self._measured(running).items():
                self.probes[name][probed:] = np.asarray(values)
        return len(self.probe_steps)


def _with_seed_axis(learner: Learner, seeds: int) -> Learner:
    """Repeat Python floats for every seed, and check that every array has one entry per seed."""

    def widen(leaf: Any) -> Any:
        if isinstance(leaf, float):
            return jnp.full((seeds,), leaf)
        if isinstance(leaf, jax.Array | np.ndarray) and leaf.shape[:1] != (seeds,):
            raise ValueError(f"with per_seed, every array of the learner needs a leading axis of {seeds} seeds; one has shape {leaf.shape}")
        return leaf

    return jax.tree.map(widen, learner)


def _probe_steps(steps: int, every: int) -> np.ndarray:
    if every < 1:
        raise ValueError(f"a probe must run every 1 or more steps, not {every}")
    return np.unique(np.append(np.arange(0, steps, every), steps))


def _to_numpy(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf)) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


def _from_numpy(array: np.ndarray, like: Any) -> Any:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    return jnp.asarray(array, like.dtype)
