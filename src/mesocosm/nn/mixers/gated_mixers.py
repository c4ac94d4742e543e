r"""Mixers of the gated linear family: one shared front end (convolution, unit keys, gates) and three memories.

Gated linear attention adds every write, the (gated) delta rule corrects the memory by one gradient step, and the gated mesa layer solves the regression.
Everything else is equal, so comparing the three compares their memories.

Reference: von Oswald et al., "MesaNet: Sequence modeling by locally optimal test-time training" (2025), Sec. 3 and Table 1.
"""

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mesocosm.nn.blocks.norms import rms_normalise, unit_norm
from mesocosm.nn.mixer import Diagnostics, StreamingMixer, unbatched
from mesocosm.nn.mixers.conjugate_gradient import conjugate_gradient
from mesocosm.nn.mixers.gated_linear_attention import delta_rule, gated_linear_attention
from mesocosm.nn.mixers.gated_mesa import GatedMesaResult, gated_mesa
from mesocosm.nn.mixers.gated_sums import RegressionSums, chunk_gates
from mesocosm.nn.mixers.mesa import inverse_softplus
from mesocosm.nn.mixers.projections import head_sizes, project, random_projections
from mesocosm.numerics.precision import FULL, full_precision

_WIDTH = 4  # of the causal convolution
_SMALLEST_GATE = 1e-6  # in size, where its sign changes and its logarithm has no derivative


class HeadTokens(NamedTuple):
    """Inputs of a head's memory: query, key, value, and the gates (log_forget: log |gamma|; input_gate: beta; negative: where gamma < 0, None for nowhere).
    Leading axes: (time, heads) or (heads,)."""

    query: Float[Array, "*rows key_dim"]
    key: Float[Array, "*rows key_dim"]
    value: Float[Array, "*rows value_dim"]
    log_forget: Float[Array, "*rows"]
    input_gate: Float[Array, "*rows"]
    negative: Bool[Array, "*rows"] | None = None


class GatedState(NamedTuple):
    """history: the last inputs of the convolution, for queries and keys. memory: the heads' memory."""

    history: Float[Array, "past two heads key_dim"]
    memory: Any


