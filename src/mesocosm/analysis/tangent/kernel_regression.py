r"""The linearised model of a network, and its predictions after gradient descent in closed form.

$f^{lin}(x) = f(x; \theta_0) + J_0(x)(\theta - \theta_0)$ trained by gradient flow on $\frac12 \|f(X) - Y\|^2 + \frac\rho2 \|\theta - \theta_0\|^2$ for a time
$t$ predicts $f(x;\theta_0) + \Theta(x, X)\,\alpha$ with $\alpha = A^{-1}(I - e^{-t A})(Y - f(X;\theta_0))$ and $A = \Theta(X, X) + \rho I$.

Reference: Lee et al., "Wide neural networks of any depth evolve as linear models under gradient descent" (2019).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mesocosm.analysis.tangent.features import Function
from mesocosm.analysis.tangent.kernel import kernel_block
from mesocosm.numerics.linear_algebra import eigh, solve
from mesocosm.numerics.precision import full_precision


def linearised(function: Function, params: PyTree) -> Callable[[PyTree, Any], Array]:
    """The first-order Taylor expansion of f(params, x) in the parameters around `params`."""

    def linear(moved: PyTree, x: Any) -> Array:
        step = jax.tree.map(jnp.subtract, moved, params)
        value, change = jax.jvp(lambda params: function(params, x), (params,), (step,))
        return value + change

    return linear


def as_matrix(kernel: Float[Array, "*batch n outputs m outputs"]) -> Float[Array, "*batch rows columns"]:
    """Reshape a kernel over examples and outputs to a matrix over their pairs."""
    *batch, n, c, m, d = kernel.shape
    return kernel.reshape(*batch, n * c, m * d)


def with_jitter(kernel: Float[Array, "*batch n n"], jitter: float) -> Float[Array, "*batch n n"]:
    """Add `jitter` times the mean of the kernel's diagonal to the diagonal. This suffices for nearly parallel inputs and treats compared models alike."""
    n = kernel.shape[-1]
    mean = jnp.trace(kernel, axis1=-2, axis2=-1) / n
    return kernel + jitter * mean[..., None, None] * jnp.eye(n, dtype=kernel.dtype)


@full_precision
def dual_weights(
    train_kernel: Float[Array, "*batch n n"], residuals: Float[Array, "*batch n columns"], *, ridge: float = 0.0, time: float | Array | None = None
) -> Float[Array, "*batch n columns"]:
    r"""$\alpha = A^{-1}(I - e^{-tA})\, r$ with $A = \Theta + \rho I$; without `time`, $A^{-1} r$, the end of training.

    Args:
        train_kernel: Theta(X, X), symmetric; use `as_matrix` for several outputs.
        residuals: Y - f(X), one column per quantity to predict.
        ridge: rho.
        time: t, the learning rate times the number of small steps; may be infinite.
    """
    system = train_kernel + ridge * jnp.eye(train_kernel.shape[-1], dtype=train_kernel.dtype)
    if time is None:
        return solve(system, residuals)
    values, vectors = eigh(system)
    reached = _reached(values, time)
    return vectors @ (reached[..., None] * (jnp.swapaxes(vectors, -1, -2) @ residuals))


def _reached(values: Float[Array, "*batch n"], time: float | Array) -> Float[Array, "*batch n"]:
    r"""$(1 - e^{-ta}) / a$ for the eigenvalues a, with the limit t at 0.

    An eigenvalue below $\epsilon$ times the largest, or below 0, is a rounding error. It counts as this bound, so that the weights stay finite however
    long the training.
    """
    values = jnp.maximum(values, jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values), axis=-1, keepdims=True))
    time = jnp.minimum(jnp.asarray(time, values.dtype), jnp.finfo(values.dtype).max)  # times 0, infinity would be no number
    moved = jnp.minimum(time * values, 100.0)  # e^-100 is 0 beside 1
    flat = moved < 1e-12  # directions that hardly move need the limit
    return jnp.where(flat, time, -jnp.expm1(-moved) / jnp.where(flat, 1.0, values))


def interpolation_weights(test_kernel: Float[Array, "*batch t n"], train_kernel: Float[Array, "*batch n n"]) -> Float[Array, "*batch t n"]:
    r"""$Q(x) = \Theta(x, X)\, \Theta(X, X)^{-1}$: the weight of each training residual at x after training."""
    return jnp.swapaxes(solve(train_kernel, jnp.swapaxes(test_kernel, -1, -2)), -1, -2)


@full_precision
def gaussian_process(
    test_kernel: Float[Array, "t n"], train_kernel: Float[Array, "n n"], test_variance: Float[Array, " t"], targets: Float[Array, "n columns"]
) -> tuple[Float[Array, "t columns"], Float[Array, " t"]]:
    r"""Posterior mean $k_x K^{-1} Y$ and variance $k_{xx} - k_x K^{-1} k_x^\top$ of a noise-free Gaussian process: with the NNGP kernel, Bayesian inference for
    the infinitely wide network; with the NTK, the NTK-GP of He et al. (2020)."""
    weights = interpolation_weights(test_kernel, train_kernel)
    return weights @ targets, test_variance - jnp.sum(weights * test_kernel, axis=-1)


class Posterior(NamedTuple):
    """Mean and variance of every output at every test point."""

    mean: Float[Array, "t outputs"]
    variance: Float[Array, "t outputs"]


def tangent_gaussian_process(
    function: Function, params: PyTree, train: Any, targets: Float[Array, "n ..."], test: Any, *, noise: float | Float[Array, ""] = 0.0
) -> Posterior:
    r"""The NTK-GP of a network: the posterior of a Gaussian process with mean 0 and its tangent kernel, $\Theta_x (\Theta + \sigma^2 I)^{-1} Y$ and
    $\Theta_{xx} - \Theta_x (\Theta + \sigma^2 I)^{-1} \Theta_x^\top$.

    This is the prediction of the linearised network $J(x)\, w$ with the prior $w \sim N(0, I)$. For a process around the network itself, pass the residuals
    $Y - f(X)$ as targets and add $f(x)$ to the mean. Needs float64 if the noise is small; traceable, in one block: for large sets, use `tangent_kernel` and
    `gaussian_process`.

    Args:
        function: f(params, x) for one example; `of_module(module)` gives function and parameters.
        params: the parameters at which the kernel is taken.
        train, test: examples with a leading axis.
        targets: Y, shaped like the outputs of the training examples.
        noise: the variance $\sigma^2$ of the targets' noise.

    Raises:
        ValueError: the targets are not as many as the outputs.

    Reference: He, Lakshminarayanan and Teh, "Bayesian deep ensembles via the neural tangent kernel" (2020), Sec. 3.
    """
    kernel, cross = kernel_block(function, params, train), kernel_block(function, params, test, train)
    n, outputs = kernel.shape[:2]
    if targets.size != n * outputs or targets.shape[0] != n:
        raise ValueError(f"{n} examples with {outputs} outputs need as many targets, not the shape {targets.shape}")
    own = jax.lax.map(lambda x: jnp.diagonal(kernel_block(function, params, jax.tree.map(lambda leaf: leaf[None], x))[0, :, 0]), test)
    system = as_matrix(kernel) + noise * jnp.eye(n * outputs, dtype=kernel.dtype)
    mean, variance = gaussian_process(as_matrix(cross), system, own.reshape(-1), targets.reshape(-1, 1))
    return Posterior(mean.reshape(own.shape), variance.reshape(own.shape))
