r"""Parity of random bits, after every bit: the simplest state that a memory with positive forget gates cannot track at any length.

$$\text{start}\; b_1\; b_2 \cdots b_T \;\mapsto\; 0,\; b_1,\; b_1 \oplus b_2,\; \dots,\; b_1 \oplus \cdots \oplus b_T, \qquad b_t \in \{0, 1\} \text{ fair}.$$

Reference: Grazzi et al., "Unlocking state-tracking in linear RNNs through negative eigenvalues" (arXiv 2411.12537), Sec. 5.1.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mesocosm.tasks.task import Split, Task, reject_ood
from mesocosm.tasks.tokens import TokenExample


class Parity(Task[TokenExample]):
    """Tokens 0 and 1 are bits, 2 is the start; every position after the start is scored. Train and iid have the same distribution.

    Attributes:
        length: number T of bits.
    """

    length: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        if self.length < 1:
            raise ValueError(f"parity needs at least 1 bit, but length = {self.length}")

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return 3

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> TokenExample:
        """Draw one sequence; all fields have shape (length + 1,)."""
        reject_ood(self, split)
        bits = jax.random.bernoulli(key, shape=(self.length,)).astype(jnp.int32)
        start = jnp.zeros(1, jnp.int32)
        targets = jnp.concatenate([start, jnp.cumsum(bits) % 2])
        return TokenExample(jnp.concatenate([start + 2, bits]), targets, jnp.ones(self.length + 1).at[0].set(0.0))