class GatedProjections(eqx.Module):
    r"""The front end, from $x = \mathrm{RMSNorm}(e)$: $q, k$ = unit(SiLU(conv_4($W x$))), $v = W_v x$, $\beta = \sigma(w_\beta x + b_\beta)$, $\gamma =
    \sigma(w_\gamma x + b_\gamma)$, per head.

    conv_4 is a causal convolution over the last four tokens, with one filter per channel. With `write_forgets` = w, $\gamma$ is multiplied by
    $1 - w \beta^2$ (w = 0.0025 in the paper for data with repeated tokens, whose identical keys would let the condition number grow with time). If `signed`,
    $\gamma = 2 \sigma(w_\gamma x + b_\gamma) - 1$, between -1 and 1.
    """

    input_scale: Float[Array, " dim"]
    query: Float[Array, "heads key_dim dim"]
    key: Float[Array, "heads key_dim dim"]
    value: Float[Array, "heads value_dim dim"]
    filters: Float[Array, "width two heads key_dim"]
    input_gate: Float[Array, "heads dim"]
    input_bias: Float[Array, " heads"]
    forget_gate: Float[Array, "heads dim"]
    forget_bias: Float[Array, " heads"]
    write_forgets: float = eqx.field(static=True, default=0.0)
    signed: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not 0 <= self.write_forgets <= 1:
            raise ValueError(f"write_forgets must be between 0 and 1, got {self.write_forgets}: forget gates are multiplied by 1 - write_forgets beta^2")

    def raw_keys(self, x: Float[Array, "*time dim"]) -> Float[Array, "*time two heads key_dim"]:
        """Queries and keys before the convolution, in the precision of the memory."""
        normal, dtype = self._normalised(x)
        return jnp.stack([project(normal, w, dtype) for w in (self.query, self.key)], axis=-3)

    def tokens(self, x: Float[Array, "*time dim"], convolved: Float[Array, "*time two heads key_dim"]) -> HeadTokens:
        """Everything after the convolution, in the precision of the memory (float32 or wider)."""
        normal, dtype = self._normalised(x)
        queries, keys = jnp.moveaxis(unit_norm(jax.nn.silu(convolved)), -3, 0)
        values = project(normal, self.value, dtype)
        writes, keeps = (
            jnp.matmul(normal, w.T, preferred_element_type=dtype) + b for w, b in ((self.input_gate, self.input_bias), (self.forget_gate, self.forget_bias))
        )
        input_gate = jax.nn.sigmoid(writes)
        forget, negative = jax.nn.log_sigmoid(keeps), None
        if self.signed:
            gate = jnp.tanh(keeps / 2)
            forget, negative = jnp.log(jnp.maximum(jnp.abs(gate), _SMALLEST_GATE)), gate < 0
        log_forget = forget + jnp.log1p(-self.write_forgets * input_gate**2)
        return HeadTokens(queries, keys, values, log_forget, input_gate, negative)

    def _normalised(self, x: Float[Array, "*time dim"]) -> tuple[Float[Array, "*time dim"], DTypeLike]:
        """The normalised tokens, and the precision of sums over their channels: float32 or wider."""
        return rms_normalise(x, self.input_scale), jnp.promote_types(jnp.result_type(x, self.key), jnp.float32)

    def __call__(self, x: Float[Array, "time dim"]) -> HeadTokens:
        """Head tokens of a whole sequence."""
        raw = jnp.pad(self.raw_keys(x), [(self.filters.shape[0] - 1, 0), (0, 0), (0, 0), (0, 0)])
        convolved = sum(raw[i : i + x.shape[0]] * f for i, f in enumerate(self.filters))
        return self.tokens(x, jnp.asarray(convolved))

    def step(self, history: Float[Array, "past two heads key_dim"], x: Float[Array, " dim"]) -> tuple[Float[Array, "past two heads key_dim"], HeadTokens]:
        """Head tokens for one token, given the convolution's last inputs."""
        window = jnp.concatenate([history, self.raw_keys(x)[None].astype(history.dtype)])
        return window[1:], self.tokens(x, jnp.sum(window * self.filters, axis=0))


class GatedMixer(StreamingMixer):
    r"""$y_t = \sum_h W_{o,h}\, \mathrm{RMSNorm}(o_{h,t})$, where o is the memory's output for the front end's queries; subclasses implement the memory."""

    front: GatedProjections
    head_scale: Float[Array, "heads value_dim"]
    output: Float[Array, "heads dim value_dim"]

    @abstractmethod
    def recall(self, tokens: HeadTokens) -> Float[Array, "time heads value_dim"]:
        """Outputs of all heads' memories for a whole sequence."""

    @abstractmethod
    def init_memory(self, dtype: DTypeLike) -> Any:
        """The memory of all heads before the first token."""

    @abstractmethod
    def recall_step(self, memory: Any, tokens: HeadTokens) -> tuple[Any, Float[Array, "heads value_dim"]]:
        """Pass one token through the memories of all heads."""

    def _merge(self, heads: Float[Array, "*time heads value_dim"], dtype: DTypeLike) -> Float[Array, "*time dim"]:
        merged = jnp.einsum("...hv,hdv->...d", rms_normalise(heads, self.head_scale), self.output)
        return merged.astype(jnp.result_type(dtype, self.output))

    @unbatched
    def __call__(self, x: Float[Array, "time dim"], *, key: PRNGKeyArray | None = None) -> Float[Array, "time dim"]:
        """Map tokens to tokens."""
        return self._merge(self.recall(self.front(x)), x.dtype)

    def init_state(self) -> GatedState:
        """Zeros for the past inputs (the padding of the convolution), and the memory before the first token."""
        dtype = jnp.promote_types(self.front.key.dtype, jnp.float32)
        return GatedState(jnp.zeros((self.front.filters.shape[0] - 1, *self.front.filters.shape[1:]), dtype), self.init_memory(dtype))

    def step(self, state: GatedState, x: Float[Array, " dim"]) -> tuple[GatedState, Float[Array, " dim"]]:
        """Process one token: convolution, write, read."""
        history, tokens = self.front.step(state.history, x)
        memory, heads = self.recall_step(state.memory, tokens)
        return GatedState(history, memory), self._merge(heads, x.dtype)


