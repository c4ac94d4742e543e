r"""Decomposition of the variance of a linearly trained ensemble: noise of the initial function, noise of the kernel, and their interaction.

A member that starts as $f_0$ with tangent kernel $\Theta_0$ ends as $f^{lin} = f_0(x) + Q_0(x)(Y - f_0(X))$ with $Q_0 = \Theta_0(x, X)\Theta_0(X, X)^{-1}$.
Replacing $Q_0$ by a fixed $\bar Q$, or $f_0$ by zero, leaves one source of noise; per member $f^{lin} = f^a + f^c + f^i - 2 \bar Q Y$ for any $\bar Q$.

Reference: Kobayashi, Vilimelis Aceituno and von Oswald, "Disentangling the predictive variance of deep ensembles through the neural tangent kernel" (2022).
The formulas of the parts and the closed forms are derived here.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.numerics.linear_algebra import solve
from mesocosm.numerics.precision import full_precision


class KernelModels(NamedTuple):
    """Predictions of an ensemble and of its three parts, one row per member.

    Attributes:
        full: f^lin, with all noise.
        function: f^lin-a, with the averaged kernel: only noise of the initial function.
        kernel: f^lin-c, with the initial function subtracted: only noise of the kernel.
        interaction: f^lin-i, the part that needs both.
    """

    full: Float[Array, "*batch members t"]
    function: Float[Array, "*batch members t"]
    kernel: Float[Array, "*batch members t"]
    interaction: Float[Array, "*batch members t"]


@full_precision
def kernel_models(
    start_test: Float[Array, "members t"],
    start_train: Float[Array, "members n"],
    weights: Float[Array, "members t n"],
    mean_weights: Float[Array, "t n"],
    targets: Float[Array, " n"],
) -> KernelModels:
    r"""The four models of each member.

    Args:
        start_test, start_train: the initial function at test and training points.
        weights: Q_0 of each member (`interpolation_weights`).
        mean_weights: $\bar Q$, from the infinite-width kernel or a mean over other members; the identity holds for any $\bar Q$.
        targets: Y.
    """
    mean = mean_weights @ targets
    return KernelModels(
        full=start_test + jnp.einsum("mtn,mn->mt", weights, targets - start_train),
        function=start_test + mean - start_train @ mean_weights.T,
        kernel=weights @ targets,
        interaction=mean - jnp.einsum("mtn,mn->mt", weights - mean_weights, start_train),
    )


class VarianceParts(NamedTuple):
    """Variances over members, and twice the covariances; the first is exactly the sum of the others."""

    full: Float[Array, "*batch t"]
    function: Float[Array, "*batch t"]
    kernel: Float[Array, "*batch t"]
    interaction: Float[Array, "*batch t"]
    function_kernel: Float[Array, "*batch t"]
    function_interaction: Float[Array, "*batch t"]
    kernel_interaction: Float[Array, "*batch t"]


def variance_parts(models: KernelModels) -> VarianceParts:
    """Sample variances over members (members - 1 in the denominator) and twice the sample covariances of the parts.

    Raises:
        ValueError: there is only one member.
    """
    if models.full.shape[-2] < 2:
        raise ValueError(f"a variance over members needs two or more, not {models.full.shape[-2]}")
    centred = KernelModels(*(model - model.mean(axis=-2, keepdims=True) for model in models))
    freedom = models.full.shape[-2] - 1

    def moment(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, axis=-2) / freedom

    _, a, c, i = centred
    full = moment(centred.full, centred.full)
    return VarianceParts(full, moment(a, a), moment(c, c), moment(i, i), 2 * moment(a, c), 2 * moment(a, i), 2 * moment(c, i))


# --- what theory says -------------------------------------------------------------------------------------------------


@full_precision
def function_noise_limit(
    nngp_test: Float[Array, " t"], nngp_test_train: Float[Array, "t n"], nngp_train: Float[Array, "n n"], mean_weights: Float[Array, "t n"]
) -> Float[Array, " t"]:
    r"""The ensemble's variance at infinite width, which is all function noise: $K(x,x) + \bar Q K(X,X) \bar Q^\top - 2 \bar Q K(X,x)$ (Lee et al., 2019)."""
    spread = jnp.einsum("tn,nm,tm->t", mean_weights, nngp_train, mean_weights)
    return nngp_test + spread - 2 * jnp.sum(mean_weights * nngp_test_train, axis=1)


