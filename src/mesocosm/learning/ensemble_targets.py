"""What the members of an ensemble learn: losses of one example, for real targets and for integer labels."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Num


def squared_error(outputs: Float[Array, "*outputs"], target: Float[Array, "*outputs"]) -> Float[Array, ""]:
    """The squared error of one example, averaged over outputs."""
    return jnp.mean((outputs - target) ** 2)


def cross_entropy(outputs: Float[Array, "*places classes"], label: Int[Array, "*places"]) -> Float[Array, ""]:
    r"""$-\log \mathrm{softmax}(\text{outputs})_{\text{label}}$ in nats, averaged over places."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, label))


def one_hot_error(outputs: Float[Array, "*places classes"], label: Int[Array, "*places"]) -> Float[Array, ""]:
    """Classification as regression: the squared error against 1 for the label's class and 0 for the others."""
    return squared_error(outputs, jax.nn.one_hot(label, outputs.shape[-1], dtype=outputs.dtype))


OF_LABELS = (cross_entropy, one_hot_error)


def check_targets(targets: Num[Array, "n ..."], outputs: tuple[int, ...], loss: Callable[[Array, Array], Array], *, functions: bool = False) -> None:
    """Reject targets that would broadcast against the outputs, and labels without a class.

    Args:
        targets: of all examples.
        outputs: the shape of the network's output for one example.
        loss: of one example; one that is not from this module may take any target.
        functions: whether members also learn functions, so that targets are combined with outputs.

    Raises:
        ValueError: names the shapes and the losses that take integer labels, or the range of the labels.
    """
    shape, dtype = targets.shape[1:], targets.dtype
    found = f"the target of one example has the shape {shape} and the type {dtype}, the network's output the shape {outputs}"
    *places, classes = outputs or (0,)
    labels = jnp.issubdtype(dtype, jnp.integer) and shape == tuple(places) != outputs
    if functions and shape != outputs:
        raise ValueError(f"{found}; gd-i learns functions, which have the shape of the output")
    if loss is squared_error and shape != outputs:
        raise ValueError(f"{found}; {'for integer labels, choose loss=cross_entropy or loss=one_hot_error' if labels else 'they must be equal'}")
    if loss in OF_LABELS and not labels:
        raise ValueError(f"{found}; {loss.__name__} takes integer labels, without the axis of classes")
    if loss in OF_LABELS and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise ValueError(f"the labels go from {int(targets.min())} to {int(targets.max())}, but the network has the classes 0 to {classes - 1}")
