r"""Reference predictors for in-context regression: gradient descent, ridge regression and polynomials in between, at all positions at once.

A predictor maps the inputs $s_1, \dots, s_T$ of one sequence to predictions $f_1, \dots, f_T$, where $f_t$ depends only on $s_1, \dots, s_t$ and is compared
with $s_{t+1}$ (`mesocosm.tasks.linear_systems.per_position_loss`). Use `jax.vmap` for batches. All but gradient descent and the softmax kernel have the form

$$f_t = C_t\, X(A_t)\, s_t, \quad C_t = \sum_{t' \le t} s_{t'} s_{t'-1}^\top, \quad A_t = \sum_{t' \le t} s_{t'-1} s_{t'-1}^\top + \rho I, \quad s_0 := 0,$$

with $\rho$ the ridge ($1/\lambda$ in the paper) and $X(A)$ the inverse of $A$ or an approximation of it that $k$ layers of linear attention can compute.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (arXiv 2309.05858), Prop. 1 and 2.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.numerics.edges import ratio, root
from mesocosm.numerics.linear_algebra import solve_positive
from mesocosm.numerics.precision import full_precision
from mesocosm.numerics.programs import filter_jit
from mesocosm.tasks.linear_systems import next_token_loss

Scalar = float | Float[Array, ""]


class Inverse(eqx.Module):
    r"""A map $A, b \mapsto X(A)\, b$ near $A^{-1} b$ for symmetric positive definite $A$; $b$ is a vector or a matrix of columns.

    Approximations that scale by the size of $A$ map everything to 0 if $A$ is 0, as its pseudo-inverse does.
    """

    @abc.abstractmethod
    def __call__(self, matrix: Float[Array, "dim dim"], right: Float[Array, "dim *columns"]) -> Float[Array, "dim *columns"]:
        """Apply $X(A)$ to `right`."""


class ExactInverse(Inverse):
    r"""$X(A)\, b = A^{-1} b$, by Cholesky decomposition."""

    def __call__(self, matrix: Float[Array, "dim dim"], right: Float[Array, "dim *columns"]) -> Float[Array, "dim *columns"]:
        """Solve $A x = b$."""
        return solve_positive(matrix, right)


class ChebyshevInverse(Inverse):
    r"""The paper's learned polynomial with momentum, $k$ steps (the baseline of all its curves named after Prop. 2).

    $$p_j = (I - \alpha_j \bar A)\, p_{j-1}, \quad x_j = x_{j-1} + p_j + \beta_j (x_{j-1} - x_{j-2}), \quad X(A)\, b = x_k / \|A\|_F,$$

    with $\bar A = A / \|A\|_F$ and $p_0 = x_0 = x_{-1} = b$. This is a polynomial of degree $k$ in $A$, applied to $b$ by matrix-vector products alone.
    $\alpha = 1, \beta = 0$ is the Neumann series; $\beta_1$ has no effect. `fit_inverse` learns $\alpha$ and $\beta$.
    """

    step_sizes: Float[Array, " steps"]
    momenta: Float[Array, " steps"]

    @classmethod
    def neumann(cls, steps: int) -> "ChebyshevInverse":
        r"""The starting point of learning: $\alpha = 1$, $\beta = 0$."""
        return cls(jnp.ones(steps), jnp.zeros(steps))

    def __call__(self, matrix: Float[Array, "dim dim"], right: Float[Array, "dim *columns"]) -> Float[Array, "dim *columns"]:
        """Apply the polynomial to `right`."""
        norm = root(jnp.sum(matrix**2))
        scaled = ratio(matrix, norm)

        def step(carry: tuple[Array, Array, Array], numbers: tuple[Array, Array]) -> tuple[tuple[Array, Array, Array], None]:
            term, x, x_before = carry
            step_size, momentum = numbers
            term = term - step_size * (scaled @ term)
            return (term, x + term + momentum * (x - x_before), x), None

        (_, x, _), _ = jax.lax.scan(step, (right, right, right), (self.step_sizes, self.momenta))
        return ratio(x, norm)


class NeumannInverse(Inverse):
    r"""The truncated Neumann series with one norm for all matrices, $X(A) = \frac{1}{c} \sum_{j=0}^{k} (I - A/c)^j$.

    It converges iff all eigenvalues of $A$ lie in $(0, 2c)$. The authors' code uses $c = 70$.
    """

    norm: Scalar = 70.0
    steps: int = eqx.field(static=True, default=6)

    def __call__(self, matrix: Float[Array, "dim dim"], right: Float[Array, "dim *columns"]) -> Float[Array, "dim *columns"]:
        """Apply the series to `right`."""
        return jax.lax.fori_loop(0, self.steps, lambda _, x: right + x - matrix @ x / self.norm, right) / self.norm


class RichardsonInverse(Inverse):
    r"""Richardson's iteration with one step size per step, $x_j = x_{j-1} + \omega_j (b - \bar A x_{j-1})$, $X(A)\, b = x_k / \|A\|_F$.

    Here $\bar A = A / \|A\|_F$ and $x_0 = b$. $\omega = 1$ gives the Neumann series.
    """

    step_sizes: Float[Array, " steps"]

    def __call__(self, matrix: Float[Array, "dim dim"], right: Float[Array, "dim *columns"]) -> Float[Array, "dim *columns"]:
        """Iterate towards $A^{-1} b$."""
        norm = root(jnp.sum(matrix**2))
        scaled = ratio(matrix, norm)
        x, _ = jax.lax.scan(lambda x, step_size: (x + step_size * (right - scaled @ x), None), right, self.step_sizes)
        return ratio(x, norm)


class NewtonSchulzInverse(Inverse):
    r"""Newton's method for the inverse, $X_j = X_{j-1} (2I - A X_{j-1})$ from $X_0 = I / \mathrm{tr} A$: the residual $I - AX$ is squared at every step."""

    steps: int = eqx.field(static=True, default=16)

    def __call__(self, matrix: Float[Array, "dim dim"], right: Float[Array, "dim *columns"]) -> Float[Array, "dim *columns"]:
        """Iterate towards $A^{-1}$ and apply it to `right`."""
        start = ratio(jnp.eye(matrix.shape[0], dtype=matrix.dtype), jnp.trace(matrix))
        return jax.lax.fori_loop(0, self.steps, lambda _, x: 2 * x - x @ (matrix @ x), start) @ right


