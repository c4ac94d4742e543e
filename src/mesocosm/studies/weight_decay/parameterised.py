"""The study's only Learner: it learns a matrix, directly or as a product of two factors, with any optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mesocosm.analysis.spectra.adamw_fixed_point import Line
from mesocosm.analysis.spectra.low_rank_law import Factors
from mesocosm.learning import optimizers
from mesocosm.learning.gradient_learner import GradientLearner, GradientState, Metrics, Transform


class Whole(NamedTuple):
    """The matrix itself."""

    w: Float[Array, "*batch m n"]


class Chain(NamedTuple):
    """Three matrices, $W = A B C$."""

    a: Float[Array, "*batch m r"]
    b: Float[Array, "*batch r s"]
    c: Float[Array, "*batch s n"]


def product_of(model: Factors | Whole | Chain) -> Float[Array, "*batch m n"]:
    """The matrix that the model represents."""
    if isinstance(model, Whole):
        return model.w
    return model.a @ model.b @ model.c if isinstance(model, Chain) else model.a @ jnp.swapaxes(model.b, -1, -2)


class MatrixProblem(NamedTuple):
    """The model of `MatrixLearner`; only the parameters are trained.

    Attributes:
        parameters: factors, or the matrix.
        problem: what the replicate drew to learn.
    """

    parameters: Any
    problem: Any


class MatrixLearner(GradientLearner):
    r"""Minimise $L(W)$ over the parameters of $W$, on fresh data each step.

    Attributes:
        build: key -> `MatrixProblem`.
        loss: (product, problem, key) -> scalar.
        optimizer: hyperparameters -> optax transformation, including the decay.
        hyperparameters: passed to `optimizer` by name; traced.
    """

    build: Callable[[Any], MatrixProblem]
    loss: Callable[[Any, Any, Any], Any]
    optimizer: Callable[..., Transform]
    hyperparameters: Mapping[str, Any]

    def trained(self, model: MatrixProblem) -> MatrixProblem:
        """The parameters alone."""
        return MatrixProblem(True, False)

    def batch(self, model: MatrixProblem, key: Key[Array, ""]) -> None:
        """None: the loss draws its own data."""

    def objective(self, model: MatrixProblem, batch: None, key: Key[Array, ""]) -> tuple[Float[Array, ""], Metrics]:
        """The loss of the product."""
        return self.loss(product_of(model.parameters), model.problem, key), {}

    def model(self, state: GradientState) -> Any:
        """The parameters."""
        return state.model.parameters


def parameters(learner: MatrixLearner, state: GradientState, key: Any) -> dict[str, Array]:
    """A probe that records the parameters."""
    return learner.model(state)._asdict()


# --- optimisers, with a decay for each parameter by name: `a`, `b` and `c`, or `w` ---------------------------------------


def gradient_descent(learning_rate: Any, **decays: Any) -> Transform:
    """Gradient descent, for which coupled and decoupled decay are the same."""
    return optimizers.sgd(learning_rate, l2=_by_name(decays))


def accelerated_descent(learning_rate: Any, momentum: Any, **decays: Any) -> Transform:
    """The same with Nesterov momentum, to reach a minimum rather than follow the law."""
    return optimizers.sgd(learning_rate, momentum=momentum, nesterov=True, l2=_by_name(decays))


def adam_l2(learning_rate: Any, steps: Any, **decays: Any) -> Transform:
    """Adam on the gradient of the regularised loss; the learning rate falls to zero along half a cosine."""
    return optimizers.adamw(learning_rate, steps=steps, l2=_by_name(decays))


def adamw(learning_rate: Any, steps: Any, **decays: Any) -> Transform:
    """AdamW; learning rate and decay fall to zero along half a cosine."""
    return optimizers.adamw(learning_rate, steps=steps, weight_decay=_by_name(decays))


def steady_adam_l2(learning_rate: Any, epsilon: Any, b2: Any, **decays: Any) -> Transform:
    """Adam with a constant learning rate on the gradient of the regularised loss."""
    return optimizers.adamw(learning_rate, eps=epsilon, b2=b2, l2=_by_name(decays))


def steady_adamw(learning_rate: Any, epsilon: Any, b2: Any, **decays: Any) -> Transform:
    """AdamW with a constant learning rate, which comes to rest if gradients have no noise."""
    return optimizers.adamw(learning_rate, eps=epsilon, b2=b2, weight_decay=_by_name(decays))


def _by_name(decays: Mapping[str, Any]) -> dict[str, Any]:
    return {rf"(^|\.){name}$": rate for name, rate in decays.items()}


# --- losses ---------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A matrix to approximate.

    Attributes:
        matrix: the target itself.
        noise: standard deviation of fresh noise added to it at every step, which is the gradient's noise.
    """

    matrix: Float[Array, "*batch m n"]
    noise: Float[Array, ""]


def approximation_loss(product: Array, target: Target, key: Any) -> Float[Array, ""]:
    r"""$\frac12 \|W - M - \sigma \xi\|_F^2$ with fresh normal $\xi$; the half makes the threshold $\lambda$ itself."""
    noise = target.noise * jax.random.normal(key, product.shape, product.dtype)
    return jnp.sum((product - target.matrix - noise) ** 2) / 2


def line_loss(line: Line, product: Array, problem: Any, key: Any = None) -> Float[Array, ""]:
    """The squared distance of two scalars, shape (2, 1, 1), to a line."""
    return line.loss(product[:, 0, 0])


class Measurements(NamedTuple):
    """Linear measurements of a matrix, $y_i = \\langle X_i, M \\rangle$ with noise."""

    matrices: Float[Array, "n rows columns"]
    values: Float[Array, " n"]


def measurement_loss(product: Array, problem: Measurements, key: Any = None) -> Float[Array, ""]:
    r"""$\frac12 \sum_i (\langle X_i, W \rangle - y_i)^2$, convex in $W$; its minima under a nuclear norm have no closed form."""
    return jnp.sum((jnp.einsum("nij,ij->n", problem.matrices, product) - problem.values) ** 2) / 2


def robust_loss(product: Array, problem: Measurements, key: Any = None) -> Float[Array, ""]:
    r"""$\sum_i \log\cosh(\langle X_i, W \rangle - y_i)$, convex and not quadratic, since the law holds for any loss."""
    error = jnp.einsum("nij,ij->n", problem.matrices, product) - problem.values
    return jnp.sum(jnp.logaddexp(error, -error) - jnp.log(2.0))


class Teacher(NamedTuple):
    """A linear map to imitate, the noise of its outputs, and an array of the batch's length."""

    matrix: Float[Array, "outputs inputs"]
    noise: Float[Array, ""]
    batch: Float[Array, " batch"]


def regression_loss(product: Array, teacher: Teacher, key: Any) -> Float[Array, ""]:
    r"""Half the squared error of $W x$, summed over outputs, on a fresh batch of $x \sim N(0, I)$ with noisy targets."""
    batch, (outputs, inputs) = teacher.batch.shape[0], teacher.matrix.shape
    drawn = jax.random.normal(key, (batch, inputs + outputs), product.dtype)
    x, noise = drawn[:, :inputs], teacher.noise * drawn[:, inputs:]
    return jnp.sum((x @ (product - teacher.matrix).T - noise) ** 2) / (2 * batch)
