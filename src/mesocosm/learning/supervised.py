"""Supervised training on freshly drawn examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mesocosm.learning.gradient_learner import GradientLearner, Metrics, Transform
from mesocosm.learning.optimizers import adam
from mesocosm.tasks.task import Task
from mesocosm.tasks.task import batch as draw_batch

__all__ = ["Loss", "Supervised", "adam"]

Loss = Callable[[Any, Any, Any], Any]


class Supervised(GradientLearner):
    r"""Minimise $\mathbb{E}_{e \sim \text{task}}[\text{loss}(\text{model}, e)]$ on fresh batches.

    Attributes:
        build: key -> module (use `jax.tree_util.Partial(build, config)` to pass a config).
        task: draws the examples.
        loss: (module, example, key) -> scalar, for one example.
        optimizer: hyperparameters -> optax transformation, a module-level function.
        hyperparameters: passed to `optimizer` by name; traced, so a sweep over them compiles once.
        batch_size: examples per step.
    """

    build: Callable[[Any], Any]
    task: Task
    loss: Loss
    optimizer: Callable[..., Transform]
    hyperparameters: Mapping[str, Any]
    batch_size: int = eqx.field(static=True)

    def batch(self, model: Any, key: Key[Array, ""]) -> Any:
        """Independent training examples."""
        return draw_batch(self.task, key, self.batch_size)

    def losses(self, model: Any, batch: Any, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The loss of each example."""
        return jax.vmap(self.loss, in_axes=(None, 0, 0))(model, batch, jax.random.split(key, self.batch_size))

    def objective(self, model: Any, batch: Any, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """The mean of the losses. Override it for another aggregate, such as a q-norm."""
        return jnp.mean(self.losses(model, batch, key)), {}