class Moments(NamedTuple):
    r"""Sums over the pairs $(s_{t'-1}, s_{t'})$ known at each position.

    Attributes:
        cross: $C_t = \sum_{t'} s_{t'} s_{t'-1}^\top$.
        gram: $\sum_{t'} s_{t'-1} s_{t'-1}^\top$, without the ridge.
    """

    cross: Float[Array, "time dim dim"]
    gram: Float[Array, "time dim dim"]


@full_precision
def prefix_moments(inputs: Float[Array, "time dim"], *, include_last_pair: bool = True) -> Moments:
    r"""Compute the moments of all prefixes.

    Args:
        inputs: $s_1, \dots, s_T$.
        include_last_pair: whether the newest pair $(s_{t-1}, s_t)$ counts at position $t$. True matches the theory and what attention can see; False matches
            the authors' code for its least-squares and Prop.-2 curves. In the main task, ridge regression has loss 0.186 with it and 0.211 without.
    """
    previous = jnp.concatenate([jnp.zeros_like(inputs[:1]), inputs[:-1]])
    known = jnp.tri(len(inputs), k=0 if include_last_pair else -1, dtype=inputs.dtype)
    cross = jnp.einsum("ut,ti,tj->uij", known, inputs, previous)
    gram = jnp.einsum("ut,ti,tj->uij", known, previous, previous)
    return Moments(cross, gram)


@full_precision
def precondition(inputs: Float[Array, "time dim"], inverse: Inverse, *, ridge: Scalar = 1e-3, include_last_pair: bool = True) -> Float[Array, "time dim"]:
    r"""Compute $x_t = X(A_t)\, s_t$ at every position: the input, whitened by the inputs before it."""
    return _precondition(inputs, prefix_moments(inputs, include_last_pair=include_last_pair).gram, inverse, ridge)


@full_precision
def least_squares(
    inputs: Float[Array, "time dim"], inverse: Inverse | None = None, *, ridge: Scalar = 1e-3, include_last_pair: bool = True
) -> Float[Array, "time dim"]:
    r"""Predict $f_t = C_t X(A_t) s_t$; with the default exact inverse, this is ridge regression in context:

    $$f_t = \hat\Phi_t s_t, \quad \hat\Phi_t = \arg\min_\Phi \tfrac12 \sum_{t' \le t} \|s_{t'} - \Phi s_{t'-1}\|^2 + \tfrac{\rho}{2} \|\Phi\|_F^2.$$

    The ridge must be positive while fewer than `dim` pairs are known.
    """
    moments = prefix_moments(inputs, include_last_pair=include_last_pair)
    preconditioned = _precondition(inputs, moments.gram, ExactInverse() if inverse is None else inverse, ridge)
    return jnp.einsum("tij,tj->ti", moments.cross, preconditioned)


def _precondition(inputs: Float[Array, "time dim"], gram: Float[Array, "time dim dim"], inverse: Inverse, ridge: Scalar) -> Float[Array, "time dim"]:
    return jax.vmap(inverse)(gram + ridge * jnp.eye(inputs.shape[-1], dtype=inputs.dtype), inputs)