def random_gated_parts(
    dim: int, heads: int | None, key_dim: int | None, value_dim: int | None, std: float | None, key: PRNGKeyArray, *, signed: bool = False
) -> tuple[GatedProjections, Float[Array, "heads value_dim"], Float[Array, "heads dim value_dim"]]:
    """Initialise the parts of a gated mixer: maps N(0, std^2), by default N(0, 1 / fan in), with keys that start as queries; filters uniform in +-1/2; gate
    biases for which beta is 1/2 and gamma goes over the heads from 0.9 to 0.999, evenly spaced in the logits; if `signed`, gamma starts around 0."""
    maps, gates, filters = jax.random.split(key, 3)
    heads, key_dim, value_dim = head_sizes(dim, heads, key_dim, value_dim)
    query, key_map, value, output = random_projections(dim, heads, key_dim, value_dim, std, maps)
    input_gate, forget_gate = (dim**-0.5 if std is None else std) * jax.random.normal(gates, (2, heads, dim))
    front = GatedProjections(
        input_scale=jnp.ones(dim),
        query=query,
        key=key_map,
        value=value,
        filters=jax.random.uniform(filters, (_WIDTH, 2, heads, key_dim), minval=-0.5, maxval=0.5),
        input_gate=input_gate,
        input_bias=jnp.zeros(heads),
        forget_gate=forget_gate,
        forget_bias=jnp.zeros(heads) if signed else jnp.linspace(math.log(0.9 / 0.1), math.log(0.999 / 0.001), heads),
        signed=signed,
    )
    return front, jnp.ones((heads, value.shape[1])), output


class _LinearMemory(GatedMixer):
    def init_memory(self, dtype: DTypeLike) -> Float[Array, "heads value_dim key_dim"]:
        """Fast weights of zero."""
        heads, value_dim, key_dim = *self.front.value.shape[:2], self.front.key.shape[1]
        return jnp.zeros((heads, value_dim, key_dim), dtype)


class GatedLinearAttention(_LinearMemory):
    r"""$G_t = \gamma_t G_{t-1} + \beta_t v_t k_t^\top$, $o_t = G_t q_t$ in every head."""

    @classmethod
    def create(
        cls, dim: int, *, heads: int | None = None, key_dim: int | None = None, value_dim: int | None = None, std: float | None = None, key: PRNGKeyArray
    ) -> "GatedLinearAttention":
        """A layer with random maps.

        Args:
            dim: width of the tokens.
            heads: number of heads; default: 4, or fewer if 4 do not divide `dim` and `key_dim` is not given.
            key_dim, value_dim: size of a head's keys (default: dim / heads) and values (default: `key_dim`).
            std: standard deviation of all maps; default: 1 / sqrt(fan in), with keys that start as queries.
        """
        return cls(*random_gated_parts(dim, heads, key_dim, value_dim, std, key))

    def recall(self, tokens: HeadTokens) -> Float[Array, "time heads value_dim"]:
        """Chunk-parallel."""
        return jax.vmap(lambda t: gated_linear_attention(*t[:5])[0], in_axes=1, out_axes=1)(tokens)

    def recall_step(self, memory: Float[Array, "heads value_dim key_dim"], tokens: HeadTokens) -> tuple[Array, Float[Array, "heads value_dim"]]:
        """Process one token: decay, add, read."""
        write = tokens.input_gate[:, None, None] * tokens.value[:, :, None] * tokens.key[:, None, :]
        memory = jnp.exp(tokens.log_forget)[:, None, None] * memory + write
        return memory, jnp.einsum("hvk,hk->hv", memory, tokens.query)


