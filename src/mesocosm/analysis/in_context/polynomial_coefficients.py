r"""Polynomial coefficients of a sequence model's output in its inputs. They are equal for models with different architectures that compute the same function.

Linear attention is a polynomial of degree three,

$$y_c(t) = \sum_{s \le t} \sum_{ijk} C_{cijk}\, x_{s,i}\, x_{s,j}\, x_{t,k}, \qquad C_{cijk} = C_{cjik},$$

determined by the tensor C. C has a closed form for linear attention and bilinear gated RNNs. For any smooth model, automatic differentiation at the zero
sequence gives it, and for any model at all, least squares on samples.

Reference: Zucchet et al., "Gated recurrent neural networks discover attention" (arXiv 2309.01775), Sec. 5 and Table 2, for the comparison of terms.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mesocosm.nn.mixers.linear_attention import LinearAttention
from mesocosm.nn.recurrences.gated_linear_rnn import GatedLinearRNN
from mesocosm.nn.recurrences.gates import BilinearGate
from mesocosm.numerics.edges import ratio
from mesocosm.numerics.linear_algebra import least_squares
from mesocosm.numerics.precision import full_precision

Coefficients = Float[Array, "out dim dim dim"]
Model = Callable[[Array], Array]


@full_precision
def attention_coefficients(attention: LinearAttention) -> Coefficients:
    r"""$C_{cijk} = \mathrm{sym}_{ij} \sum_h (P_h W_{V,h})_{ci} (W_{K,h}^\top W_{Q,h})_{jk}$, the same at every lag."""
    value = jnp.einsum("hcv,hvi->hci", attention.output, attention.value)
    asked = jnp.einsum("hnj,hnk->hjk", attention.key, attention.query)
    return _symmetric(jnp.einsum("hci,hjk->cijk", value, asked))


@full_precision
def gated_coefficients(rnn: GatedLinearRNN, lag: int) -> Coefficients:
    r"""C of a gated linear RNN with bilinear gates, for the tokens s = t - lag, lag > 0:

    $$C_c = \sum_{ab} 2 M_{c,ab}\, \lambda_a^{lag}\, Q_a \otimes l_b, \qquad M_c = \sum_p D_{cp}\, \mathrm{sym}(W^{out}_{m,p} W_{x,p}^{out\top}),$$

    where neuron a adds $x^\top Q_a x + l_a \cdot x + \mathrm{const}$ at each token. Only this pairing is quadratic in the past and linear in the present.

    Raises:
        TypeError: the gates are not bilinear.
    """
    if lag < 1:
        raise ValueError(f"the lag must be 1 or more, not {lag}: at lag 0, past and present are the same token")
    left, right = _bilinear(rnn.input)
    squares = _symmetric_pair(left[:, :-1], right[:, :-1])
    linear = left[:, :-1] * right[:, -1:] + right[:, :-1] * left[:, -1:]
    kept = rnn.decay() ** lag
    return jnp.real(jnp.einsum("cab,a,aij,bk->cijk", 2 * bilinear_forms(rnn), kept, squares, linear))


@full_precision
def bilinear_forms(rnn: GatedLinearRNN) -> Float[Array, "out n n"]:
    r"""$M_c = \sum_p D_{cp}\, \mathrm{sym}(W^{out}_{m,p} W_{x,p}^{out\top})$: output c is $h^\top M_c h$.

    It is invariant under swaps and rescalings of factors and products.

    Raises:
        TypeError: the output gate is not bilinear.
    """
    left, right = _bilinear(rnn.output)
    return jnp.einsum("cp,pab->cab", rnn.readout, _symmetric_pair(left, right))


def derivative_coefficients(model: Model, dim: int, *, time: int, source: int) -> Coefficients:
    r"""$\tfrac12\, \partial^3 y_c(T) / \partial x_{s,i} \partial x_{s,j} \partial x_{T,k}$ at the zero sequence, s = `source` < T = `time`, counted from 1.

    The factor one half holds for all i, j: the derivative of $C_{ij} x_i x_j + C_{ji} x_j x_i$ with $i \ne j$ is also $2 C_{ij}$.
    """
    if not 1 <= source < time:
        raise ValueError(f"the source must be a position from 1 to {time - 1}, not {source}")

    def output(past: Float[Array, " dim"], now: Float[Array, " dim"]) -> Float[Array, " out"]:
        return model(jnp.zeros((time, dim), now.dtype).at[source - 1].set(past).at[-1].set(now))[-1]

    zero = jnp.zeros(dim)
    first = jax.jacrev(output, 1)  # a layer with a backward pass of its own has no forward mode, but its two passes have
    return 0.5 * jnp.moveaxis(jax.jacfwd(jax.jacfwd(first, 0), 0)(zero, zero), 1, -1)


class FittedCoefficients(NamedTuple):
    """coefficients: C, shared by all s < t. explained: the fraction of the outputs' second moment that the polynomial explains."""

    coefficients: Coefficients
    explained: Float[Array, ""]


@full_precision
def fitted_coefficients(outputs: Float[Array, "batch out"], tokens: Float[Array, "batch time dim"]) -> FittedCoefficients:
    r"""Least squares of the last position's outputs on $\sum_{s<T} x_{s,i} x_{s,j} x_{T,k}$ and on the monomials of degree three in $x_T$ alone."""
    dim = tokens.shape[-1]
    i, j = np.triu_indices(dim)
    past, now = tokens[:, :-1], tokens[:, -1]
    squares = jnp.einsum("bsi,bsj->bij", past, past)[:, i, j]
    crossed = (squares[:, :, None] * now[:, None, :]).reshape(len(tokens), -1)
    a, b, c = np.array([(a, b, c) for a in range(dim) for b in range(a, dim) for c in range(b, dim)]).T
    features = jnp.concatenate([crossed, now[:, a] * now[:, b] * now[:, c]], axis=1)
    weights = least_squares(features, outputs)
    left = outputs - features @ weights
    found = weights[: crossed.shape[1]].T.reshape(-1, len(i), dim)
    whole = jnp.zeros((outputs.shape[1], dim, dim, dim), found.dtype).at[:, i, j].add(found / 2).at[:, j, i].add(found / 2)
    return FittedCoefficients(whole, 1 - ratio(jnp.sum(left**2), jnp.sum(outputs**2)))


class Agreement(NamedTuple):
    """Relative error (Frobenius, divided by the second tensor's norm) and cosine of two tensors."""

    relative_error: Float[Array, ""]
    cosine: Float[Array, ""]


def compare(found: Coefficients, wanted: Coefficients) -> Agreement:
    """Compare two tensors of coefficients."""
    norm = jnp.sqrt(jnp.sum(wanted**2))
    cosine = ratio(jnp.sum(found * wanted), norm * jnp.sqrt(jnp.sum(found**2)))
    return Agreement(jnp.sqrt(jnp.sum((found - wanted) ** 2)) / norm, cosine)


def _symmetric(tensor: Float[Array, "out dim dim dim"]) -> Float[Array, "out dim dim dim"]:
    return (tensor + jnp.swapaxes(tensor, 1, 2)) / 2


def _symmetric_pair(left: Float[Array, "m n"], right: Float[Array, "m n"]) -> Float[Array, "m n n"]:
    outer = left[:, :, None] * right[:, None, :]
    return (outer + jnp.swapaxes(outer, 1, 2)) / 2


def _bilinear(gate: object) -> tuple[Array, Array]:
    if not isinstance(gate, BilinearGate):
        raise TypeError(f"the closed form needs bilinear gates, not {type(gate).__name__}; use `derivative_coefficients`")
    return gate.left, gate.right
