"""PyTrees as arguments of compiled programs: what is traced, and what is part of the program's identity.

`eqx.filter_jit` draws the same line at every call; here it is drawn once, and Python floats fall on the traced side, so that arms that differ in a
number share a program.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np


class StaticTree(NamedTuple):
    """The static half of a PyTree: hashable, compared by value, a static argument of `jax.jit`.

    Attributes:
        structure: the tree's structure with static fields.
        leaves: the static leaves; None where a traced leaf stands.
        traced: which leaves are traced.
    """

    structure: Any
    leaves: tuple[Any, ...]
    traced: tuple[bool, ...]

    def join(self, arrays: list[Any]) -> Any:
        """The whole PyTree again."""
        traced = iter(arrays)
        leaves = [next(traced) if is_traced else leaf for leaf, is_traced in zip(self.leaves, self.traced, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


def split(tree: Any, *, floats: bool = False) -> tuple[list[Any], StaticTree]:
    """Traced leaves and the rest. With `floats`, Python floats become arrays of the current default precision.

    Raises:
        TypeError: a static leaf that cannot be hashed.
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
