"""Supervised training on freshly drawn examples, and the optimisers that studies share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from mesocosm.learning.learner import Learner
from mesocosm.tasks.task import Task

Loss = Callable[[Any, Any, Any], Any]


class SupervisedState(NamedTuple):
    """State of `Supervised`.

    Attributes:
        model: the module being trained.
        optimizer: the optax state over the module's inexact array leaves.
    """

    model: Any
    optimizer: PyTree


class Supervised(Learner):
    r"""Minimise $\mathbb{E}_{e \sim \text{task}}[\text{loss}(\text{model}, e)]$ by a first-order optimiser on fresh batches.

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
    optimizer: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, Any]
    batch_size: int = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> SupervisedState:
        """Build the module and the optimiser's state."""
        model = self.build(key)
        return SupervisedState(model, self.optimizer(**self.hyperparameters).init(eqx.filter(model, eqx.is_inexact_array)))

    def update(self, state: SupervisedState, key: Key[Array, ""]) -> tuple[SupervisedState, dict[str, Float[Array, ""]]]:
        """Draw one batch and take one optimiser step."""
        data_key, loss_key = jax.random.split(key)
        examples = jax.vmap(self.task.sample)(jax.random.split(data_key, self.batch_size))
        trained, fixed = eqx.partition(state.model, eqx.is_inexact_array)

        def batch_loss(trained: PyTree) -> Float[Array, ""]:
            model = eqx.combine(trained, fixed)
            return jnp.mean(jax.vmap(self.loss, in_axes=(None, 0, 0))(model, examples, jax.random.split(loss_key, self.batch_size)))

        loss, gradient = jax.value_and_grad(batch_loss)(trained)
        updates, optimizer = self.optimizer(**self.hyperparameters).update(gradient, state.optimizer, trained)
        model = eqx.combine(optax.apply_updates(trained, updates), fixed)
        return SupervisedState(model, optimizer), {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}

    def model(self, state: SupervisedState) -> Any:
        """The trained module."""
        return state.model


def adam(learning_rate: Any) -> optax.GradientTransformation:
    """Adam with optax's defaults (b1 0.9, b2 0.999, eps 1e-8)."""
    return optax.adam(learning_rate)


def clipped_adamw(learning_rate: Any, weight_decay: Any, clip: Any) -> optax.GradientTransformation:
    """AdamW after element-wise clipping of the gradient at +-clip; the decay is decoupled and multiplied by the learning rate."""
    return optax.chain(optax.clip(clip), optax.scale_by_adam(), optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate))


def cosine_adamw(learning_rate: Any, steps: Any, weight_decay: Any, clip: Any, clip_norm: Any) -> optax.GradientTransformation:
    """`clipped_adamw` after clipping the norm of the gradient to `clip_norm`; the learning rate, and with it the decay, falls from `learning_rate` to zero
    along half a cosine over `steps`."""

    def schedule(count: Any) -> Any:
        return learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count / steps, 1.0)))

    return optax.chain(optax.clip_by_global_norm(clip_norm), clipped_adamw(schedule, weight_decay, clip))
