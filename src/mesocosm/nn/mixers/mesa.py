r"""The mesa layer: at every token, the optimal regression of values on the keys so far, by recursive least squares.

The forward pass is a scan over chunks of tokens that is exact at every token; with forgetting, a scan over tokens. The backward pass is a closed form and needs
only three numbers per channel from the scan: it stores no inverse and does not differentiate through the recursion.

References: von Oswald et al., "Uncovering mesa-optimization algorithms in Transformers" (2023), Sec. 4 and App. B; for the root of the inverse, Potter's
square-root filter, and for several tokens at once Andrews', in Bierman, "Factorization methods for discrete sequential estimation" (1977).
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
from mesocosm.nn.mixers.gated_linear_attention import gated_linear_attention
from mesocosm.nn.mixers.gated_sums import balanced_chunk, check_gates, check_positive, forget_gate, join_chunks, split_chunks
from mesocosm.nn.mixers.projections import Projections, head_sizes, project, random_projections
from mesocosm.nn.recurrences.linear_recurrence import linear_recurrence
from mesocosm.numerics.linear_algebra import cholesky, lower_inverse
from mesocosm.numerics.precision import FULL, full_precision

_CHUNK = 16  # of the solve; larger ones make its triangular factors dear
_READ = 64  # of the sums in the backward pass


class LeastSquaresState(NamedTuple):
    """root: S_t, where R_t = S_t S_t^T is the inverse of the regularised gram matrix of the keys. map: Phi_t, the regression of values on keys. regulariser:
    the diagonal of Lambda."""

    root: Float[Array, "*heads key_dim key_dim"]
    map: Float[Array, "*heads value_dim key_dim"]
    regulariser: Float[Array, "*heads key_dim"]

    @property
    def inverse(self) -> Float[Array, "*heads key_dim key_dim"]:
        """R_t."""
        return jnp.einsum("...ij,...kj->...ik", self.root, self.root, precision=FULL)


class _Trace(NamedTuple):
    """Output Phi_t q_t, solution R_t q_t, and the two factors of the change of Phi: the gain g_t and the error v_t - Phi_{t-1} k_t, up to scale."""

    output: Array
    solution: Array
    gain: Array
    error: Array


@full_precision
def least_squares_step(
    state: LeastSquaresState, key: Float[Array, " key_dim"], value: Float[Array, " value_dim"], forget: Float[Array, ""] | float | None = None
) -> tuple[LeastSquaresState, Float[Array, " key_dim"], Float[Array, " value_dim"]]:
    r"""One step of recursive least squares, which is one online Newton step. With $f_t = S_{t-1}^\top k_t$ and $b_t = \gamma_t + f_t^\top f_t$:

    $$g_t = \frac{S_{t-1} f_t}{b_t}, \quad S_t = \frac{1}{\sqrt{\gamma_t}} \left(S_{t-1} - \frac{S_{t-1} f_t f_t^\top}{b_t + \sqrt{\gamma_t b_t}}\right), \quad
    \Phi_t = \Phi_{t-1} + (v_t - \Phi_{t-1} k_t) g_t^\top.$$

    The inverse $R_t = S_t S_t^\top$ stays positive semidefinite, and rounding costs half of the digits that it would in a recursion of the inverse itself. If
    $\gamma_t = 0$, the state before the token is that before the first one, with the whole regulariser.

    Step by step in float32, keys that repeat leave errors of about 4e-4 of the values' size after 4096 tokens, 1e-2 after 16384 and 0.1 after 65536.
    `continue_least_squares` and `recursive_least_squares` change the root once a chunk and keep these below 1e-3 up to 16384 tokens and 5e-3 up to 65536,
    without `log_forget`.

    Returns the new state, the gain $g_t = R_t k_t$ and the error $v_t - \Phi_{t-1} k_t$.
    """
    root, map_, start = state.root, state.map, state.regulariser**-0.5
    seen, recalled = key @ root, map_ @ key
    moved = root @ seen
    if forget is None:
        forget = jnp.ones((), root.dtype)
    else:  # selected after the products, which saves a pass over the state
        again = jnp.asarray(forget) == 0
        seen, recalled = jnp.where(again, start * key, seen), jnp.where(again, 0, recalled)
        moved = jnp.where(again, start * seen, moved)
        root, map_, forget = jnp.where(again, jnp.diag(start), root), jnp.where(again, 0, map_), jnp.where(again, 1, forget)
    total = forget + seen @ seen
    root = (root - moved[:, None] * (seen / (total + jnp.sqrt(forget * total)))) / jnp.sqrt(forget)
    error, gain = value - recalled, moved / total
    return LeastSquaresState(root, map_ + error[:, None] * gain[None, :], state.regulariser), gain, error


def inverse_softplus(y: float) -> float:
    r"""The x with $\log(1 + e^x) = y > 0$, for any size of y."""
    return y + math.log(-math.expm1(-y))


def initial_least_squares(regulariser: Float[Array, " key_dim"], value_dim: int) -> LeastSquaresState:
    """Before the first token: R_0 = diag(1 / regulariser), Phi_0 = 0.

    Raises:
        ValueError: a regulariser that is not traced is not positive and finite.
    """
    check_positive("regulariser", regulariser)
    return LeastSquaresState(jnp.diag(regulariser**-0.5), jnp.zeros((value_dim, regulariser.shape[0]), regulariser.dtype), regulariser)


@full_precision  # TF32 is not precise enough for a solve
def _scan(state: LeastSquaresState, query: Array, key: Array, value: Array, log_forget: Array | None) -> tuple[LeastSquaresState, _Trace]:
    if log_forget is not None:
        return jax.lax.scan(_token, state, (query, key, value, forget_gate(log_forget)))
    size = balanced_chunk(len(key), _CHUNK)
    state, trace = jax.lax.scan(_chunk, state, tuple(split_chunks(x, size) for x in (query, key, value)))
    return state, _Trace(*(join_chunks(x, len(key)) for x in trace))


def _token(state: LeastSquaresState, token: tuple[Array, ...]) -> tuple[LeastSquaresState, _Trace]:
    q, k, v, forget = token
    state, gain, error = least_squares_step(state, k, v, forget)
    return state, _Trace(state.map @ q, state.root @ (q @ state.root), gain, error)


def _chunk(state: LeastSquaresState, tokens: tuple[Array, ...]) -> tuple[LeastSquaresState, _Trace]:
    r"""All steps of a chunk at once, tokens in rows: with $F = K S$, $I + F F^\top = L L^\top$ and $X = L^{-1} F$, gains $G = X S^\top$ and errors $E = L^{-1}
    (V - K \Phi^\top)$.

    The leading blocks of $L$ belong to the chunk's first tokens. Hence $\Phi_t = \Phi + \sum_{s \le t} E_s G_s^\top$ and $R_t = S S^\top - \sum_{s \le t} G_s
    G_s^\top$; and $S - G^\top (I + L^{-1})^{-1} X$ is a root of the last inverse (Andrews' form of the square-root filter).
    """
    query, key, value = tokens
    whiten, white = _whitened(key @ state.root)
    gain, error = white @ state.root.T, whiten @ (value - key @ state.map.T)
    weights = jnp.tril(query @ gain.T)
    trace = _Trace(query @ state.map.T + weights @ error, (query @ state.root) @ state.root.T - weights @ gain, gain, error)
    root = state.root - gain.T @ (lower_inverse(jnp.eye(len(key), dtype=key.dtype) + whiten) @ white)
    return LeastSquaresState(root, state.map + error.T @ gain, state.regulariser), trace


@jax.custom_jvp
def _whitened(seen: Float[Array, "time key_dim"]) -> tuple[Float[Array, "time time"], Float[Array, "time key_dim"]]:
    r"""$N = L^{-1}$ and $X = N F$, where $I + F F^\top = L L^\top$.

    Products of large keys lose the identity to rounding. A little more of it keeps the matrix positive definite, and Newton steps with $N N^\top + X X^\top -
    I$, which is 0 for the right $N$ and has no large terms, give back what that and the rounding cost: the digits lost go with $F$, not $F^2$. One step is
    enough while the products are below 1e4, a few beyond.
    """
    products, eye = seen @ seen.T, jnp.eye(len(seen), dtype=seen.dtype)
    rounding = 4 * jnp.finfo(seen.dtype).eps * jnp.max(jnp.diagonal(products))
    whiten = lower_inverse(cholesky(products + (1 + rounding) * eye))

    def newton(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        whiten, white, _, count = carry
        wrong = _lower_half(whiten @ whiten.T + white @ white.T - eye)
        return whiten - wrong @ whiten, white - wrong @ white, jnp.max(jnp.abs(wrong)), count + 1

    start = newton((whiten, whiten @ seen, jnp.ones((), seen.dtype), jnp.zeros((), jnp.int32)))
    whiten, white, _, _ = jax.lax.while_loop(lambda carry: (carry[2] > 1e-3) & (carry[3] < 20), newton, start)
    return whiten, white


@_whitened.defjvp
def _whitened_derivative(given: tuple[Array], moved: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    whiten, white = _whitened(*given)
    change = whiten @ moved[0]
    products = change @ white.T
    turn = _lower_half(products + products.T)
    return (whiten, white), (-turn @ whiten, change - turn @ white)


def _lower_half(a: Float[Array, "time time"]) -> Float[Array, "time time"]:
    """The lower triangle with half of the diagonal."""
    return jnp.tril(a) - jnp.diag(jnp.diagonal(a)) / 2


def continue_least_squares(
    state: LeastSquaresState,
    query: Float[Array, "time key_dim"],
    key: Float[Array, "time key_dim"],
    value: Float[Array, "time value_dim"],
    log_forget: Float[Array, " time"] | None = None,
) -> tuple[LeastSquaresState, Float[Array, "time value_dim"]]:
    """`recursive_least_squares` from a given state; also returns the last state, so that you can process a sequence in segments.

    It can be differentiated in all modes, also with respect to the state, by plain differentiation of the recursion (in reverse mode, one root stored per
    chunk, or per token with `log_forget`).
    """
    dtype = state.root.dtype
    q, k, v = (x.astype(dtype) for x in (query, key, value))
    state, trace = _scan(state, q, k, v, None if log_forget is None else log_forget.astype(dtype))
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
    regulariser; without `log_forget`, $\zeta = 1$. A token with $\gamma_t = 0$ (`log_forget` at most -100, such as -inf) starts again, with the whole
    regulariser, as if it were the first one.
    With strong forgetting and keys that do not keep exciting every direction, the inverse grows without bound: use `gated_mesa`, whose regulariser is constant.

    The computation uses float32, or wider if an input is; the output has the dtype of `query`. Memory is linear in time, forward and backward. The gradient
    can be differentiated again, but JAX's forward mode cannot come first: there, use `continue_least_squares`.

    Raises:
        ValueError: a regulariser that is not traced is not positive and finite, or a `log_forget` is above 0 or NaN.
    """
    dtype = jnp.promote_types(jnp.result_type(query, key, value, regulariser), jnp.float32)
    q, k, v, diagonal = (x.astype(dtype) for x in (query, key, value, regulariser))
    check_positive("regulariser", regulariser)
    check_gates(log_forget)
    forget = None if log_forget is None else log_forget.astype(dtype)
    return _least_squares(q, k, v, diagonal, forget).astype(query.dtype)


@jax.custom_vjp
def _least_squares(query: Array, key: Array, value: Array, regulariser: Array, log_forget: Array | None) -> Array:
    return _least_squares_forward(query, key, value, regulariser, log_forget)[0]


def _least_squares_forward(query: Array, key: Array, value: Array, regulariser: Array, log_forget: Array | None) -> tuple[Array, tuple]:
    _, trace = _scan(initial_least_squares(regulariser, value.shape[1]), query, key, value, log_forget)
    return trace.output, (key, value, regulariser, log_forget, trace.solution, trace.gain, trace.error)


@full_precision
def _least_squares_backward(saved: tuple, cotangent: Array) -> tuple:
    r"""With $q^*_t = R_t q_t$, $e^*_t = R_t G_t^\top e_t$ and the cotangent $e_t$, all held fixed, the gradient is that of $\sum_t e_t \cdot G_t q^*_t -
    e^*_t \cdot (H_t + \zeta_{t0} \Lambda) q^*_t$ (MesaNet, App. D), and $e^*_t$ for the queries."""
    key, value, regulariser, log_forget, solution, gain, error = saved
    # R_t G_t^T e_t = Phi_t^T e_t, and Phi_t is a sum of outer products of errors and gains: linear attention with queries e_t, keys errors, values gains.
    restarts = None if log_forget is None else jnp.where(forget_gate(log_forget) == 0, -jnp.inf, 0)
    adjoint, _ = gated_linear_attention(cotangent, error, gain, restarts, chunk=_READ)

    def read(key: Array, value: Array, regulariser: Array, log_forget: Array | None) -> Array:
        sums, _ = gated_linear_attention(solution, key, jnp.concatenate([value, key], axis=1), log_forget, chunk=_READ)
        cross, gram = sums[:, : value.shape[1]], sums[:, value.shape[1] :]
        return jnp.sum(cotangent * cross) - jnp.sum(adjoint * (gram + _worn(log_forget, regulariser) * solution))

    return adjoint, *jax.grad(read, (0, 1, 2, 3))(key, value, regulariser, log_forget)


def _worn(log_forget: Array | None, regulariser: Array) -> Array:
    """The regulariser at every token: it decays like the writes, and is whole again where a gate is 0."""
    if log_forget is None:
        return regulariser
    gate = forget_gate(log_forget)[:, None]
    return regulariser * linear_recurrence(gate, (gate == 0).astype(gate.dtype), jnp.ones(1, gate.dtype))


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

    def __check_init__(self):
        check_positive("strength lambda", self.fixed_strength)

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
            ValueError: the strength is not positive and finite.
        """
        check_positive("strength lambda", strength)
        sizes = head_sizes(dim, heads, key_dim, value_dim)
        weights = random_projections(dim, *sizes, std, key)
        raw = jnp.full(sizes[0], inverse_softplus(strength)) if learn_strength else None
        return cls(*weights, raw_strength=raw, fixed_strength=strength, unit_keys=unit_keys)

    def split(self, x: Float[Array, "*time dim"]) -> tuple[Array, Array, Array]:
        """Queries, keys and values of every head, in the precision of the solve."""
        dtype = jnp.promote_types(jnp.result_type(x, self.key), jnp.float32)
        queries, keys, values = (project(x, w, dtype) for w in (self.query, self.key, self.value))
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
        attention = jnp.einsum("htk,shk->hts", trace.solution, keys, precision=FULL) * causal
        return self.merge(jnp.swapaxes(trace.output, 0, 1).astype(x.dtype)), Diagnostics(attention=attention)

    def init_state(self) -> LeastSquaresState:
        """R_0 = lambda I and Phi_0 = 0 for each head."""
        return jax.vmap(lambda r: initial_least_squares(r, self.value.shape[1]))(self.regulariser(jnp.promote_types(self.key.dtype, jnp.float32)))

    def step(self, state: LeastSquaresState, x: Float[Array, " dim"]) -> tuple[LeastSquaresState, Float[Array, " dim"]]:
        """Process one token with one step of recursive least squares per head."""
        queries, keys, values = (a.astype(state.root.dtype) for a in self.split(x))
        state, _, _ = jax.vmap(least_squares_step)(state, keys, values)
        out = jnp.einsum("hvk,hk->hv", state.map, queries, precision=FULL)
        return state, self.merge(out.astype(x.dtype))
