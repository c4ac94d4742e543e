"""The compiled programs of `fit`: many steps, the initial states, and a probe, each for all seeds."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.learning.static_tree import StaticTree, split
from mesocosm.numerics.programs import jit

CHUNK_CAPACITY = 1024  # steps whose metrics one call of the program can hold

# LLVM's higher levels take several times as long to compile, mostly for random number generation, and do not make these programs faster on a CPU.
# A level in XLA_FLAGS is the user's, and stays.
FAST_TO_COMPILE = {} if "--xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "") else {"xla_backend_optimization_level": 1}


class SeedAxis(NamedTuple):
    """How a program runs over seeds.

    Attributes:
        per_seed: whether the learner's arrays have one entry per seed.
        over_seeds: "vmap" or "map", on every device.
        mesh: the devices that share the seeds, along an axis "seed"; None for one device.
    """

    per_seed: bool
    over_seeds: str
    mesh: jax.sharding.Mesh | None = None


def seed_axis(seeds: int, per_seed: bool, over_seeds: str) -> SeedAxis:
    """Spread the seeds over the fewest devices that minimise the largest share."""
    devices = jax.devices()
    used = math.ceil(seeds / math.ceil(seeds / len(devices)))
    return SeedAxis(per_seed, over_seeds, None if used == 1 else jax.sharding.Mesh(np.array(devices[:used]), ("seed",)))


class Carry(NamedTuple):
    """The carry of one seed between steps.

    Attributes:
        state: the traced leaves of the learner's state.
        active: False once the seed has stopped.
        steps: steps run so far.
        reached: whether `until` was met.
        diverged: whether a value was not finite, with "freeze".
    """

    state: list[Any]
    active: Any
    steps: Any
    reached: Any
    diverged: Any


@jit(static_argnames=("trees", "options"), donate_argnames=("running",), compiler_options=FAST_TO_COMPILE)
def run_chunk(running, learner_arrays, until_arrays, keys, first, start, length, *, trees, options):
    """`length` updates of every seed from step `start`, whose number (for its key) is `first + start`.

    Returns the carry, each metric's values (seeds, CHUNK_CAPACITY), and whether each seed is finite. Static are the three trees (learner, state,
    until) and the options (the axis of seeds, nonfinite, metric names with their dtypes).
    """
    learner_tree, state_tree, until_tree = trees
    axis, nonfinite, metrics = options
    until = until_tree.join(until_arrays)
    can_stop = until is not None or nonfinite == "freeze"

    def one_seed(running: Carry, learner_arrays: list[Any], keys: tuple[Any, Any]) -> tuple[Carry, dict[str, Any], Any]:
        data_key, eval_key = keys
        learner = learner_tree.join(learner_arrays)

        def step(i, carry):
            before, buffers = carry
            new, measured = learner.update(state_tree.join(before.state), jax.random.fold_in(data_key, first + start + i))
            arrays, tree = split(new)
            if tree != state_tree:
                raise ValueError("update changed the structure or the static parts of the state")
            arrays = [_same_type(leaf, old) for leaf, old in zip(arrays, before.state, strict=True)]
            after = Carry(arrays, before.active, before.steps + 1, before.reached, before.diverged)
            if can_stop:
                met = jnp.array(False)
                if until is not None:
                    criterion, every = until
                    due = (start + i + 1) % every == 0
                    met = jax.lax.cond(due, lambda: jnp.asarray(criterion(learner, new, eval_key), bool), lambda: jnp.array(False))
                after = _stop(before, after, measured, met, nonfinite)
            return after, {metric: buffers[metric].at[i].set(measured[metric]) for metric, _ in metrics}

        empty = {metric: jnp.zeros((CHUNK_CAPACITY,), dtype) for metric, dtype in metrics}
        alone = can_stop and axis.over_seeds == "map"  # then a seed that has stopped need not be computed beside the others
        after, buffers = jax.lax.fori_loop(0, jnp.where(running.active, length, 0) if alone else length, step, (running, empty))
        ran = jnp.arange(CHUNK_CAPACITY) < length
        finite = [jnp.all(jnp.isfinite(buffers[metric]) | ~ran) for metric, _ in metrics]
        return after, buffers, _all_finite(after.state) & jnp.all(jnp.stack([jnp.array(True), *finite]))

    return _over_seeds(one_seed, axis, running, learner_arrays, keys)


def _over_seeds(function, axis, state, learner_arrays, keys):
    """`function(state, learner_arrays, keys)` of every seed, each device its share of them."""

    def share(state, learner_arrays, keys):
        if axis.over_seeds == "vmap":
            return jax.vmap(function, in_axes=(0, 0 if axis.per_seed else None, 0))(state, learner_arrays, keys)
        if axis.per_seed:
            return jax.lax.map(lambda parts: function(*parts), (state, learner_arrays, keys))
        return jax.lax.map(lambda parts: function(parts[0], learner_arrays, parts[1]), (state, keys))

    if axis.mesh is None:
        return share(state, learner_arrays, keys)
    seeds, devices = jax.tree.leaves(keys)[0].shape[0], axis.mesh.size
    fill = np.minimum(np.arange(-(-seeds // devices) * devices), seeds - 1)  # a last device with fewer seeds computes the last one again
    arguments = (state, learner_arrays, keys)
    by_seed = (True, axis.per_seed, True)
    if len(fill) > seeds:
        arguments = tuple(jax.tree.map(lambda leaf: leaf[fill], part) if split else part for part, split in zip(arguments, by_seed, strict=True))
    over, everywhere = jax.sharding.PartitionSpec("seed"), jax.sharding.PartitionSpec()
    specs = tuple(over if split else everywhere for split in by_seed)
    found = jax.shard_map(share, mesh=axis.mesh, in_specs=specs, out_specs=over, check_vma=False)(*arguments)
    if len(fill) == seeds:
        return found
    return jax.lax.with_sharding_constraint(jax.tree.map(lambda leaf: leaf[:seeds], found), jax.sharding.NamedSharding(axis.mesh, everywhere))


def _stop(before: Carry, after: Carry, measured: Mapping[str, Any], met: Any, nonfinite: str) -> Carry:
    """A stopped seed keeps its state; a diverging seed keeps the state before the step; a seed that meets its criterion keeps the state after it."""
    advance, diverged, reached = before.active, before.diverged, before.reached
    if nonfinite == "freeze":
        finite = _all_finite(after.state) & jnp.all(jnp.stack([jnp.isfinite(value) for value in measured.values()]))
        diverged = diverged | (before.active & ~finite)
        advance = advance & finite
    reached = reached | (advance & met)
    state = [jnp.where(advance, leaf, old) for leaf, old in zip(after.state, before.state, strict=True)]
    return Carry(state, advance & ~reached, jnp.where(advance, after.steps, before.steps), reached, diverged)


def _all_finite(arrays: list[Any]) -> Any:
    checks = [jnp.all(jnp.isfinite(leaf)) for leaf in arrays if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.array(True), *checks]))


def state_shapes(tree: StaticTree, arrays: list[Any], keys: Any, per_seed: bool) -> tuple[list[Any], StaticTree]:
    """Shapes of the initial states of all seeds, and the state's static half, from an abstract evaluation."""
    found: list[StaticTree] = []

    def one(learner_arrays, key):
        leaves, state_tree = split(tree.join(learner_arrays).init(key))
        found.append(state_tree)
        return [_strong(leaf) for leaf in leaves]

    shapes = jax.eval_shape(one, [_abstract(leaf, per_seed) for leaf in arrays], keys[0])
    return [_with_seeds(shape, keys.shape[0]) for shape in shapes], found[0]


