r"""Colouring a cycle: vertices see their neighbours only, and no two neighbours may end with the same of three colours.

The vertices have fixed names; the cycle runs through them in a random order. In few rounds, no deterministic rule colours all cycles of a given length; which
ones it fails on can depend on random numbers.

Reference: von Oswald et al., "Learning randomized algorithms with transformers" (2025), Sec. 3.2.
"""

from itertools import permutations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, PRNGKeyArray

from mesocosm.tasks.task import Split, Task, reject_ood

COLOURS = 3
LARGEST_ENUMERATED = 10


class CycleColouring(Task[Bool[Array, "vertices vertices"]]):
    """A uniformly random cycle through all vertices, as its adjacency matrix; train and iid share this distribution.

    Attributes:
        vertices: number N of vertices, at least 3.
    """

    vertices: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        if self.vertices < 3:
            raise ValueError(f"a cycle has at least 3 vertices, not {self.vertices}")

    def sample(self, key: PRNGKeyArray, split: Split = "train") -> Bool[Array, "vertices vertices"]:
        """Draw one cycle."""
        reject_ood(self, split)
        return adjacency(jax.random.permutation(key, self.vertices))

    def enumerate(self, split: Split = "train") -> Bool[Array, "cycles vertices vertices"]:
        """All (N - 1)! / 2 cycles.

        Raises:
            ValueError: there are more than 10 vertices.
        """
        reject_ood(self, split)
        if self.vertices > LARGEST_ENUMERATED:
            raise ValueError(f"cycles of up to {LARGEST_ENUMERATED} vertices are enumerated, not of {self.vertices}")
        orders = np.array([(0, *order) for order in permutations(range(1, self.vertices)) if order[0] < order[-1]])
        return jax.vmap(adjacency)(jnp.asarray(orders))


def adjacency(order: Integer[Array, " vertices"]) -> Bool[Array, "vertices vertices"]:
    """The matrix of the cycle that visits the vertices in this order."""
    following = jnp.zeros((order.size, order.size), bool).at[order, jnp.roll(order, -1)].set(True)
    return following | following.T


def clashes(probabilities: Float[Array, "vertices colours"], edges: Bool[Array, "vertices vertices"]) -> Float[Array, ""]:
    r"""$\sum_{\{u, v\}} \sum_c p_u(c)\, p_v(c)$, the expected number of edges with equal colours; at least the probability that there is one."""
    return 0.5 * jnp.sum(edges * (probabilities @ probabilities.T))


def colouring_loss(logits: Float[Array, "vertices colours"], edges: Bool[Array, "vertices vertices"]) -> Float[Array, ""]:
    """`clashes` of the softmax, divided by the number of vertices and of colours."""
    return clashes(jax.nn.softmax(logits), edges) / logits.size


def is_proper(colours: Integer[Array, " vertices"], edges: Bool[Array, "vertices vertices"]) -> Bool[Array, ""]:
    """Whether no edge joins equal colours."""
    return ~jnp.any(edges & (colours[:, None] == colours))
