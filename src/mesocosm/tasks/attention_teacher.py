r"""A linear attention layer as the teacher: sequences of Gaussian tokens with the layer's outputs at every position.

Reference: Zucchet et al., "Gated recurrent neural networks discover attention" (arXiv 2309.01775), Sec. 4.1.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.tasks.task import Split, Task

Scalar = float | Float[Array, ""]


class Answered(NamedTuple):
    """Tokens and the teacher's outputs."""

    tokens: Float[Array, "*batch time dim"]
    targets: Float[Array, "*batch time dim"]


class LinearAttentionTeacher(Task[Answered]):
    r"""$x_t \sim N(0, I)$, $y_t = S_t W_Q x_t$, $S_t = \gamma S_{t-1} + (W_V x_t)(W_K x_t)^\top$, on sequences of `length` tokens.

    The teacher is a leaf, so another teacher does not recompile. Train and iid sequences have the same distribution; tokens of the ood split are three times
    as large.

    Attributes:
        attention: the teacher, with one head.
        length: number of tokens in a sequence.
        memory: $\gamma$; 1 for linear attention, below 1 for a teacher that forgets.
    """

    attention: LinearAttention
    length: int = eqx.field(static=True, default=16)
    memory: Scalar = 1.0

    @classmethod
    def draw(cls, key: PRNGKeyArray, dim: int, *, rank: int | None = None, length: int = 16, memory: Scalar = 1.0) -> "LinearAttentionTeacher":
        r"""Independent $W_Q, W_K, W_V \in \mathbb{R}^{r \times d}$ with entries N(0, 1/d), scaled so that outputs have variance 1 on average over channels
        and positions (for a teacher that does not forget); `rank` is r, by default d."""
        rank = dim if rank is None else rank
        weights = jax.random.normal(key, (4, 1, rank, dim)) / jnp.sqrt(dim)
        output = jnp.eye(dim)[None] if rank == dim else jnp.swapaxes(weights[3], 1, 2)
        whole = LinearAttention(weights[0], weights[1], weights[2], output)
        variance = answer_power(whole, length) / dim
        return cls(eqx.tree_at(lambda layer: layer.value, whole, weights[2] / jnp.sqrt(variance)), length, memory)

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Answered:
        """Draw one sequence."""
        tokens = jax.random.normal(key, (self.length, self.attention.value.shape[2]))
        tokens = 3.0 * tokens if split == "ood" else tokens
        return Answered(tokens, self.answer(tokens))

    def answer(self, tokens: Float[Array, "time dim"]) -> Float[Array, "time dim"]:
        """The teacher's outputs."""
        queries, keys, values = (part[:, 0] for part in self.attention.split(tokens))
        lag = jnp.arange(self.length)[:, None] - jnp.arange(self.length)
        kept = jnp.where(lag >= 0, jnp.asarray(self.memory, tokens.dtype) ** jnp.maximum(lag, 0), 0.0)
        return self.attention.merge((((queries @ keys.T) * kept) @ values)[:, None])


def answer_power(attention: LinearAttention, length: int) -> Float[Array, ""]:
    r"""$\frac1T \sum_t \mathbb{E} \|y_t\|^2$ for $x_t \sim N(0, I)$ and one head, $y_t = A X_t M x_t$, by Isserlis' theorem.

    With $n = t - 1$, $B = A^\top A$ and $S = (M + M^\top)/2$:
    $n(n+1)\,\mathrm{tr}(M^\top B M) + n\,\mathrm{tr} B\,\mathrm{tr}(M^\top M)$ from earlier tokens,
    $2n\,[\mathrm{tr}(M^\top B)\,\mathrm{tr} M + \mathrm{tr}(M^\top B M) + \mathrm{tr}(M^\top B M^\top)]$ between them and the newest,
    $\mathrm{tr}^2 S\,\mathrm{tr} B + 2\,\mathrm{tr} S^2\,\mathrm{tr} B + 4\,\mathrm{tr} S\,\mathrm{tr}(SB) + 8\,\mathrm{tr}(SBS)$ from the newest alone.
    """
    before, m = attention.output[0] @ attention.value[0], attention.key[0].T @ attention.query[0]
    b, s = before.T @ before, (m + m.T) / 2
    n = jnp.arange(length, dtype=m.dtype)
    asked = jnp.trace(m.T @ b @ m)
    earlier = n * (n + 1) * asked + n * jnp.trace(b) * jnp.trace(m.T @ m)
    between = 2 * n * (jnp.trace(m.T @ b) * jnp.trace(m) + asked + jnp.trace(m.T @ b @ m.T))
    newest = jnp.trace(b) * (jnp.trace(s) ** 2 + 2 * jnp.trace(s @ s)) + 4 * jnp.trace(s) * jnp.trace(s @ b) + 8 * jnp.trace(s @ b @ s)
    return jnp.mean(earlier + between + newest)
