"""Learner, the contract of everything that changes by learning: a pair of pure functions over PyTrees, in the manner of optax.

Supervised training, policy gradients, bilevel meta-learning and evolution are all Learners, and `fit` is the one loop that drives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Key, PyTree


class Learner(eqx.Module):
    """`init(key) -> state` and `update(state, key) -> (state, metrics)`, both pure.

    Array and Python-float fields are leaves that `fit` traces: arms that differ only in them (a learning rate, a noise level, a teacher) share one
    compiled program. Ints, bools, strings and functions are static; functions must be module-level (or `jax.tree_util.Partial` of one), because a
    fresh lambda is a new program.
    """

    def init(self, key: Key[Array, ""]) -> PyTree:
        """The state before the first step."""
        raise NotImplementedError(f"{type(self).__name__} has no init")

    def update(self, state: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Mapping[str, Float[Array, ""]]]:
        """One step: the next state, and scalar metrics by name."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def model(self, state: PyTree) -> Any:
        """What has been learned, the part of the state that is evaluated, published and handed to other trials. The state itself by default."""
        return state
