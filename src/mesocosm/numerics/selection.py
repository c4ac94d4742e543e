"""Parts of a PyTree by a function that picks them, as in `equinox.tree_at`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

Where = Callable[[Any], Any]


def numbers(tree: Any, where: Where) -> Any:
    """What `where` picks from the tree, with the number of each leaf, in the tree's order, in place of the leaf."""
    leaves, structure = jax.tree.flatten(tree)
    return where(jax.tree.unflatten(structure, range(len(leaves))))


def mask(tree: Any, where: Where) -> Any:
    """A tree of the same structure with True for the leaves that `where` picks and False for the others, as `equinox.partition` takes it."""
    picked = set(jax.tree.leaves(numbers(tree, where)))
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [number in picked for number in range(len(leaves))])
