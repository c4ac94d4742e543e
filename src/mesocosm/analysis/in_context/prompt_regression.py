r"""What a predictor of outputs in context explains, and reference predictors that see the context alone: ridge regression, and a search for the task's code.

Arrays of a prompt have one row per pair or query (`mesocosm.tasks.hyperteacher.Prompt`); use `jax.vmap` for batches.

Reference: Kobayashi et al., "When can transformers compositionally generalize in-context?" (arXiv 2407.12275), Sec. 3.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mesocosm.numerics.levenberg_marquardt import levenberg_marquardt
from mesocosm.numerics.linear_algebra import solve_positive
from mesocosm.numerics.precision import full_precision

Scalar = float | Float[Array, ""]


# --- scores -----------------------------------------------------------------------------------------------------------


class Score(NamedTuple):
    """A coefficient of determination, pooled over tasks.

    Attributes:
        value: 1 minus the mean squared error over that of the mean of the context's outputs.
        error: its standard error over tasks, by the delta method.
    """

    value: Float[Array, ""]
    error: Float[Array, ""]


def explained_by_context(
    predictions: Float[Array, "tasks queries outputs"], targets: Float[Array, "tasks queries outputs"], seen: Float[Array, "tasks pairs outputs"]
) -> Score:
    r"""$R^2 = 1 - \bar e / \bar b$, where e is a task's squared error at the queries and b that of the mean of the outputs in its context.

    It is negative for predictions that are worse than the context's mean.

    Args:
        predictions: at the queries.
        targets: the outputs there.
        seen: the outputs in the context.

    Raises:
        ValueError: predictions and targets have different shapes, or the contexts have another number of tasks or outputs.
    """
    if predictions.shape != targets.shape:
        raise ValueError(f"predictions of shape {predictions.shape} are scored against targets of shape {targets.shape}; they must be equal")
    if seen.ndim != 3 or seen.shape[::2] != targets.shape[::2]:
        raise ValueError(f"the outputs in the context have shape {seen.shape}; those at the queries have {targets.shape}, (tasks, queries, outputs)")
    errors = jnp.mean((predictions - targets) ** 2, axis=(1, 2))
    base = jnp.mean((jnp.mean(seen, axis=1, keepdims=True) - targets) ** 2, axis=(1, 2))
    share = jnp.mean(errors) / jnp.mean(base)
    spread = jnp.std(errors - share * base, ddof=1) / jnp.mean(base)
    return Score(1 - share, spread / len(errors) ** 0.5)


@full_precision
def decoded(
    features: Float[Array, "n features"],
    labels: Float[Array, "n labels"],
    other_features: Float[Array, "m features"],
    other_labels: Float[Array, "m labels"],
    *,
    strength: Scalar = 1.0,
) -> Float[Array, ""]:
    r"""R^2 of ridge regression with an offset, $\min \|F W + c - Z\|^2 + \lambda \|W\|^2$, fitted on some examples and scored on others.

    It is pooled over labels: 1 minus the sum of all squared errors over that of the deviations from the labels' means in the scored examples.

    Args:
        features, labels: what is fitted.
        other_features, other_labels: what is scored.
        strength: $\lambda$; the offset is not penalised.

    Raises:
        ValueError: features and labels have different numbers of examples.
    """
    for rows, named in ((features, labels), (other_features, other_labels)):
        if len(rows) != len(named):
            raise ValueError(f"{len(rows)} examples have features and {len(named)} have labels")
    feature_means, label_means = jnp.mean(features, axis=0), jnp.mean(labels, axis=0)
    weights = ridge_weights(features - feature_means, labels - label_means, strength)
    misses = (other_features - feature_means) @ weights + label_means - other_labels
    return 1 - jnp.sum(misses**2) / jnp.sum((other_labels - jnp.mean(other_labels, axis=0)) ** 2)


# --- reference predictors ---------------------------------------------------------------------------------------------


def ridge_weights(features: Float[Array, "n features"], targets: Float[Array, "n outputs"], strength: Scalar) -> Float[Array, "features outputs"]:
    r"""$W = (F^\top F + \lambda I)^{-1} F^\top Y$, which is $F^\top (F F^\top + \lambda I)^{-1} Y$; the smaller matrix is inverted."""
    examples, width = features.shape
    if examples < width:
        return features.T @ solve_positive(features @ features.T + strength * jnp.eye(examples), targets)
    return solve_positive(features.T @ features + strength * jnp.eye(width), features.T @ targets)


@full_precision
def ridge_predictions(
    features: Callable[[Array], Array],
    strength: Scalar,
    inputs: Float[Array, "pairs inputs"],
    outputs: Float[Array, "pairs outputs"],
    queries: Float[Array, "queries inputs"],
) -> Float[Array, "queries outputs"]:
    """Ridge regression of outputs on features of inputs, in one context.

    Args:
        features: inputs (n, inputs) -> features (n, features); `affine_features`, or random ones.
        strength: of the penalty.
        inputs, outputs: the context.
        queries: inputs at which to predict.
    """
    return features(queries) @ ridge_weights(features(inputs), outputs, strength)


def affine_features(x: Float[Array, "n inputs"]) -> Float[Array, "n inputs_plus_1"]:
    """$[1; x]$."""
    return jnp.concatenate([jnp.ones_like(x[:, :1]), x], axis=1)


def random_features(weights: Float[Array, "features inputs"], x: Float[Array, "n inputs"]) -> Float[Array, "n more"]:
    r"""$[1; \mathrm{gelu}(V x)]$ with given random weights V."""
    return affine_features(jax.nn.gelu(x @ weights.T))


def search_code(
    execute: Callable[[Array, Array], Array],
    inputs: Float[Array, "pairs inputs"],
    outputs: Float[Array, "pairs outputs"],
    starts: Float[Array, "starts code"],
    *,
    steps: int = 30,
) -> Float[Array, " code"]:
    r"""The code with which an executor fits a context best, $\arg\min_z \sum_i \|\mathrm{execute}(z, x_i) - y_i\|^2$, by Levenberg and Marquardt's method.

    With the task's own modules this is the oracle of inference; with learned ones, what inference costs a model.

    Args:
        execute: (code, inputs) -> outputs.
        inputs, outputs: the context.
        starts: codes to start from; the best result counts, and one that is not a number does not.
        steps: iterations from each.
    """

    def residuals(code: Array) -> Array:
        return (execute(code, inputs) - outputs).reshape(-1)

    def linearise(code: Array) -> tuple[Array, Array]:
        return residuals(code), jax.jacfwd(residuals)(code)

    found = jax.vmap(lambda start: levenberg_marquardt(linearise, start, steps=steps))(starts)
    return found.parameters[jnp.argmin(jnp.where(jnp.isnan(found.loss), jnp.inf, found.loss))]
