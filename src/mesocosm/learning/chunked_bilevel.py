r"""Bilevel learning in the memory of a few tasks: the outer gradient is a mean over tasks, so that it can be summed chunk by chunk.

Backpropagation through all inner steps of a whole batch keeps the activations of every step and task. The gradient of a mean,

$$\nabla_\theta \frac1n \sum_i L_i = \frac1c \sum_{j=1}^{c} \nabla_\theta\, \frac{c}{n} \sum_{i \in \text{chunk } j} L_i,$$

needs them of one chunk at a time, without computing anything twice. (`InnerLoop.checkpointed` saves memory within a task, by computing inner steps again.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from mesocosm.learning.bilevel import Bilevel
from mesocosm.learning.gradient_learner import Metrics


class ChunkedBilevel(Bilevel):
    """`Bilevel` that computes the outer gradient for `chunk` tasks at a time, one chunk after the other; the result is the same up to rounding.

    The loss and its gradient come from one pass, so that second derivatives of the objective, which no gradient learner takes, are not available.

    Attributes:
        chunk: tasks that are computed together; a divisor of `batch_size`.
    """

    chunk: int = eqx.field(static=True, default=1)

    def objective(self, model: Any, batch: Any, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """The mean loss of the tasks' adapted networks.

        Raises:
            ValueError: the chunk does not divide the batch.
        """
        if self.chunk < 1 or self.batch_size % self.chunk:
            raise ValueError(f"a batch of {self.batch_size} tasks cannot be divided into chunks of {self.chunk}")
        number, few = self.batch_size // self.chunk, replace(self, batch_size=self.chunk)
        chunks = jax.tree.map(lambda leaf: leaf.reshape(number, self.chunk, *leaf.shape[1:]), batch)

        def of_chunk(model: Any, chunk: tuple[Any, Any]) -> Float[Array, ""]:
            return jnp.mean(few.losses(model, *chunk))

        return mean_over_chunks(of_chunk, model, (chunks, jax.random.split(key, number))), {}


def mean_over_chunks(function: Callable[[Any, Any], Float[Array, ""]], model: Any, chunks: PyTree) -> Float[Array, ""]:
    """The mean of `function(model, chunk)` over the leading axis of `chunks`, whose gradient keeps what it needs of one chunk at a time.

    Only the model's floating-point arrays are differentiated, and only once.
    """
    leaves, rest = eqx.partition(model, eqx.is_inexact_array)
    arrays, static = eqx.partition(rest, eqx.is_array)

    def of_leaves(leaves: PyTree, arrays: PyTree, chunk: Any) -> Float[Array, ""]:
        return function(eqx.combine(leaves, arrays, static), chunk)

    @jax.custom_vjp
    def mean(leaves: PyTree, arrays: PyTree, chunks: Any) -> Float[Array, ""]:
        return jnp.mean(jax.lax.map(lambda chunk: of_leaves(leaves, arrays, chunk), chunks))

    def forward(leaves: PyTree, arrays: PyTree, chunks: Any) -> tuple[Float[Array, ""], PyTree]:
        number = jax.tree.leaves(chunks)[0].shape[0]

        def add(total: PyTree, chunk: Any) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, jax.value_and_grad(of_leaves)(leaves, arrays, chunk)), None

        shapes = jax.eval_shape(of_leaves, leaves, arrays, jax.tree.map(lambda leaf: leaf[0], chunks))
        total, _ = jax.lax.scan(add, (jnp.zeros_like(shapes), jax.tree.map(jnp.zeros_like, leaves)), chunks)
        return jax.tree.map(lambda leaf: leaf / number, total)

    def backward(gradient: PyTree, cotangent: Float[Array, ""]) -> tuple[PyTree, None, None]:
        return jax.tree.map(lambda leaf: cotangent * leaf, gradient), None, None

    mean.defvjp(forward, backward)
    return mean(leaves, arrays, chunks)
