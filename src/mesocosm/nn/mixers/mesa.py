r"""The mesa layer: at every token, the optimal regression of values on the keys so far, by recursive least squares.

The forward pass is a scan that is exact at every step and stays in cache. The backward pass is the closed form of `gated_sums` and needs only three numbers
per channel from the scan: it stores no inverse and does not differentiate through the recursion.

Reference: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (2023), Sec. 4 and App. B.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from mesocosm.nn.blocks.norms import unit_norm
from mesocosm.nn.mixer import Diagnostics, unbatched
from mesocosm.nn.mixers.gated_linear_attention import fill_gates, gated_linear_attention
from mesocosm.nn.mixers.gated_sums import RegressionSums, balanced_chunk, gradient_through_sums
from mesocosm.nn.mixers.projections import Projections, head_sizes, random_projections

_CHUNK = 64


class LeastSquaresState(NamedTuple):
    """inverse: R_t, the inverse of the regularised gram matrix of the keys. map: Phi_t, the regression of values on keys."""

    inverse: Float[Array, "*heads key_dim key_dim"]
    map: Float[Array, "*heads value_dim key_dim"]


class _Trace(NamedTuple):
    """Output Phi_t q_t, solution R_t q_t, gain g_t and error v_t - Phi_{t-1} k_t of every step."""

    output: Array
    solution: Array
    gain: Array
    error: Array


def least_squares_step(
    state: LeastSquaresState, key: Float[Array, " key_dim"], value: Float[Array, " value_dim"], forget: Float[Array, ""] | float = 1.0
) -> tuple[LeastSquaresState, Float[Array, " key_dim"], Float[Array, " value_dim"]]:
    r"""One step of recursive least squares, which is one online Newton step:

    $$g_t = \frac{R_{t-1} k_t}{\gamma_t + k_t^\top R_{t-1} k_t}, \quad R_t = \gamma_t^{-1} (R_{t-1} - g_t (R_{t-1} k_t)^\top), \quad \Phi_t = \Phi_{t-1} +
    (v_t - \Phi_{t-1} k_t) g_t^\top.$$

    Returns the new state, the gain $g_t = R_t k_t$ and the error $v_t - \Phi_{t-1} k_t$.
    """
    moved = state.inverse @ key
    scale = 1 / (forget + key @ moved)
    # The product of `moved` with itself comes first: it is bitwise symmetric, so the inverse stays symmetric over any number of steps.
    inverse = (state.inverse - moved[:, None] * moved[None, :] * scale) / forget
    error = value - state.map @ key
    gain = moved * scale
    return LeastSquaresState(inverse, state.map + error[:, None] * gain[None, :]), gain, error


def inverse_softplus(y: float) -> float:
    r"""The x with $\log(1 + e^x) = y > 0$, for any size of y."""
    return y + math.log(-math.expm1(-y))


def initial_least_squares(regulariser: Float[Array, " key_dim"], value_dim: int) -> LeastSquaresState:
    """Before the first token: R_0 = diag(1 / regulariser), Phi_0 = 0."""
    return LeastSquaresState(jnp.diag(1 / regulariser), jnp.zeros((value_dim, regulariser.shape[0]), regulariser.dtype))


def _scan(state: LeastSquaresState, query: Array, key: Array, value: Array, forget: Array | None) -> tuple[LeastSquaresState, _Trace]:
    def step(state: LeastSquaresState, token: tuple[Array, ...]) -> tuple[LeastSquaresState, _Trace]:
        q, k, v, *gate = token
        state, gain, error = least_squares_step(state, k, v, *gate)
        return state, _Trace(state.map @ q, state.inverse @ q, gain, error)

    with jax.default_matmul_precision("highest"):  # TF32 is not precise enough for a solve
        return jax.lax.scan(step, state, (query, key, value) if forget is None else (query, key, value, forget))


def continue_least_squares(
    state: LeastSquaresState,
    query: Float[Array, "time key_dim"],
    key: Float[Array, "time key_dim"],
    value: Float[Array, "time value_dim"],
    log_forget: Float[Array, " time"] | None = None,
) -> tuple[LeastSquaresState, Float[Array, "time value_dim"]]:
    """`recursive_least_squares` from a given state; also returns the last state, so that you can process a sequence in segments.

    It can also be differentiated with respect to the state, by plain reverse mode through the recursion (one inverse stored per token).
    """
    dtype = state.inverse.dtype
    q, k, v = (x.astype(dtype) for x in (query, key, value))
    forget = None if log_forget is None else jnp.exp(log_forget.astype(dtype))
    state, trace = _scan(state, q, k, v, forget)
    return state, trace.output.astype(query.dtype)


def recursive_least_squares(
    query: Float[Array, "time key_dim"],
    key: Float[Array, "time key_dim"],
    value: Float[Array, "time value_dim"],
    regulariser: Float[Array, " key_dim"],
    log_forget: Float[Array, " time"] | None = None,
) -> Float[Array, "time value_dim"]:
    r"""$o_t = \Phi_t q_t$ with $\Phi_t = \arg\min_\Phi \tfrac12 \sum_{s \le t} \zeta_{ts} \|v_s - \Phi k_s\|^2 + \tfrac12 \zeta_{t0} \mathrm{tr}(\Phi
    \Lambda \Phi^\top)$, one head (use `jax.vmap`).

    $\Lambda$ is the diagonal `regulariser` ($1/\lambda$ in the paper) and $\zeta_{ts} = \prod_{r=s+1}^t \gamma_r$ is the forgetting, which also decays the
    regulariser; without `log_forget`, $\zeta = 1$.
    With strong forgetting and keys that do not keep exciting every direction, the inverse grows without bound: use `gated_mesa`, whose regulariser is constant.

    The computation uses float32, or wider if an input is; the output has the dtype of `query`. Memory is linear in time, forward and backward.
    """
    dtype = jnp.promote_types(jnp.result_type(query, key, value, regulariser), jnp.float32)
    q, k, v, diagonal = (x.astype(dtype) for x in (query, key, value, regulariser))
    forget = None if log_forget is None else log_forget.astype(dtype)
    return _least_squares(q, k, v, diagonal, forget).astype(query.dtype)


@jax.custom_vjp
def _least_squares(query: Array, key: Array, value: Array, regulariser: Array, log_forget: Array | None) -> Array:
    return _least_squares_forward(query, key, value, regulariser, log_forget)[0]


def _least_squares_forward(query: Array, key: Array, value: Array, regulariser: Array, log_forget: Array | None) -> tuple[Array, tuple]:
    state = initial_least_squares(regulariser, value.shape[1])
    _, trace = _scan(state, query, key, value, None if log_forget is None else jnp.exp(log_forget))
    return trace.output, (key, value, regulariser, log_forget, trace.solution, trace.gain, trace.error)


def _least_squares_backward(saved: tuple, cotangent: Array) -> tuple:
    key, value, regulariser, log_forget, solution, gain, error = saved
    chunk = balanced_chunk(key.shape[0], _CHUNK)
    with jax.default_matmul_precision("highest"):
        # R_t G_t^T e_t = Phi_t^T e_t, and Phi_t is a sum of outer products of errors and gains: linear attention with queries e_t, keys errors, values gains.
        adjoint, _ = gated_linear_attention(cotangent, error, gain, chunk=chunk)
        gates = fill_gates(key.shape[0], key.dtype, log_forget, None)
        # The regulariser decays like a write before the first token: it is the initial gram matrix.
        initial = RegressionSums(jnp.diag(regulariser), jnp.zeros((value.shape[1], key.shape[1]), key.dtype))
        final = jax.tree.map(jnp.zeros_like, initial)
        dkey, dvalue, dforget, _, dinitial = gradient_through_sums(key, value, *gates, initial, solution, adjoint, cotangent, final, chunk=chunk)
    return adjoint, dkey, dvalue, jnp.diag(dinitial.gram), None if log_forget is None else dforget


_least_squares.defvjp(_least_squares_forward, _least_squares_backward)


class MesaAttention(Projections):
    r"""The mesa layer, $y_t = \sum_h P_h \Phi_{h,t} q_{h,t}$, $\Phi_{h,t} = \arg\min_\Phi \tfrac12 \sum_{s \le t} \|v_s - \Phi k_s\|^2 +
    \tfrac{1}{2\lambda_h} \|\Phi\|_F^2$.

    $\lambda_h = \mathrm{softplus}$(`raw_strength`) is learned, one per head, or is the number `fixed_strength` if `raw_strength` is None. As $\lambda \to 0$,
    $y/\lambda$ tends to linear attention.
    With `unit_keys`, queries and keys are L2-normalised. The solve runs in float32, or in float64 if the input is float64.

    Reference: von Oswald et al. (2023), Eq. 8, where lambda is an unconstrained scalar.
    """

    raw_strength: Float[Array, " heads"] | None
    fixed_strength: float = eqx.field(static=True, default=1.0)
    unit_keys: bool = eqx.field(static=True, default=False)

    @classmethod
    def create(
        cls,
        dim: int,
        *,
        heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        std: float | None = None,
        strength: float = 1.0,
        learn_strength: bool = True,
        unit_keys: bool = False,
        key: PRNGKeyArray,
    ) -> "MesaAttention":
        """A layer with random maps.

        Args:
            dim: width of the tokens.
            heads: number of heads; default: 4, or fewer if 4 do not divide `dim` and `key_dim` is not given.
            key_dim, value_dim: size of a head's keys (default: dim / heads) and values (default: `key_dim`).
            std: standard deviation of the four maps; default: 1 / sqrt(fan in), with keys that start as queries.
            strength: lambda at the start, in every head.
            learn_strength: whether lambda is learned.
            unit_keys: whether queries and keys are L2-normalised.

        Raises:
            ValueError: the strength is not positive.
        """
        if not strength > 0:
            raise ValueError(f"The strength lambda must be above 0, got {strength}.")
        sizes = head_sizes(dim, heads, key_dim, value_dim)
        weights = random_projections(dim, *sizes, std, key)
        raw = jnp.full(sizes[0], inverse_softplus(strength)) if learn_strength else None
        return cls(*weights, raw_strength=raw, fixed_strength=strength, unit_keys=unit_keys)

    def split(self, x: Float[Array, "*time dim"]) -> tuple[Array, Array, Array]:
        """Queries, keys and values of every head, in the precision of the solve."""
        dtype = jnp.promote_types(jnp.result_type(x, self.key), jnp.float32)
        queries, keys, values = (a.astype(dtype) for a in super().split(x))
        return (unit_norm(queries), unit_norm(keys), values) if self.unit_keys else (queries, keys, values)

    def regulariser(self, dtype: DTypeLike) -> Float[Array, "heads key_dim"]:
        """1 / lambda for each head and key channel."""
        heads, key_dim = self.key.shape[:2]
        if self.raw_strength is None:
            return jnp.full((heads, key_dim), 1 / jnp.asarray(self.fixed_strength, dtype))
        return jnp.broadcast_to(1 / jax.nn.softplus(self.raw_strength.astype(dtype))[:, None], (heads, key_dim))

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        queries, keys, values = self.split(x)
        solve = jax.vmap(recursive_least_squares, in_axes=(1, 1, 1, 0), out_axes=1)
        return self.merge(solve(queries, keys, values, self.regulariser(keys.dtype)).astype(x.dtype))

    @unbatched
    def explain(self, x: Float[Array, "time dim"]) -> tuple[Float[Array, "time dim"], Diagnostics]:
        """Return the output and the weight <k_s, R_t q_t> of each value: attention whose queries are preconditioned by the keys so far."""
        queries, keys, values = self.split(x)
        states = jax.vmap(lambda r: initial_least_squares(r, values.shape[2]))(self.regulariser(keys.dtype))
        _, trace = jax.vmap(lambda s, q, k, v: _scan(s, q, k, v, None), in_axes=(0, 1, 1, 1))(states, queries, keys, values)
        causal = jnp.tril(jnp.ones((x.shape[0], x.shape[0]), keys.dtype))
        attention = jnp.einsum("htk,shk->hts", trace.solution, keys, precision="highest") * causal
        return self.merge(jnp.swapaxes(trace.output, 0, 1).astype(x.dtype)), Diagnostics(attention=attention)

    def init_state(self) -> LeastSquaresState:
        """R_0 = lambda I and Phi_0 = 0 for each head."""
        dtype = jnp.promote_types(self.key.dtype, jnp.float32)
        return jax.vmap(lambda r: initial_least_squares(r, self.value.shape[1]))(self.regulariser(dtype))

    def step(self, state: LeastSquaresState, x: Float[Array, " dim"]) -> tuple[LeastSquaresState, Float[Array, " dim"]]:
        """Process one token with one step of recursive least squares per head."""
        queries, keys, values = (a.astype(state.inverse.dtype) for a in self.split(x))
        with jax.default_matmul_precision("highest"):
            state, _, _ = jax.vmap(least_squares_step)(state, keys, values)
            out = jnp.einsum("hvk,hk->hv", state.map, queries)
        return state, self.merge(out.astype(x.dtype))
