"""Splits PyTrees into traced leaves and a static half that is part of a program's identity.

`eqx.filter_jit` does the same at every call; here it is done once, and Python floats are traced, so that arms that differ only in a number share a program.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np


class StaticTree(NamedTuple):
    """The static half of a PyTree: hashable, compared by value, a static argument of `jax.jit`.

    Attributes:
        structure: the tree's structure with static fields.
        leaves: the static leaves, with None in place of traced leaves.
        traced: which leaves are traced.
    """

    structure: Any
    leaves: tuple[Any, ...]
    traced: tuple[bool, ...]

    def join(self, arrays: list[Any]) -> Any:
        """Recombine with arrays into the whole PyTree."""
        traced = iter(arrays)
        leaves = [next(traced) if is_traced else leaf for leaf, is_traced in zip(self.leaves, self.traced, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


def split(tree: Any, *, floats: bool = False) -> tuple[list[Any], StaticTree]:
    """Traced leaves and the rest. With `floats`, Python floats become arrays of the current default precision.

    Raises:
        TypeError: a static leaf cannot be hashed.
    """
    leaves, structure = jax.tree.flatten(tree)
    kinds = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct, *((float,) if floats else ()))
    traced = tuple(isinstance(leaf, kinds) for leaf in leaves)
    arrays = [jax.numpy.asarray(leaf) if isinstance(leaf, float) else leaf for leaf, is_traced in zip(leaves, traced, strict=True) if is_traced]
    static = tuple(None if is_traced else leaf for leaf, is_traced in zip(leaves, traced, strict=True))
    for leaf in static:
        try:
            hash(leaf)
        except TypeError:
            raise TypeError(f"a static leaf of type {type(leaf).__name__} cannot be part of a program's identity: {leaf!r}") from None
    return arrays, StaticTree(structure, static, traced)
