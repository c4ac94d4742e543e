"""Ensembles of kernel models in float64: random networks, their tangent kernels at fixed points, and their predictions in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mesocosm.analysis.tangent.kernel import kernel_block, of_module
from mesocosm.analysis.tangent.kernel_regression import interpolation_weights, with_jitter
from mesocosm.analysis.tangent.variance_decomposition import KernelModels, kernel_models

JITTER = 1e-10  # relative to the mean diagonal, the same in every model
Build = Callable[[Any], Any]


class Draws(NamedTuple):
    """Random networks, evaluated at test points, then training points.

    Attributes:
        start: their outputs.
        kernel: their tangent kernels with the training points.
    """

    start: Float[Array, "members points"]
    kernel: Float[Array, "members points n"]


def draw_networks(build: Build, keys: Key[Array, " members"], test: Float[Array, "t ..."], train: Float[Array, "n ..."], *, at_once: int) -> Draws:
    """Draw a network with one output from each key, `at_once` side by side."""
    points = jnp.concatenate([test, train])

    def one(key: Key[Array, ""]) -> Draws:
        function, params = of_module(build(key))
        return Draws(jax.vmap(lambda x: function(params, x)[0])(points), kernel_block(function, params, points, train)[:, 0, :, 0])

    return jax.lax.map(one, keys, batch_size=at_once)


def weights_of(kernel: Float[Array, "*batch points n"]) -> Float[Array, "*batch t n"]:
    """Q(x) at the test points."""
    test = kernel.shape[-2] - kernel.shape[-1]
    return interpolation_weights(kernel[..., :test, :], with_jitter(kernel[..., test:, :], JITTER))


def models_of(draws: Draws, mean_weights: Float[Array, "t n"], targets: Float[Array, " n"]) -> KernelModels:
    """The full model and its parts, one row per member. The solves are outside every loop."""
    test = len(mean_weights)
    return kernel_models(draws.start[:, :test], draws.start[:, test:], weights_of(draws.kernel), mean_weights, targets)