class DeltaNet(_LinearMemory):
    r"""$G_t = \gamma_t G_{t-1} (I - \beta_t k_t k_t^\top) + \beta_t v_t k_t^\top$, $o_t = G_t q_t$ in every head; without `forgets`, $\gamma = 1$."""

    forgets: bool = eqx.field(static=True, default=True)

    @classmethod
    def create(
        cls,
        dim: int,
        *,
        heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        std: float | None = None,
        forgets: bool = True,
        key: PRNGKeyArray,
    ) -> "DeltaNet":
        """A layer with random maps.

        Args:
            dim: width of the tokens.
            heads: number of heads; default: 4, or fewer if 4 do not divide `dim` and `key_dim` is not given.
            key_dim, value_dim: size of a head's keys (default: dim / heads) and values (default: `key_dim`).
            std: standard deviation of all maps; default: 1 / sqrt(fan in), with keys that start as queries.
            forgets: whether the memory decays by the forget gates.
        """
        return cls(*random_gated_parts(dim, heads, key_dim, value_dim, std, key), forgets=forgets)

    def _gates(self, tokens: HeadTokens) -> HeadTokens:
        return tokens if self.forgets else tokens._replace(log_forget=jnp.zeros_like(tokens.log_forget))

    def recall(self, tokens: HeadTokens) -> Float[Array, "time heads value_dim"]:
        """Process token by token."""
        return jax.vmap(lambda t: delta_rule(*t[:5])[0], in_axes=1, out_axes=1)(self._gates(tokens))

    def recall_step(self, memory: Float[Array, "heads value_dim key_dim"], tokens: HeadTokens) -> tuple[Array, Float[Array, "heads value_dim"]]:
        """Process one token with the recursion."""
        one = jax.tree.map(lambda a: a[:, None], self._gates(tokens))
        out, memory = jax.vmap(lambda t, m: delta_rule(*t[:5], state=m))(one, memory)
        return memory, out[:, 0]


