r"""Sequences from fully observed linear dynamical systems: to predict the next state, a network must identify the system in context.

Every sequence has its own transition matrix (or, as a control, all share one), so a network's weights cannot store it.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (arXiv 2309.05858), Sec. 3; initial states and clipping
follow the authors' code.
"""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.numerics.linear_algebra import solve
from mesocosm.tasks.task import Split, Task, reject_ood

Scalar = float | Float[Array, ""]


class Trajectory(NamedTuple):
    r"""One sequence of states and the system that generated it (or a batch, with the same leading axes in both fields).

    Attributes:
        observations: the states $s_1, \dots, s_{T+1}$.
        transition: the matrix $W$ of $s_{t+1} \approx W s_t$.
    """

    observations: Float[Array, "*batch time_plus_1 dim"]
    transition: Float[Array, "*batch dim dim"]

    @property
    def inputs(self) -> Float[Array, "*batch time dim"]:
        r"""Inputs of a predictor: $s_1, \dots, s_T$."""
        return self.observations[..., :-1, :]

    @property
    def targets(self) -> Float[Array, "*batch time dim"]:
        r"""Targets at each position: $s_2, \dots, s_{T+1}$."""
        return self.observations[..., 1:, :]


class Transition(eqx.Module):
    """A distribution over transition matrices $W$, shape (dim, dim)."""

    @abc.abstractmethod
    def __call__(self, key: PRNGKeyArray) -> Float[Array, "dim dim"]:
        """Draw one matrix."""


class OrthogonalTransition(Transition):
    r"""$W$ from the Haar measure on the orthogonal group: $W^\top W = I$, and $QW$ is distributed as $W$ for every orthogonal $Q$."""

    dim: int = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray) -> Float[Array, "dim dim"]:
        """Draw one matrix."""
        return haar_orthogonal(key, self.dim)


class ContractingTransition(Transition):
    r"""$W = M \,\mathrm{diag}(l)\, M^{-1}$, $M_{ij} \sim N(0, 1)$; one eigenvalue is `largest`, the others are uniform between `smallest` and `largest`.

    $W$ is not normal: if $M$ is badly conditioned, states grow at first, hence the tighter clipping of `LinearSystems.contracting`.
    """

    dim: int = eqx.field(static=True)
    smallest: Scalar = 0.3
    largest: Scalar = 0.9

    def __call__(self, key: PRNGKeyArray) -> Float[Array, "dim dim"]:
        """Draw one matrix."""
        basis_key, eigenvalue_key = jax.random.split(key)
        basis = jax.random.normal(basis_key, (self.dim, self.dim))
        # The columns of M are exchangeable, so the position of the largest eigenvalue does not matter.
        eigenvalues = jax.random.uniform(eigenvalue_key, (self.dim,), minval=self.smallest, maxval=self.largest).at[0].set(self.largest)
        return solve(basis.T, (basis * eigenvalues).T).T


class FixedTransition(Transition):
    """Always the same $W$, an array leaf. In this control, a network can store the system in its weights."""

    matrix: Float[Array, "dim dim"]

    @classmethod
    def draw(cls, key: PRNGKeyArray, dim: int) -> "FixedTransition":
        """Draw the one matrix from the Haar measure."""
        return cls(haar_orthogonal(key, dim))

    def __call__(self, key: PRNGKeyArray) -> Float[Array, "dim dim"]:
        """Return the matrix; the key is not used."""
        return self.matrix


