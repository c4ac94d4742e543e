r"""Few-shot regression as one token per vector, $x_1\, y_1\, x_2\, y_2 \cdots$ with $y_i \approx W x_i$, for networks that predict the next token of a system.

To such a network, the prompt is a system with $s_{2i} \approx W s_{2i - 1}$ and steps from $y_i$ to $x_{i + 1}$ that nothing predicts.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (arXiv 2309.05858), Sec. 4.4 and Fig. 8.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.tasks.linear_systems import Scalar, haar_orthogonal
from mesocosm.tasks.task import Split, Task, reject_ood


class FewShotExample(NamedTuple):
    """One sequence, or a batch with the same leading axes in both fields.

    Attributes:
        inputs: $x_1, x_2, \\dots$
        targets: $y_1, y_2, \\dots$
    """

    inputs: Float[Array, "*batch pairs dim"]
    targets: Float[Array, "*batch pairs dim"]


class FewShotRegression(Task[FewShotExample]):
    r"""$x_i \sim U(-1, 1)^n$, $y_i = W_k x_i + \epsilon_i$, $\epsilon_i \sim N(0, \sigma^2 I)$, with an orthogonal $W_k$ for every run of `run` pairs.

    Attributes:
        dim: size n of the vectors.
        pairs: number of pairs.
        run: pairs with the same W; `pairs` for one task, 1 for a new task with every pair, from which nothing can be learned.
        noise: standard deviation of the targets' noise.
    """

    dim: int = eqx.field(static=True, default=10)
    pairs: int = eqx.field(static=True, default=60)
    run: int = eqx.field(static=True, default=60)
    noise: Scalar = 0.01

    def __check_init__(self):
        if self.pairs < 1 or self.run < 1:
            raise ValueError(f"a sequence needs at least 1 pair and runs of at least 1, but pairs = {self.pairs}, run = {self.run}")

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> FewShotExample:
        """Draw one sequence; both fields have shape (pairs, dim)."""
        reject_ood(self, split)
        map_key, input_key, noise_key = jax.random.split(key, 3)
        maps = jax.vmap(lambda k: haar_orthogonal(k, self.dim))(jax.random.split(map_key, -(-self.pairs // self.run)))
        inputs = jax.random.uniform(input_key, (self.pairs, self.dim), minval=-1.0, maxval=1.0)
        of_pair = maps[jnp.arange(self.pairs) // self.run]
        noise = self.noise * jax.random.normal(noise_key, inputs.shape)
        return FewShotExample(inputs, jnp.einsum("pij,pj->pi", of_pair, inputs) + noise)


class Prompt(eqx.Module):
    """Vectors that are added to a few-shot sequence, and can be tuned.

    Attributes:
        prefix: tokens before the first pair.
        separator: the token after every pair, or None.
    """

    prefix: Float[Array, "prefix dim"]
    separator: Float[Array, " dim"] | None = None

    @property
    def stride(self) -> int:
        """Tokens from one input to the next."""
        return 2 if self.separator is None else 3

    def __call__(self, example: FewShotExample) -> Float[Array, "time dim"]:
        """The tokens: the prefix, then every pair and its separator."""
        parts = [example.inputs, example.targets]
        if self.separator is not None:
            parts.append(jnp.broadcast_to(self.separator, example.inputs.shape))
        tokens = jnp.stack(parts, axis=1).reshape(-1, example.inputs.shape[1])
        return jnp.concatenate([self.prefix, tokens])

    def at_inputs(self, predictions: Float[Array, "time dim"]) -> Float[Array, "pairs dim"]:
        """What a network says at the inputs' positions, where the targets come next."""
        return predictions[len(self.prefix) :: self.stride]
