r"""In-context linear regression: each prompt has input-output pairs of a new linear map, then a query. Also the loss that one gradient step can reach.

$$[x_1; y_1], \dots, [x_N; y_N], [x_q; 0], \qquad y_i = W x_i + \epsilon_i, \qquad W_{ij} \sim N(0, 1).$$

References: Garg et al., "What can transformers learn in-context?" (2022); von Oswald et al., "Transformers learn in-context by gradient descent" (2023).
"""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.tasks.task import Split, Task

Scalar = float | Float[Array, ""]


class Inputs(eqx.Module):
    """A distribution of independent coordinates with mean 0 and variance 1."""

    @property
    @abc.abstractmethod
    def fourth_moment(self) -> float:
        r"""$\kappa = \mathbb{E}\, x^4$."""

    @abc.abstractmethod
    def __call__(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Draw coordinates."""


class GaussianInputs(Inputs):
    """N(0, 1)."""

    @property
    def fourth_moment(self) -> float:
        """3."""
        return 3.0

    def __call__(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Draw coordinates."""
        return jax.random.normal(key, shape)


class UniformInputs(Inputs):
    r"""Uniform on $(-\sqrt3, \sqrt3)$."""

    @property
    def fourth_moment(self) -> float:
        """1.8."""
        return 1.8

    def __call__(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Draw coordinates."""
        return jax.random.uniform(key, shape, minval=-(3**0.5), maxval=3**0.5)


class Prompt(NamedTuple):
    """One prompt, or a batch of them.

    Attributes:
        tokens: the pairs, then the query with zeros in place of its target.
        target: $W x_q$, without noise.
    """

    tokens: Float[Array, "*batch pairs_plus_1 width"]
    target: Float[Array, "*batch target_dim"]


class RegressionPrompts(Task[Prompt]):
    r"""`pairs` pairs $(x_i, W x_i + \epsilon_i)$ and a query, $\epsilon_i \sim N(0, \sigma^2)$.

    Train and iid prompts have the same distribution (pass them different keys); in the ood split, inputs and query are `ood_scale` times as large.
    """

    input_dim: int = eqx.field(static=True, default=3)
    target_dim: int = eqx.field(static=True, default=3)
    pairs: int = eqx.field(static=True, default=11)
    inputs: Inputs = eqx.field(default_factory=UniformInputs)
    noise: Scalar = 0.0
    ood_scale: Scalar = 2.0

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Prompt:
        """Draw one prompt."""
        input_key, gaussian_key = jax.random.split(key)
        points = self.inputs(input_key, (self.pairs + 1, self.input_dim))
        points = self.ood_scale * points if split == "ood" else points
        drawn = jax.random.normal(gaussian_key, (self.input_dim + self.pairs, self.target_dim))
        teacher, noise = drawn[: self.input_dim], drawn[self.input_dim :]
        clean = points @ teacher
        seen = jnp.concatenate([clean[:-1] + self.noise * noise, jnp.zeros_like(clean[:1])])
        return Prompt(jnp.concatenate([points, seen], axis=1), clean[-1])

    def optimal_step_size(self) -> Scalar:
        r"""$\eta^* = 1 / (N + d_x + \kappa - 2 + \sigma^2)$, which minimises the loss of one gradient step from zero over prompts."""
        return 1 / (self.pairs + self.input_dim + self.inputs.fourth_moment - 2 + self.noise**2)

    def one_step_loss(self, step_size: Scalar | None = None) -> Scalar:
        r"""Expected squared error of one gradient step for each target dimension,
        $d_x \big[1 - 2 \eta N + \eta^2 N (N + d_x + \kappa - 2 + \sigma^2)\big]$. At the default $\eta^*$, it is $d_x (1 - N \eta^*)$."""
        step_size = self.optimal_step_size() if step_size is None else step_size
        return self.input_dim * (1 - 2 * step_size * self.pairs + step_size**2 * self.pairs / self.optimal_step_size())


def gradient_step(prompt: Float[Array, "pairs_plus_1 width"], target_dim: int, step_size: Scalar) -> Float[Array, " target_dim"]:
    r"""$\eta \sum_i y_i (x_i \cdot x_q)$: one gradient step from $W_0 = 0$ on $\sum_i \tfrac12 \|W x_i - y_i\|^2$, evaluated at the query."""
    points, targets = prompt[:, :-target_dim], prompt[:, -target_dim:]
    return step_size * (points[:-1] @ points[-1]) @ targets[:-1]


def gradient_step_attention(input_dim: int, target_dim: int, step_size: Scalar) -> LinearAttention:
    r"""Linear attention that takes this step at every position: $W_K = W_Q = [I_x\ 0]$, with values $[0\ \eta I_y]$ written into the last channels."""
    width = input_dim + target_dim
    points, targets = jnp.eye(width)[None, :input_dim], jnp.eye(width)[None, input_dim:]
    return LinearAttention(points, points, step_size * targets, jnp.swapaxes(targets, 1, 2))