class LinearSystems(Task[Trajectory]):
    r"""$s_1 \sim U(-a, a)^n, \quad s_{t+1} = \mathrm{clip}(W s_t + \epsilon_t, \pm c), \quad \epsilon_t \sim N(0, \sigma^2 I), \quad W \sim$ `transition`.

    The paper's text starts from $N(0, I)$; its code and all its stored results start from $U(-1, 1)^n$, as here. Train and iid sequences have the same
    distribution (pass them different keys); there is no ood split.

    Attributes:
        transition: the distribution of $W$, a new draw for every sequence.
        length: number $T$ of inputs; an example holds $T + 1$ states.
        noise: standard deviation $\sigma$.
        start: half-width $a$ of the initial distribution.
        clip: bound $c$ on every component of every state.
    """

    transition: Transition
    length: int = eqx.field(static=True, default=50)
    noise: Scalar = 0.01
    start: Scalar = 1.0
    clip: Scalar = 10.0

    def __check_init__(self):
        if self.length < 1:
            raise ValueError(f"a sequence needs at least 1 input, but length = {self.length}")

    @classmethod
    def orthogonal(cls, dim: int = 10, length: int = 50, noise: Scalar = 0.01, start: Scalar = 1.0, clip: Scalar = 10.0) -> "LinearSystems":
        """Make the paper's main task: a Haar-orthogonal system for every sequence."""
        return cls(OrthogonalTransition(dim), length, noise, start, clip)

    @classmethod
    def contracting(cls, dim: int = 10, length: int = 50, noise: Scalar = 0.01, start: Scalar = 1.0, clip: Scalar = 2.0) -> "LinearSystems":
        """Make the task of contracting systems, with eigenvalues between 0.3 and 0.9."""
        return cls(ContractingTransition(dim), length, noise, start, clip)

    @classmethod
    def fixed_teacher(
        cls, key: PRNGKeyArray, dim: int = 10, length: int = 50, noise: Scalar = 0.01, start: Scalar = 1.0, clip: Scalar = 10.0
    ) -> "LinearSystems":
        """Make the control with one orthogonal system for all sequences, drawn from `key` and held as an array leaf."""
        return cls(FixedTransition.draw(key, dim), length, noise, start, clip)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Trajectory:
        """Draw one sequence: observations (length + 1, dim) and transition (dim, dim)."""
        reject_ood(self, split)
        transition_key, start_key, noise_key = jax.random.split(key, 3)
        transition = self.transition(transition_key)
        dim = transition.shape[-1]
        first = jnp.clip(jax.random.uniform(start_key, (dim,), minval=-self.start, maxval=self.start), -self.clip, self.clip)
        noise = self.noise * jax.random.normal(noise_key, (self.length, dim))

        def advance(state: Float[Array, " dim"], noise: Float[Array, " dim"]) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
            state = jnp.clip(transition @ state + noise, -self.clip, self.clip)
            return state, state

        _, rest = jax.lax.scan(advance, first, noise)
        return Trajectory(jnp.concatenate([first[None], rest]), transition)


def haar_orthogonal(key: PRNGKeyArray, dim: int) -> Float[Array, "dim dim"]:
    r"""Draw an orthogonal matrix from the Haar measure, by Gram-Schmidt orthonormalisation of the rows of a Gaussian matrix.

    The result is exactly Haar, because Gram-Schmidt is the QR decomposition with a positive diagonal (Mezzadri, "How to generate random matrices from the
    classical compact groups", 2007). Each row is projected twice ("twice is enough"), so $W W^\top = I$ to a few units in the last place. For batches of 64
    matrices and more, this is at least as fast as LAPACK's QR on a CPU (the Gaussians are half of the cost), and it needs no LAPACK on an accelerator.
    """

    return orthonormal_rows(jax.random.normal(key, (dim, dim)))


def orthonormal_rows(matrix: Float[Array, "dim dim"]) -> Float[Array, "dim dim"]:
    r"""The Gram-Schmidt factor $Q$ of $M = LQ$, with $L$ lower triangular and a positive diagonal; each row is projected twice."""

    def orthonormalise(rows: Float[Array, "dim dim"], drawn: tuple[Array, Array]) -> tuple[Float[Array, "dim dim"], None]:
        index, row = drawn
        row = row - rows.T @ (rows @ row)  # rows not yet computed are zero
        row = row - rows.T @ (rows @ row)
        return rows.at[index].set(row / jnp.sqrt(row @ row)), None

    rows, _ = jax.lax.scan(orthonormalise, jnp.zeros_like(matrix), (jnp.arange(len(matrix)), matrix))
    return rows


def constructed_tokens(inputs: Float[Array, "*batch time dim"]) -> Float[Array, "*batch time four_dim"]:
    r"""Tokens that contain the current and previous state, $e_t = [0;\, s_t;\, s_t;\, s_{t-1}]$, $s_0 := 0$.

    A network writes its prediction into the first `dim` channels. Shape (time, 4 dim). Paper, Sec. 4.1 and Prop. 1, with $\Phi_0 = 0$.
    """
    previous = jnp.concatenate([jnp.zeros_like(inputs[..., :1, :]), inputs[..., :-1, :]], axis=-2)
    return jnp.concatenate([jnp.zeros_like(inputs), inputs, inputs, previous], axis=-1)


def per_position_loss(predictions: Float[Array, "*batch time dim"], targets: Float[Array, "*batch time dim"]) -> Float[Array, " time"]:
    r"""$\frac{1}{2B} \sum_b \|s_{t+1} - f_t\|^2$ at every position $t$: a sum over components, not a mean."""
    if predictions.shape != targets.shape:
        raise ValueError(f"predictions have shape {predictions.shape}, targets {targets.shape}")
    half_squares = 0.5 * jnp.sum((targets - predictions) ** 2, axis=-1)
    return half_squares.reshape(-1, half_squares.shape[-1]).mean(0)


def next_token_loss(predictions: Float[Array, "*batch time dim"], targets: Float[Array, "*batch time dim"]) -> Float[Array, ""]:
    r"""$\frac{1}{2BT} \sum_{b,t} \|s_{t+1} - f_t\|^2$, the mean of `per_position_loss`."""
    return per_position_loss(predictions, targets).mean()
