r"""Linear probes in closed form: how much of a quantity a linear map can read from a layer's activations.

$$\min_{W, b} \frac{1}{2B} \sum_b \|y_b - W^\top a_b - b\|^2$$

There is one probe per site (a layer, a position, a seed). Leading axes `*sites` broadcast between activations, targets and weights as in
NumPy, so all sites are solved together: activations may have shape (layers, time, batch, dim) and targets (time, batch, outputs).

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (arXiv 2309.05858), Fig. 4E, 4F and 6.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mesocosm.analysis.in_context.regression import Inverse, precondition
from mesocosm.numerics.edges import ratio
from mesocosm.numerics.linear_algebra import least_squares
from mesocosm.numerics.precision import full_precision, widened
from mesocosm.numerics.programs import filter_jit

Scalar = float | Float[Array, ""]
Weights = Float[Array, "*weight_sites batch"] | Bool[Array, "*weight_sites batch"]


class Probe(NamedTuple):
    """An affine map from activations to a target.

    Attributes:
        weight: $W$.
        offset: $b$.
    """

    weight: Float[Array, "*sites dim outputs"]
    offset: Float[Array, "*sites outputs"]


class ProbeData(NamedTuple):
    """What a probe is fitted on, or evaluated on.

    Attributes:
        activations: what is read.
        targets: what should be found there.
        weights: how much each example counts; None for all alike.
    """

    activations: Float[Array, "*sites batch dim"]
    targets: Float[Array, "*target_sites batch outputs"]
    weights: Weights | None = None


class ProbeLosses(NamedTuple):
    """Loss on the examples used to fit the probe, and on others.

    For a target of pure noise, fitting $D$ regressors to $B$ examples reduces the loss on these examples by the factor $1 - D/B$ in expectation.
    """

    in_sample: Float[Array, "*sites"]
    held_out: Float[Array, "*sites"]


class PreconditioningTarget(NamedTuple):
    r"""The preconditioned inputs of a batch, and a mask of typical examples.

    Attributes:
        targets: $x_t = X(A_t)\, s_t$.
        typical: False if $\|x_t\|$ exceeds the batch's mean at that position by more than two standard deviations.
    """

    targets: Float[Array, "time batch dim"]
    typical: Bool[Array, "time batch"]


@filter_jit
@full_precision
def fit_probe(
    activations: Float[Array, "*sites batch dim"],
    targets: Float[Array, "*target_sites batch outputs"],
    weights: Weights | None = None,
    *,
    offset: bool = True,
) -> Probe:
    """Fit one probe at every site by least squares, with minimum norm if activations are linearly dependent.

    Args:
        activations: the probe's inputs.
        targets: the quantity to decode.
        weights: non-negative weight of each example; a mask drops examples without changing shapes.
        offset: whether the probe has an offset $b$; otherwise $b = 0$.
    """
    activations, targets, weights = _sites(activations, targets, weights)
    solve = _fit_affine if offset else _fit_linear
    return Probe(*jnp.vectorize(solve, signature="(b,d),(b,o),(b)->(d,o),(o)")(activations, targets, weights))


@full_precision
def probe_loss(
    probe: Probe, activations: Float[Array, "*sites batch dim"], targets: Float[Array, "*target_sites batch outputs"], weights: Weights | None = None
) -> Float[Array, "*sites"]:
    r"""$\frac{1}{2B} \sum_b \|y_b - W^\top a_b - b\|^2$ at every site: a sum over outputs, not a mean.

    With weights, $\sum_b w_b \|y_b - W^\top a_b - b\|^2 / (2 \sum_b w_b)$; NaN if they are all 0, where `fit_probe` gives a probe of zeros.
    """
    activations, targets, weights = _sites(activations, targets, weights)
    residuals = targets - (activations @ probe.weight + probe.offset[..., None, :])
    return 0.5 * jnp.sum(weights * jnp.sum(residuals**2, axis=-1), axis=-1) / jnp.sum(weights, axis=-1)


def probe_losses(fitted_on: ProbeData, held_out: ProbeData, *, offset: bool = True) -> ProbeLosses:
    """Fit a probe at every site on one batch, and evaluate it on the same batch (as in the paper) and on another."""
    probe = fit_probe(*fitted_on, offset=offset)
    return ProbeLosses(probe_loss(probe, *fitted_on), probe_loss(probe, *held_out))


def preconditioning_target(
    inputs: Float[Array, "batch time dim"], inverse: Inverse, *, ridge: Scalar = 1e-3, include_last_pair: bool = False
) -> PreconditioningTarget:
    r"""Compute the probe targets $x_t = X(A_t)\, s_t$ at every position: the last layer's input if earlier layers invert the Gram matrix of the inputs.

    $x_t$ has heavy tails while fewer than `dim` pairs are known: examples beyond mean + 2 standard deviations of $\|x_t\|$ are marked, and only later positions
    are meaningful. As in the authors' code, the newest pair does not count unless `include_last_pair`.
    """
    targets = jax.vmap(lambda sequence: precondition(sequence, inverse, ridge=ridge, include_last_pair=include_last_pair))(inputs)
    targets = jnp.moveaxis(targets, 0, 1)
    norms = jnp.linalg.norm(targets, axis=-1)
    return PreconditioningTarget(targets, norms <= norms.mean(-1, keepdims=True) + 2 * norms.std(-1, keepdims=True))


def _sites(activations: Array, targets: Array, weights: Array | None) -> tuple[Array, Array, Array]:
    """Check the number of examples, and fill in missing weights and masks."""
    activations, targets = widened(activations), widened(targets)
    weights = jnp.ones(activations.shape[-2:-1], activations.dtype) if weights is None else weights.astype(activations.dtype)
    if not activations.shape[-2] == targets.shape[-2] == weights.shape[-1]:
        raise ValueError(f"{activations.shape[-2]} examples of activations, {targets.shape[-2]} of targets and {weights.shape[-1]} weights differ in number")
    return activations, targets, weights


def _fit_linear(activations: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    root = jnp.sqrt(weights)[:, None]
    return least_squares(root * activations, root * targets), jnp.zeros_like(targets[0])


def _fit_affine(activations: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    # Least squares with an offset equals least squares without one after centring both sides.
    share = ratio(weights, weights.sum())
    activation_mean, target_mean = share @ activations, share @ targets
    weight, _ = _fit_linear(activations - activation_mean, targets - target_mean, weights)
    return weight, target_mean - activation_mean @ weight