@full_precision
def gradient_step(inputs: Float[Array, "time dim"], step_size: Scalar) -> Float[Array, "time dim"]:
    r"""Predict with one step of gradient descent from $\Phi_0 = 0$ on the squared error of the pairs seen so far,

    $$f_t = \eta \sum_{t'=2}^{t} s_{t'} \langle s_{t'-1}, s_t \rangle.$$

    One head of linear attention computes this (Prop. 1).
    """
    previous = jnp.concatenate([jnp.zeros_like(inputs[:1]), inputs[:-1]])
    return step_size * (jnp.tril(inputs @ previous.T) @ inputs)


def line_search(sequences: Float[Array, "batch time_plus_1 dim"]) -> Float[Array, ""]:
    r"""Find the step size of `gradient_step` with the least next-token loss on given sequences, in closed form.

    The loss is quadratic in $\eta$, so with $g_t$ the prediction at $\eta = 1$ the optimum is $\eta^* = \sum \langle g_t, s_{t+1} \rangle / \sum \|g_t\|^2$.
    """
    unit = jax.vmap(gradient_step, in_axes=(0, None))(sequences[:, :-1], 1.0)
    return ratio(jnp.sum(unit * sequences[:, 1:]), jnp.sum(unit * unit))


@full_precision
def softmax_regression(inputs: Float[Array, "time dim"], inverse_temperature: Scalar) -> Float[Array, "time dim"]:
    r"""Predict with a softmax kernel over the pairs seen so far, $f_1 = 0$ and

    $$f_t = \sum_{t'<t} \mathrm{softmax}_{t'}(\beta \langle s_{t'}, s_t \rangle)\, s_{t'+1}.$$

    This is the algorithm of a softmax induction head. Unlike least squares, it suffers from the curse of dimensionality.
    """
    earlier = jnp.tri(len(inputs), k=-1, dtype=bool)
    logits = jnp.where(earlier, inverse_temperature * (inputs @ inputs.T), -jnp.inf).at[0].set(0.0)  # position 1 has no pair: any finite row
    weights = jnp.where(earlier, jax.nn.softmax(logits, axis=-1), 0.0)
    return weights[:, :-1] @ inputs[1:]


def grid_search(
    predictor: Callable[[Float[Array, "time dim"], Float[Array, ""]], Float[Array, "time dim"]],
    values: Float[Array, " values"],
    sequences: Float[Array, "batch time_plus_1 dim"],
) -> Float[Array, " values"]:
    """Compute the next-token loss of `predictor(inputs, value)` for each value of its parameter (a step size, ridge or temperature), one at a time."""

    def loss(value: Float[Array, ""]) -> Float[Array, ""]:
        return next_token_loss(jax.vmap(predictor, in_axes=(0, None))(sequences[:, :-1], value), sequences[:, 1:])

    return jax.lax.map(loss, values)


Fitted = TypeVar("Fitted", bound=Inverse)


@filter_jit
def fit_inverse(
    inverse: Fitted,
    sequences: Float[Array, "batch time_plus_1 dim"],
    key: PRNGKeyArray,
    *,
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: Scalar = 1e-2,
    ridge: Scalar = 1e-3,
    include_last_pair: bool = True,
) -> tuple[Fitted, Float[Array, " steps"]]:
    """Learn the numbers of an approximate inverse, such as `ChebyshevInverse.neumann(6)`, by Adam on the next-token loss of `least_squares`.

    This does not use the network that is to be explained. Every step draws `batch_size` sequences with replacement.

    Returns:
        the fitted inverse, and the loss of each step on its own minibatch before the step.
    """
    numbers, rest = eqx.partition(inverse, eqx.is_inexact_array)
    optimizer = optax.adam(learning_rate)

    def loss(numbers: Fitted, chosen: Float[Array, "minibatch time_plus_1 dim"]) -> Float[Array, ""]:
        polynomial = eqx.combine(numbers, rest)
        predictions = jax.vmap(lambda inputs: least_squares(inputs, polynomial, ridge=ridge, include_last_pair=include_last_pair))(chosen[:, :-1])
        return next_token_loss(predictions, chosen[:, 1:])

    def step(carry: tuple[Fitted, optax.OptState], key: PRNGKeyArray) -> tuple[tuple[Fitted, optax.OptState], Float[Array, ""]]:
        numbers, state = carry
        chosen = sequences[jax.random.randint(key, (batch_size,), 0, len(sequences))]
        value, gradient = jax.value_and_grad(loss)(numbers, chosen)
        updates, state = optimizer.update(gradient, state)
        return (eqx.apply_updates(numbers, updates), state), value

    (numbers, _), losses = jax.lax.scan(step, (numbers, optimizer.init(numbers)), jax.random.split(key, steps))
    return eqx.combine(numbers, rest), losses
