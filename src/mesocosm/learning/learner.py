"""`Learner`, the interface of a training algorithm: a pair of pure functions over PyTrees, as in optax.

Supervised training, policy gradients, bilevel meta-learning and evolution are all Learners, and `fit` is the one loop that runs them.
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
    fresh lambda recompiles.
    """

    def init(self, key: Key[Array, ""]) -> PyTree:
        """The state before the first step."""
        raise NotImplementedError(f"{type(self).__name__} has no init")

    def update(self, state: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Mapping[str, Float[Array, ""]]]:
        """Take one step; return the next state and scalar metrics by name."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def model(self, state: PyTree) -> Any:
        """The learned model, the part of the state that is evaluated, published and passed to other trials. By default, the state itself."""
        return state