class GatedMesaAttention(GatedMixer):
    r"""$o_t = G_t (H_t + \Lambda)^{-1} q_t$ in every head, $\Lambda = \Lambda_{\min} + \mathrm{softplus}$(`raw_regulariser`) per key channel: the MesaNet
    layer.

    steps, tolerance: bounds of the conjugate gradient solve, in training and streaming. chunk: number of tokens in one masked product.

    Reference: von Oswald et al. (2025), Sec. 3, with $\Lambda_{\min}$ = 0.25 and 30 steps.
    """

    raw_regulariser: Float[Array, "heads key_dim"]
    smallest_regulariser: float = eqx.field(static=True, default=0.25)
    tolerance: float = eqx.field(static=True, default=1e-5)
    steps: int = eqx.field(static=True, default=30)
    chunk: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        if not 0 <= self.smallest_regulariser < math.inf:
            raise ValueError(f"the lower bound of Lambda must be at least 0 and finite, got {self.smallest_regulariser}")

    @classmethod
    def create(
        cls,
        dim: int,
        *,
        heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        std: float | None = None,
        regulariser: float = 1.0,
        smallest_regulariser: float = 0.25,
        tolerance: float = 1e-5,
        steps: int = 30,
        chunk: int = 64,
        signed: bool = False,
        key: PRNGKeyArray,
    ) -> "GatedMesaAttention":
        """A layer with random maps.

        Args:
            dim: width of the tokens.
            heads: number of heads; default: 4, or fewer if 4 do not divide `dim` and `key_dim` is not given.
            key_dim, value_dim: size of a head's keys (default: dim / heads) and values (default: `key_dim`).
            std: standard deviation of all maps; default: 1 / sqrt(fan in), with keys that start as queries.
            regulariser, smallest_regulariser: value of Lambda at the start, and its lower bound.
            tolerance, steps: bounds of the conjugate gradient solve.
            chunk: number of tokens in one masked product.
            signed: whether forget gates may be negative. The bound of Lambda should then be above the number of tokens, or above 1 / (1 - max |gamma|), so
                that the system stays positive definite (paper: 49, with a start at 50).

        Raises:
            ValueError: `regulariser` does not exceed its lower bound, or is infinite.
        """
        if not smallest_regulariser < regulariser < math.inf:
            raise ValueError(f"Lambda must be finite and start above its lower bound: got {regulariser}, bound {smallest_regulariser}.")
        parts = random_gated_parts(dim, heads, key_dim, value_dim, std, key, signed=signed)
        raw = jnp.full(parts[0].key.shape[:2], inverse_softplus(regulariser - smallest_regulariser))
        return cls(*parts, raw, smallest_regulariser=smallest_regulariser, tolerance=tolerance, steps=steps, chunk=chunk)

    def regulariser(self, dtype: DTypeLike) -> Float[Array, "heads key_dim"]:
        """The diagonal of Lambda."""
        return self.smallest_regulariser + jax.nn.softplus(self.raw_regulariser.astype(dtype))

    def solve(self, tokens: HeadTokens) -> GatedMesaResult:
        """Solve the regression of every head; the leading axis of the result is heads."""
        bounds = {"steps": self.steps, "tolerance": self.tolerance, "chunk": self.chunk}
        return jax.vmap(lambda t, r: gated_mesa(*t[:5], regulariser=r, negative=t.negative, **bounds), in_axes=(1, 0))(
            tokens, self.regulariser(tokens.key.dtype)
        )

    def recall(self, tokens: HeadTokens) -> Float[Array, "time heads value_dim"]:
        """Chunk-parallel."""
        return jnp.swapaxes(self.solve(tokens).output, 0, 1)

    @unbatched
    def explain(self, x: Float[Array, "time dim"]) -> tuple[Float[Array, "time dim"], Diagnostics]:
        """Return the output, and as diagnostics the weight of each value including gates, and the solver's residual and steps per position and head."""
        tokens = self.front(x)
        result = self.solve(tokens)
        pair = chunk_gates(tokens.log_forget.T, None if tokens.negative is None else tokens.negative.T).pair * tokens.input_gate.T[:, None, :]
        attention = jnp.einsum("htk,shk->hts", result.solution, tokens.key, precision=FULL) * pair
        return self._merge(jnp.swapaxes(result.output, 0, 1), x.dtype), Diagnostics(attention=attention, residual=result.residual, steps=result.steps)

    def init_memory(self, dtype: DTypeLike) -> RegressionSums:
        """Both sums at zero."""
        heads, value_dim, key_dim = *self.front.value.shape[:2], self.front.key.shape[1]
        return RegressionSums(jnp.zeros((heads, key_dim, key_dim), dtype), jnp.zeros((heads, value_dim, key_dim), dtype))

    @full_precision
    def recall_step(self, memory: RegressionSums, tokens: HeadTokens) -> tuple[RegressionSums, Float[Array, "heads value_dim"]]:
        """Process one token: add to both sums, solve, read."""
        size, sign = jnp.exp(tokens.log_forget), 1.0 if tokens.negative is None else jnp.where(tokens.negative, -1.0, 1.0)
        forget, write = (sign * size)[:, None, None], tokens.input_gate[:, None, None] * tokens.key[:, None, :]
        gram, cross = forget * memory.gram + write * tokens.key[:, :, None], forget * memory.cross + write * tokens.value[:, :, None]
        diagonal = self.regulariser(gram.dtype)
        guess = tokens.query / (jnp.diagonal(gram, axis1=1, axis2=2) + diagonal)
        solution = conjugate_gradient(
            lambda p: jnp.einsum("hij,hj->hi", gram, p) + diagonal * p, tokens.query, guess, steps=self.steps, tolerance=self.tolerance
        )
        return RegressionSums(gram, cross), jnp.einsum("hvk,hk->hv", cross, solution.x)
