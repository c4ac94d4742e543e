r"""Tasks that are compositions of modules in weight space: a hypernetwork generates a teacher network from a code, and a task shows its inputs and outputs.

$$y = W_L\, \phi(W_{L-1} \cdots \phi(W_1 x)), \qquad W_l = \sum_m z_m \Theta_l^{(m)} \text{ for generated layers, else fixed.}$$

The code $z$ has a mask of active modules (`compositional_supports`). A network that has discovered the modules can solve tasks with masks that it has never
seen.

References: Schug et al., "Discovering modular solutions that generalize compositionally" (arXiv 2312.15001), Secs. 2 and 4; Kobayashi et al., "When can
transformers compositionally generalize in-context?" (arXiv 2407.12275), Sec. 2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mesocosm.nn.blocks.linear import truncated_gaussian
from mesocosm.tasks.combinations import CombinationSplit
from mesocosm.tasks.regression_prompts import Inputs, UniformInputs
from mesocosm.tasks.task import Split, Task

Activation = Callable[[Array], Array]
Mask = Int[Array, " modules"]
Code = Float[Array, " modules"]
Weighting = Callable[[PRNGKeyArray, Mask], Code]
"""Draws a code with a given mask."""


# --- codes ------------------------------------------------------------------------------------------------------------


def binary(key: PRNGKeyArray, mask: Mask) -> Code:
    """The mask itself."""
    return mask.astype(float)


def simplex(key: PRNGKeyArray, mask: Mask) -> Code:
    r"""$z = \tfrac12 (e / \|e\|_1 + b)$ with independent $e_m \sim \mathrm{Exp}(1)$ for active modules: active entries in [1/2, 1], with the sum
    $\tfrac12 (1 + |b|)$. Kobayashi et al., Algorithm 1."""
    drawn = jax.random.exponential(key, mask.shape) * mask
    return 0.5 * (drawn / jnp.sum(drawn) + mask)


def damped(key: PRNGKeyArray, mask: Mask) -> Code:
    r"""$z = \tfrac12 (e / (1 + \|e\|_1) + b)$ with $e$ as in `simplex`: active entries in [1/2, 1). Schug et al., Algorithm 1 and code."""
    drawn = jax.random.exponential(key, mask.shape) * mask
    return 0.5 * (drawn / (1 + jnp.sum(drawn)) + mask)


# --- the teacher ------------------------------------------------------------------------------------------------------


class Teacher(eqx.Module):
    r"""A hypernetwork with a linear generator, and the network that it generates from a code.

    Attributes:
        layers: the weights of each layer, first to last: a matrix if the layer is fixed, the matrices $\Theta^{(m)}$ of all modules if it is generated.
        activation: $\phi$.
        normalised: whether generated weights are divided by their operator norm, so that the length of a code has no effect; for one generated layer.
    """

    layers: tuple[Float[Array, "..."], ...]
    activation: Activation = eqx.field(static=True, default=jax.nn.relu)
    normalised: bool = eqx.field(static=True, default=False)

    @classmethod
    def create(
        cls,
        *sizes: int,
        modules: int,
        generated: Collection[int] = (0,),
        module_gain: float = 1.0,
        activation: Activation = jax.nn.relu,
        normalised: bool = False,
        key: PRNGKeyArray,
    ) -> Teacher:
        """Truncated Gaussian weights with standard deviation 1 / sqrt(fan in), those of modules times `module_gain`.

        Args:
            sizes: of the inputs, the hidden layers and the outputs.
            modules: number of modules of each generated layer.
            generated: which layers are generated, counted from 0.
            module_gain: see above; 1 / sqrt(modules) gives weights of standard deviation 1 / sqrt(fan in) for a code of ones.
            activation, normalised: see the attributes.
            key: draws the weights.

        Raises:
            ValueError: no layer is generated, or one that does not exist, or several are generated and normalised.
        """
        shapes = [(out, dim) for dim, out in pairwise(sizes)]
        if not generated or not set(generated) <= set(range(len(shapes))):
            raise ValueError(f"a network of {len(shapes)} layers generates some of the layers 0 to {len(shapes) - 1}, not {sorted(generated)}")
        if normalised and len(generated) > 1:
            raise ValueError(f"{len(generated)} layers would be generated and normalised; no more than one can be")
        drawn = [
            truncated_gaussian((modules, *shape), module_gain, k) if layer in generated else truncated_gaussian(shape, 1.0, k)
            for layer, (shape, k) in enumerate(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
        ]
        return cls(tuple(drawn), activation, normalised)

    @property
    def modules(self) -> int:
        """Number M of modules."""
        return next(layer.shape[0] for layer in self.layers if layer.ndim == 3)

    def plain_code(self, code: Code) -> Code:
        """The code with which a generator without the norm makes the same network."""
        if not self.normalised:
            return code
        return code / operator_norm(jnp.tensordot(code, next(layer for layer in self.layers if layer.ndim == 3), 1))

    def weights(self, plain_code: Code) -> tuple[Float[Array, "_ _"], ...]:
        """The matrices of the network of a plain code."""
        return tuple(jnp.tensordot(plain_code, layer, 1) if layer.ndim == 3 else layer for layer in self.layers)

    def execute(self, plain_code: Code, x: Float[Array, "*points inputs"]) -> Float[Array, "*points outputs"]:
        """The outputs of the network of a plain code."""
        *hidden, readout = self.weights(plain_code)
        for layer in hidden:
            x = self.activation(x @ layer.T)
        return x @ readout.T

    def __call__(self, x: Float[Array, "*points inputs"], code: Code) -> Float[Array, "*points outputs"]:
        """The outputs of the network of a code."""
        return self.execute(self.plain_code(code), x)


def operator_norm(matrix: Float[Array, "out in"]) -> Float[Array, ""]:
    r"""The largest singular value: $\sigma^2 = \mathrm{tr}(B\, G)$ with $G = W W^\top$ and $B = G^n / \mathrm{tr}\, G^n$, $n = 2^{16}$.

    Sixteen squarings, because a decomposition of each of many small matrices takes longer than the network. The error is at most $\sigma / (2 e n)$, 3e-6, and
    rounding.
    """
    gram = matrix @ matrix.T

    def square(_: Any, power: Array) -> Array:
        power = power @ power
        return power / jnp.trace(power)

    power = jax.lax.fori_loop(0, 16, square, gram / jnp.trace(gram))
    return jnp.sqrt(jnp.sum(power * gram))


# --- the task ---------------------------------------------------------------------------------------------------------


class Labelled(NamedTuple):
    """Inputs and outputs of one task, or a batch with the same leading axes in every field.

    Attributes:
        inputs: independent inputs $x$.
        outputs: the teacher's $y$ at these inputs.
        code: the task's $z$.
        plain_code: as `Teacher.plain_code`.
    """

    inputs: Float[Array, "*batch points inputs"]
    outputs: Float[Array, "*batch points outputs"]
    code: Float[Array, "*batch modules"]
    plain_code: Float[Array, "*batch modules"]


class Hyperteacher(Task[Labelled]):
    """Each example is `points` input-output pairs of the network of a new code.

    The splits train and iid have masks from `support.train`, ood from `support.held_out`; the teacher is a leaf, so that another one does not recompile.

    Attributes:
        teacher: the hypernetwork.
        support: the masks of each split.
        points: number of pairs.
        weighting: draws the code of a mask: `binary`, `simplex` or `damped`.
        inputs: distribution of a coordinate of the inputs.
    """

    teacher: Teacher
    support: CombinationSplit
    points: int = eqx.field(static=True)
    weighting: Weighting = eqx.field(static=True, default=simplex)
    inputs: Inputs = eqx.field(default_factory=UniformInputs)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Labelled:
        """Draw one example."""
        mask_key, code_key, input_key = jax.random.split(key, 3)
        code = self.weighting(code_key, self.support.sample(mask_key, split))
        inputs = self.inputs(input_key, (self.points, self.teacher.layers[0].shape[-1]))
        plain_code = self.teacher.plain_code(code)
        return Labelled(inputs, self.teacher.execute(plain_code, inputs), code, plain_code)


class Unstructured(Task[Labelled]):
    r"""A control without shared structure: the same task, but every example has modules of its own, drawn anew; fixed layers stay.

    Attributes:
        task: the task with shared modules.
        module_gain: as in `Teacher.create`.
    """

    task: Hyperteacher
    module_gain: float | Float[Array, ""] = 1.0

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Labelled:
        """Draw modules, then an example."""
        module_key, key = jax.random.split(key)
        layers = self.task.teacher.layers
        drawn = [
            truncated_gaussian(layer.shape, 1.0, k) * self.module_gain if layer.ndim == 3 else layer
            for layer, k in zip(layers, jax.random.split(module_key, len(layers)), strict=True)
        ]
        return eqx.tree_at(lambda task: task.teacher.layers, self.task, tuple(drawn)).sample(key, split)


# --- in context -------------------------------------------------------------------------------------------------------


class Prompt(NamedTuple):
    """A task as a sequence of tokens.

    Attributes:
        context: $[x_i; y_i]$.
        queries: $[x; 0]$; the outputs there are to be predicted.
        targets: the outputs at the queries.
        code, plain_code: as in `Labelled`.
    """

    context: Float[Array, "*batch pairs inputs_plus_outputs"]
    queries: Float[Array, "*batch queries inputs_plus_outputs"]
    targets: Float[Array, "*batch queries outputs"]
    code: Float[Array, "*batch modules"]
    plain_code: Float[Array, "*batch modules"]


class Prompts(Task[Prompt]):
    """Each example of a task as a prompt: its last `queries` pairs are the queries, the others the context."""

    task: Task[Labelled]
    queries: int = eqx.field(static=True, default=1)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Prompt:
        """Draw one prompt.

        Raises:
            ValueError: the task has not more pairs than there are queries, or there is no query.
        """
        example = self.task.sample(key, split)
        pairs = example.inputs.shape[0] - self.queries
        if not 0 < self.queries < example.inputs.shape[0]:
            raise ValueError(f"{self.queries} of {example.inputs.shape[0]} pairs cannot be queries; at least one, and not all, can")
        tokens = jnp.concatenate([example.inputs, example.outputs.at[pairs:].set(0)], axis=1)
        return Prompt(tokens[:pairs], tokens[pairs:], example.outputs[pairs:], example.code, example.plain_code)
