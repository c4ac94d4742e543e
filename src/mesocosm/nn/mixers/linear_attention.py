"""Causal multi-head linear attention.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (2023), Sec. 2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.mixer import Diagnostics, unbatched
from mesocosm.nn.mixers.gated_linear_attention import gated_linear_attention
from mesocosm.nn.mixers.projections import Projections, head_sizes, random_projections

_LONGEST_DENSE = 256  # up to this length one masked time x time product is faster than chunks


class LinearAttention(Projections):
    r"""Causal linear attention, $y_t = \sum_h P_h \sum_{s \le t} v_{h,s} \langle k_{h,s}, q_{h,t} \rangle$.

    There is no softmax and no $1/\sqrt{n}$: every token adds a rank-one update to the fast weights $S_t = \sum_{s \le t} v_s k_s^\top$, the streaming state
    (float32 or wider).

    Reference: von Oswald et al. (2023), Eq. 3.
    """

    @classmethod
    def create(
        cls, dim: int, *, heads: int | None = None, key_dim: int | None = None, value_dim: int | None = None, std: float | None = None, key: PRNGKeyArray
    ) -> "LinearAttention":
        """A layer with random maps.

        Args:
            dim: width of the tokens.
            heads: number of heads; default: 4, or fewer if 4 do not divide `dim` and `key_dim` is not given.
            key_dim, value_dim: size of a head's keys (default: dim / heads) and values (default: `key_dim`).
            std: standard deviation of all weights; default: 1 / sqrt(fan in), with keys that start as queries.
        """
        return cls(*random_projections(dim, *head_sizes(dim, heads, key_dim, value_dim), std, key))

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens, with dense masked products for short sequences and chunks (memory linear in time) for long ones."""
        if x.shape[0] <= _LONGEST_DENSE:
            return self.explain(x)[0]
        queries, keys, values = self.split(x)
        heads = jax.vmap(lambda q, k, v: gated_linear_attention(q, k, v)[0], in_axes=1, out_axes=1)(queries, keys, values)
        return self.merge(heads)

    @unbatched
    def explain(self, x: Float[Array, "time dim"]) -> tuple[Float[Array, "time dim"], Diagnostics]:
        """Return the output and the attention map <k_s, q_t>, s <= t."""
        queries, keys, values = self.split(x)
        causal = jnp.tril(jnp.ones((x.shape[0], x.shape[0]), x.dtype))
        attention = jnp.einsum("thk,shk->hts", queries, keys) * causal
        return self.merge(jnp.einsum("hts,shv->thv", attention, values)), Diagnostics(attention=attention)

    def init_state(self) -> Float[Array, "heads value_dim key_dim"]:
        """Fast weights of zero, one matrix per head."""
        return jnp.zeros((self.key.shape[0], self.value.shape[1], self.key.shape[1]), jnp.promote_types(self.key.dtype, jnp.float32))

    def step(
        self, state: Float[Array, "heads value_dim key_dim"], x: Float[Array, " dim"]
    ) -> tuple[Float[Array, "heads value_dim key_dim"], Float[Array, " dim"]]:
        """Process one token: write v k^T, read with q."""
        queries, keys, values = self.split(x)
        state = state + values[:, :, None] * keys[:, None, :]
        return state, self.merge(jnp.einsum("hvk,hk->hv", state, queries.astype(state.dtype)).astype(x.dtype))
