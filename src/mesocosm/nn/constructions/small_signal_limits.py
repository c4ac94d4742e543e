r"""LSTM and GRU configured to compute linear attention in the limit of small signals.

For small $\epsilon$, $\sigma(\epsilon u) = \tfrac12 + \tfrac{\epsilon u}{4}$ and $\tanh(\epsilon w) = \epsilon w$ up to third order, so a gate times a
candidate contains the product $u w$ and terms that cancel between cells of opposite sign.

Reference: Zucchet et al. (arXiv 2309.01775), Sec. 3.3, for the idea. The LSTM's details are derived here, and so is the GRU's configuration, which the paper
claims does not exist.
"""

from itertools import product

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.nn.recurrences.lstm_gru import GRU, LSTM

Scalar = float | Float[Array, ""]
SHUT = -40.0  # a bias that closes a gate to double precision; its negative opens it
SIGNS = np.array(list(product((1.0, -1.0), repeat=2)))


class Products:
    r"""All products $P_{:,i}\,(V_i \cdot x_s)(K_j \cdot x_s)(Q_j \cdot x_t)$ that linear attention sums, over heads, values i and keys j.

    Attributes:
        value, key, query: rows V_i, K_j and Q_j, one per product.
        written: columns P_i, one per product.
    """

    def __init__(self, attention: LinearAttention):
        _, value_dim, dim = attention.value.shape
        key_dim = attention.key.shape[1]
        self.value = jnp.repeat(attention.value, key_dim, axis=1).reshape(-1, dim)
        self.key = jnp.tile(attention.key, (1, value_dim, 1)).reshape(-1, dim)
        self.query = jnp.tile(attention.query, (1, value_dim, 1)).reshape(-1, dim)
        self.written = jnp.repeat(jnp.swapaxes(attention.output, 0, 1), key_dim, axis=2).reshape(attention.output.shape[1], -1)


def lstm_limit(attention: LinearAttention, scale: Scalar) -> LSTM:
    r"""Four cells per product, open forget gates, no recurrent weights; the error is $O(\epsilon^2)$ down to rounding.

    Cell (a, b), with signs a and b: $i = \sigma(a \epsilon V_i x)$, $g = \tanh(\epsilon K_j x)$, $o = \sigma(b \epsilon Q_j x)$. Between $a = \pm 1$, the term
    $\epsilon w / 2$ of $i g$ cancels and $\epsilon^2 u w / 2$ stays; between $b = \pm 1$, the gate's $\tfrac12$ cancels and $\epsilon q / 2$ stays. The
    signed sum of the four is $\tfrac{\epsilon^3}{4}\, q \sum u w$. The query enters through the output gate, so no neuron without memory is needed.

    Args:
        attention: use float64 for small scales.
        scale: $\epsilon$; $\epsilon\,\|K x\| \sum$ must be small compared with 1.
    """
    parts = Products(attention)
    number, dim = parts.value.shape
    a, b = SIGNS.T[:, :, None, None]
    pattern = jnp.ones((4, number, dim), parts.value.dtype)
    shut = jnp.zeros(4 * number, parts.value.dtype)
    gates = [scale * w * pattern for w in (a * parts.value, 0.0 * parts.value, parts.key, b * parts.query)]
    bias = jnp.concatenate([shut, shut - SHUT, shut, shut])
    readout = (SIGNS.prod(1)[:, None, None] * parts.written[None] * 4 / scale**3).swapaxes(0, 1).reshape(parts.written.shape[0], -1)
    weights = jnp.concatenate([gate.reshape(-1, dim) for gate in gates])
    return LSTM(weights, jnp.zeros((16 * number, 4 * number), weights.dtype), bias, readout)


def gru_limit(attention: LinearAttention, scale: Scalar) -> GRU:
    r"""Twelve cells per product; the error is $O(\epsilon^2)$ down to rounding.

    A GRU has no output gate, but its reset gate multiplies what a cell reads from *other* cells. There are three groups per product:

    - two memories with an almost closed update gate, $1 - z = \delta\,(1 \pm \epsilon V_i x)$, $n = \tanh(\epsilon K_j x)$: their difference adds up
      $2 \delta \epsilon^2 u w$, and loses the fraction $\delta$ per step, $\delta = 10^{-3} \epsilon^2$;
    - two readers, which keep nothing ($z = 0$): $n = \tanh(r \cdot \epsilon \sum_{s<t} u_s w_s)$, $r = \sigma(\pm \epsilon Q_j x_t)$; their difference is
      $\tfrac{\epsilon^2}{2}\, q \sum_{s<t} u_s w_s$;
    - eight cells without memory for the newest token's own term, $u w q$ as a sum of cubes $\ell^3$ of $\ell = u \pm w \pm q$, each from
      $\tanh(2 \epsilon \ell) - 2 \tanh(\epsilon \ell) = -2 \epsilon^3 \ell^3$.
    """
    parts = Products(attention)
    number, dim = parts.value.shape
    dtype = parts.value.dtype
    leak = 1e-3 * scale**2
    sign = jnp.asarray([1.0, -1.0], dtype)[:, None, None]
    cubes = jnp.asarray([parts.value + t * parts.key + u * parts.query for t, u in SIGNS])
    nothing = jnp.zeros((2, number, dim), dtype)
    local = jnp.zeros((8, number, dim), dtype)
    reset = jnp.concatenate([nothing, sign * scale * parts.query, local])
    update = jnp.concatenate([-sign * scale * parts.value, nothing, local])
    new = jnp.concatenate([jnp.broadcast_to(scale * parts.key, nothing.shape), nothing, 2 * scale * cubes, scale * cubes])
    kept = jnp.concatenate([jnp.full(2, jnp.log((1 - leak) / leak)), jnp.full(10, SHUT)]).astype(dtype)
    bias = jnp.concatenate([jnp.zeros(12, dtype), kept, jnp.zeros(12, dtype)])
    reads = np.zeros((12, 12))
    reads[2:4, :2] = [1.0, -1.0]
    back = jnp.kron(jnp.asarray(reads, dtype), jnp.eye(number, dtype=dtype)) / (2 * leak * scale)
    share = SIGNS.prod(1) / (-48 * scale**3)
    weight = jnp.concatenate([jnp.zeros(2), jnp.asarray([2.0, -2.0]) / scale**2, share, -2 * share]).astype(dtype)
    return GRU(
        jnp.concatenate([part.reshape(-1, dim) for part in (reset, update, new)]),
        jnp.concatenate([jnp.zeros((24 * number, 12 * number), dtype), back]),
        jnp.repeat(bias, number),
        jnp.zeros(12 * number, dtype),
        (weight[None, :, None] * parts.written[:, None, :]).reshape(parts.written.shape[0], -1),
    )
