r"""Tangent features: the contribution of one example to an empirical tangent kernel $\Theta(x, x') = J(x) J(x')^\top$, $J = \partial f / \partial \theta$.

The kernel is a sum over parameter arrays. The contribution of an array is stored either as its Jacobian or, for a dense layer, as two smaller factors:
the Jacobian of W in $y = W h$ is $\delta \otimes h$, so the layer contributes $(h \cdot h')\, \delta \delta'^\top$.

Reference: Novak, Sohl-Dickstein and Schoenholz, "Fast finite width neural tangent kernel" (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mesocosm.numerics.precision import full_precision

Function = Callable[[Any, Any], Array]
"""f(params, x) maps one example to an array of any shape, whose C entries are the outputs."""

Outputs = Literal["all", "mean"]
r"""All pairs of outputs, or the mean over outputs of the kernel's diagonal entries $\frac1C \sum_c \Theta_{cc}$; the mean is an approximation, because inner
layers couple the outputs at finite width."""


class Jacobian(NamedTuple):
    """The Jacobian of one parameter array.

    Attributes:
        entries: one row per output.
    """

    entries: Float[Array, "*n outputs size"]


class Outer(NamedTuple):
    r"""The factored Jacobian of a weight matrix that is used once, $J_{c,(oi)} = \delta_{co} h_i$.

    Attributes:
        inputs: h, the layer's inputs.
        sensitivities: delta, the derivative of each output with respect to the layer's outputs.
    """

    inputs: Float[Array, "*n inputs"]
    sensitivities: Float[Array, "*n outputs size"]


Features = Sequence[Jacobian | Outer]


def jacobian_features(function: Function, params: PyTree, x: Any) -> list[Jacobian | Outer]:
    """The features of one example, with the Jacobian of every parameter array (reverse mode)."""
    return [Jacobian(entries) for entries in jacobians(function, jax.tree.leaves(params), jax.tree.structure(params), x)]


def jacobians(function: Function, leaves: Sequence[Array], structure: Any, x: Any) -> list[Float[Array, "outputs size"]]:
    """The Jacobians of one example with respect to each leaf."""

    def outputs(leaves: Sequence[Array]) -> Array:
        return jnp.ravel(function(jax.tree.unflatten(structure, leaves), x))

    return [entries.reshape(entries.shape[0], -1) for entries in jax.jacrev(outputs)(list(leaves))]


@full_precision
def contract(a: Features, b: Features, outputs: Outputs = "all") -> Float[Array, "n outputs m outputs2"] | Float[Array, "n m"]:
    """The kernel between two sets of examples from their features, which have a leading axis of examples."""
    return sum((_contract(one, other, outputs) for one, other in zip(a, b, strict=True)), start=jnp.zeros(()))


def _contract(a: Any, b: Any, outputs: Outputs) -> Array:
    form = "ncp,mdp->ncmd" if outputs == "all" else "ncp,mcp->nm"
    if isinstance(a, Jacobian):
        part = jnp.einsum(form, a.entries, b.entries)
    else:
        inner = jnp.einsum("ni,mi->nm", a.inputs, b.inputs)
        part = jnp.einsum(form, a.sensitivities, b.sensitivities) * (inner[:, None, :, None] if outputs == "all" else inner)
    return part if outputs == "all" else part / _outputs(a)


def _outputs(feature: Jacobian | Outer) -> int:
    return (feature.entries if isinstance(feature, Jacobian) else feature.sensitivities).shape[-2]