def initial_states(tree: StaticTree, arrays: list[Any], keys: Any, axis: SeedAxis) -> tuple[list[Any], StaticTree]:
    """The initial states of all seeds. The static half comes from an abstract trace."""
    _, state_tree = state_shapes(tree, arrays, keys, axis.per_seed)
    return _initial_states(arrays, keys, tree=tree, axis=axis), state_tree


def metric_shapes(learner_tree: StaticTree, learner_arrays: list[Any], state_tree: StaticTree, state: list[Any], key: Any, per_seed: bool) -> dict[str, Any]:
    """Name -> shape and dtype of the metrics of one update of one seed, from an abstract evaluation."""

    def one(learner_arrays, state, key):
        return dict(learner_tree.join(learner_arrays).update(state_tree.join(state), key)[1])

    return jax.eval_shape(one, [_abstract(leaf, per_seed) for leaf in learner_arrays], [_abstract(leaf, True) for leaf in state], key)


def _abstract(leaf: Any, drop_seeds: bool) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape[1:] if drop_seeds else leaf.shape, leaf.dtype)


def _with_seeds(shape: Any, seeds: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((seeds, *shape.shape), shape.dtype)


@jit(static_argnames=("tree", "axis"), compiler_options=FAST_TO_COMPILE)
def _initial_states(arrays, keys, *, tree, axis):
    def one(_, learner_arrays, key):
        return [_strong(leaf) for leaf in split(tree.join(learner_arrays).init(key))[0]]

    return _over_seeds(one, axis, jnp.zeros(keys.shape[0]), arrays, keys)


@jit(static_argnames=("trees", "axis"), compiler_options=FAST_TO_COMPILE)
def measure(probe_arrays, learner_arrays, state, keys, *, trees, axis):
    """`probe(learner, state, key)` for every seed. Static are the trees (probe, learner, state) and the axis of seeds."""
    probe_tree, learner_tree, state_tree = trees

    def one(state, learner_arrays, key):
        return dict(probe_tree.join(probe_arrays)(learner_tree.join(learner_arrays), state_tree.join(state), key))

    return _over_seeds(one, axis, state, learner_arrays, keys)


def _strong(leaf: Any) -> Any:
    """Remove JAX's weak types, which would change after the first update."""
    leaf = jnp.asarray(leaf)
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jax.lax.convert_element_type(leaf, leaf.dtype)


def _same_type(leaf: Any, old: Any) -> Any:
    if leaf.dtype != old.dtype or leaf.shape != old.shape:
        raise ValueError(f"update changed a leaf of the state from {old.dtype}{list(old.shape)} to {leaf.dtype}{list(leaf.shape)}")
    return _strong(leaf)


class Evaluation:
    """`function(*one seed's part of per_seed, *shared)`, as one program that is called once per seed; arrays of the result get a leading seed axis.

    All arguments are PyTrees; their arrays are arguments of the program, never constants in it. A result may have static leaves (a module's functions),
    which are the same for all seeds.

    Raises:
        ValueError: `per_seed` contains no array.
    """

    def __init__(self, function: Any, per_seed: tuple[Any, ...], shared: tuple[Any, ...]):
        self.function_arrays, function_tree = split(function, floats=True)
        self.seed_arrays, seed_tree = split(per_seed)
        self.shared_arrays, shared_tree = split(shared, floats=True)
        if not self.seed_arrays:
            raise ValueError("nothing to evaluate seed by seed: the arguments contain no array")
        self.trees = (function_tree, seed_tree, shared_tree)
        found: list[StaticTree] = []

        def one(function_arrays, seed_arrays, shared_arrays):
            leaves, tree = split(_apply(function_arrays, seed_arrays, shared_arrays, self.trees))
            found.append(tree)
            return leaves

        abstract = ([_abstract(leaf, False) for leaf in arrays] for arrays in (self.function_arrays, self.shared_arrays))
        function_shapes, shared_shapes = abstract
        self._shapes = jax.eval_shape(one, function_shapes, [_abstract(leaf, True) for leaf in self.seed_arrays], shared_shapes)
        self._tree = found[0]

    def shapes(self) -> Any:
        """The result of an abstract evaluation, with a `jax.ShapeDtypeStruct` for each array."""
        seeds = self.seed_arrays[0].shape[0]
        return self._tree.join([_with_seeds(shape, seeds) for shape in self._shapes])

    def run(self) -> Any:
        """The result."""
        seeds = range(self.seed_arrays[0].shape[0])
        one_seed = partial(_evaluate, trees=self.trees)
        each = [one_seed(self.function_arrays, [leaf[i] for leaf in self.seed_arrays], self.shared_arrays) for i in seeds]
        return self._tree.join([jnp.stack(parts) for parts in zip(*each, strict=True)])


def for_each_seed(function: Any, per_seed: tuple[Any, ...], shared: tuple[Any, ...]) -> Any:
    """The result of an `Evaluation`."""
    return Evaluation(function, per_seed, shared).run()


def models_of(learner_tree: StaticTree, learner_arrays: list[Any], state_tree: StaticTree, state: list[Any], per_seed: bool) -> Evaluation:
    """`learner.model(state)` of every seed."""
    learners = learner_tree.join(learner_arrays)
    states = state_tree.join(state)
    return Evaluation(_model, (states, learners), ()) if per_seed else Evaluation(_model, (states,), (learners,))


def _model(state: Any, learner: Any) -> Any:
    return learner.model(state)


def _apply(function_arrays: list[Any], seed_arrays: list[Any], shared_arrays: list[Any], trees: tuple[StaticTree, StaticTree, StaticTree]) -> Any:
    function, per_seed, shared = (s.join(arrays) for s, arrays in zip(trees, (function_arrays, seed_arrays, shared_arrays), strict=True))
    return function(*per_seed, *shared)


@jit(static_argnames=("trees",), compiler_options=FAST_TO_COMPILE)
def _evaluate(function_arrays, seed_arrays, shared_arrays, *, trees):
    return split(_apply(function_arrays, seed_arrays, shared_arrays, trees))[0]