class LinearNetworkVariances(NamedTuple):
    """Variances for one hidden layer without nonlinearity, to leading order in 1 / width."""

    function: Float[Array, " t"]
    kernel: Float[Array, " t"]
    interaction: Float[Array, " t"]
    function_interaction: Float[Array, " t"]


@full_precision
def linear_network_variances(test: Float[Array, "t dim"], train: Float[Array, "n dim"], targets: Float[Array, " n"], width: int) -> LinearNetworkVariances:
    r"""$f(x) = a^\top W x / \sqrt{n d}$ with N < d training points.

    $V^a = |x_\perp|^2 / d$, $V^c = |x_\perp|^2 |u|^2 / 4n$, $V^i = |x_\perp|^2 N / 4dn$ and $2\,\mathrm{Cov}(a, i) = -4 V^i$, where $x_\perp$ is the part of x
    orthogonal to the training points and $u = X^\top (X X^\top)^{-1} Y$.
    """
    n, dim = train.shape
    dual = solve(train @ train.T, jnp.concatenate([targets[:, None], train @ test.T], axis=1))
    u, outside = train.T @ dual[:, 0], jnp.sum((test - dual[:, 1:].T @ train) ** 2, axis=1)
    interaction = outside * n / (4 * dim * width)
    return LinearNetworkVariances(outside / dim, outside * jnp.sum(u**2) / (4 * width), interaction, -4 * interaction)


class WidthTimesVariance(NamedTuple):
    """The limits of n V^c(x) and n V^i(x) for a network with one hidden layer of width n."""

    kernel: Float[Array, " t"]
    interaction: Float[Array, " t"]


@full_precision
def single_neuron_prediction(
    key: PRNGKeyArray,
    test: Float[Array, "t dim"],
    train: Float[Array, "n dim"],
    targets: Float[Array, " n"],
    *,
    ntk_train: Float[Array, "n n"],
    nngp_train: Float[Array, "n n"],
    mean_weights: Float[Array, "t n"],
    samples: int = 200_000,
    chunk: int = 10_000,
) -> WidthTimesVariance:
    r"""Kernel noise from single neurons: the kernel of a wide layer is a mean over n independent neurons, so its variance is that of one neuron over n.

    A ReLU with input weights w and output weight a gives $\kappa = 2[\phi\phi' + a^2\, 1_{w x > 0} 1_{w x' > 0}\, x \cdot x' / d]$. With
    $B(x) = \kappa(x, X) - \bar Q(x)\kappa(X, X)$, which has mean zero, and $C(x) = \mathbb{E}[B^\top B]$ by Monte Carlo,
    $n V^c \to Y^\top \bar\Theta^{-1} C\, \bar\Theta^{-1} Y$ and $n V^i \to \mathrm{tr}(C\, \bar\Theta^{-1} K \bar\Theta^{-1})$.

    Args:
        key: draws the neurons.
        ntk_train, nngp_train, mean_weights: those of the infinitely wide network without biases.
        samples: number of neurons, computed in chunks of `chunk`.
    """
    dim = train.shape[1]
    inner_train, inner_test = train @ train.T / dim, test @ train.T / dim

    def chunk_moments(key: Array) -> Array:
        drawn = jax.random.normal(key, (chunk, dim + 1))
        field_train, field_test = (drawn[:, :dim] @ x.T / jnp.sqrt(dim) for x in (train, test))
        slope_train, slope_test = field_train > 0, field_test > 0
        square = drawn[:, dim, None, None] ** 2

        def kappa(field: Array, slope: Array, inner: Array) -> Array:
            value = jax.nn.relu(field)[:, :, None] * jax.nn.relu(field_train)[:, None, :]
            return 2 * (value + square * slope[:, :, None] * slope_train[:, None, :] * inner)

        deviation = kappa(field_test, slope_test, inner_test) - mean_weights @ kappa(field_train, slope_train, inner_train)
        return jnp.einsum("stn,stm->tnm", deviation, deviation) / chunk

    chunks = max(1, samples // chunk)
    covariance = jnp.mean(jax.lax.map(chunk_moments, jax.random.split(key, chunks)), axis=0)
    dual = solve(ntk_train, targets)
    spread = solve(ntk_train, solve(ntk_train, nngp_train).T)
    return WidthTimesVariance(jnp.einsum("n,tnm,m->t", dual, covariance, dual), jnp.einsum("tnm,mn->t", covariance, spread))
