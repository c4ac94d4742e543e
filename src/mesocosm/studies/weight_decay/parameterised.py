"""The study's only Learner: it learns a matrix, directly or as a product of two factors, with any optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from mesocosm.analysis.spectra.low_rank_law import Factors
from mesocosm.learning.learner import Learner
from mesocosm.learning.named_decay import decay_by_name


class Whole(NamedTuple):
    """The matrix itself."""

    w: Float[Array, "*batch m n"]


def product_of(model: Factors | Whole) -> Float[Array, "*batch m n"]:
    """The matrix that the model represents."""
    return model.w if isinstance(model, Whole) else model.a @ jnp.swapaxes(model.b, -1, -2)


class MatrixState(NamedTuple):
    """State of `MatrixLearner`.

    Attributes:
        model: the factors, or the matrix.
        problem: the replicate's problem.
        optimizer: the optax state.
    """

    model: Any
    problem: Any
    optimizer: PyTree


class MatrixLearner(Learner):
    r"""Minimise $L(W)$ over the parameters of $W$, on fresh data each step.

    Attributes:
        draw: key -> (model, problem).
        loss: (product, problem, key) -> scalar.
        optimizer: hyperparameters -> optax transformation, including the decay.
        hyperparameters: passed to `optimizer` by name; traced.
    """

    draw: Callable[[Any], tuple[Any, Any]]
    loss: Callable[[Any, Any, Any], Any]
    optimizer: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, Any]

    def init(self, key: Key[Array, ""]) -> MatrixState:
        """Draw the problem and the parameters."""
        model, problem = self.draw(key)
        return MatrixState(model, problem, self.optimizer(**self.hyperparameters).init(model))

    def update(self, state: MatrixState, key: Key[Array, ""]) -> tuple[MatrixState, dict[str, Float[Array, ""]]]:
        """Take one optimiser step."""
        loss, gradient = jax.value_and_grad(lambda model: self.loss(product_of(model), state.problem, key))(state.model)
        updates, optimizer = self.optimizer(**self.hyperparameters).update(gradient, state.optimizer, state.model)
        return MatrixState(optax.apply_updates(state.model, updates), state.problem, optimizer), {"loss": loss}

    def model(self, state: MatrixState) -> Any:
        """The parameters."""
        return state.model


def parameters(learner: Any, state: MatrixState, key: Any) -> dict[str, Array]:
    """A probe that records the parameters."""
    return state.model._asdict()


# --- optimisers, with a decay for each parameter by name: `a` and `b`, or `w` ---------------------------------------


def gradient_descent(learning_rate: Any, **decays: Any) -> optax.GradientTransformation:
    """Gradient descent, for which L2 and decoupled decay are the same."""
    return optax.chain(_decay(decays), optax.scale_by_learning_rate(learning_rate))


def accelerated_descent(learning_rate: Any, momentum: Any, **decays: Any) -> optax.GradientTransformation:
    """The same with Nesterov momentum, to reach a minimum rather than follow the law."""
    return optax.chain(_decay(decays), optax.trace(momentum, nesterov=True), optax.scale_by_learning_rate(learning_rate))


def adam_l2(learning_rate: Any, steps: Any, **decays: Any) -> optax.GradientTransformation:
    """Adam on the gradient of the regularised loss; the learning rate falls to zero along half a cosine."""
    return optax.chain(_decay(decays), optax.scale_by_adam(), optax.scale_by_learning_rate(falling(learning_rate, steps)))


def adamw(learning_rate: Any, steps: Any, **decays: Any) -> optax.GradientTransformation:
    """Adam with decoupled decay; the decay falls with the learning rate."""
    return optax.chain(optax.scale_by_adam(), _decay(decays), optax.scale_by_learning_rate(falling(learning_rate, steps)))


def _decay(decays: Mapping[str, Any]) -> optax.GradientTransformation:
    return decay_by_name({f"^{name}$": rate for name, rate in decays.items()})


def falling(learning_rate: Any, steps: Any) -> Callable[[Any], Any]:
    """Half a cosine from `learning_rate` to zero."""
    return lambda count: learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count / steps, 1.0)))


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
