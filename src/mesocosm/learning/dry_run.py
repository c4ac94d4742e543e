"""Dry run of a fit: its program is traced and lowered, and its result has the right shapes and placeholder values.

Nothing large is allocated, because a placeholder is one number or row repeated without a copy. You can check a study at its published size on a laptop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from mesocosm.learning.fit import Fitted, Loop
from mesocosm.learning.fit_options import FitOptions
from mesocosm.learning.learner import Learner
from mesocosm.learning.program import Carry, run_chunk, state_shapes
from mesocosm.learning.static_tree import split
from mesocosm.learning.streams import stream_keys


def dry_run_fit(
    learner: Learner,
    steps: int,
    seeds: Sequence[int],
    *,
    name: str = "fit",
    over_seeds: Literal["vmap", "map"] = "vmap",
    **options: Unpack[FitOptions],
) -> tuple[Fitted, Any]:
    """Return the result of `fit`, filled with placeholders, and its lowered program (`jax.stages.Lowered`) for one device.

    Arguments and errors are those of `fit`; every seed runs all steps, meets `until` and does not diverge.
    """
    loop = Loop(learner, steps, tuple(seeds), name, over_seeds, **options)
    loop.learner_arrays = [_shape(leaf) for leaf in loop.learner_arrays]
    if loop.state is None:
        arrays, tree = state_shapes(loop.learner_tree, loop.learner_arrays, stream_keys(loop.seeds, "init"), loop.per_seed)
    else:
        arrays, tree = split(loop.state)
        arrays = [_shape(leaf) for leaf in arrays]
    loop.describe(arrays, tree)
    flag, count = (jax.ShapeDtypeStruct((len(loop.seeds),), dtype) for dtype in (jnp.bool, jnp.int32))
    arguments, static = loop.chunk_arguments(Carry(arrays, flag, count, flag, flag), 0, 0)
    lowered = run_chunk.lower(*arguments, **static)
    probes = {name: placeholder(shape) for name, shape in loop.probe_shapes(arrays).items()}
    fitted = Fitted(
        state=placeholders(tree.join(arrays)),
        model=placeholders(loop.models(arrays).shapes()),
        seeds=loop.seeds,
        steps=np.full(len(loop.seeds), steps, np.int32),
        reached=np.full(len(loop.seeds), options.get("until") is not None),
        diverged=np.zeros(len(loop.seeds), bool),
        history_steps=loop.history_steps,
        history={metric: np.ones((len(loop.seeds), loop.windows)) for metric in loop.metrics},
        probe_steps=loop.first + loop.probe_steps,
        probes={name: np.moveaxis(array, 0, 1) for name, array in probes.items()},
    )
    return fitted, lowered


def placeholder(leaf: Any) -> Any:
    """An array of this shape and dtype: ones (whose logarithm exists), for bools False, and for integers 0, 1, 0, 1, ... along the last axis (which are valid
    indices, and labels of two classes).

    It is a read-only NumPy view of a single row; typed keys, which NumPy cannot hold, are JAX arrays.
    """
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0, impl=leaf.dtype._impl.name), leaf.shape)
    if leaf.shape and jnp.issubdtype(leaf.dtype, jnp.integer):
        return np.broadcast_to((np.arange(leaf.shape[-1]) % 2).astype(leaf.dtype), leaf.shape)
    return np.broadcast_to(np.full((), jnp.issubdtype(leaf.dtype, jnp.inexact), leaf.dtype), leaf.shape)


def placeholders(tree: Any) -> Any:
    """Replace every `jax.ShapeDtypeStruct` in the tree by a placeholder."""
    return jax.tree.map(lambda leaf: placeholder(leaf) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, tree)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
